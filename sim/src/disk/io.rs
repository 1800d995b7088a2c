//! SQLite's calls on an open file, translated from C to [`Handle`].
//! Version 2 of the methods: with the WAL's shared memory, without memory-mapped reads.

#![expect(unsafe_code, reason = "SQLite calls these through C function pointers")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::atomic::{Ordering, fence};

use rusqlite::ffi::{
    SQLITE_FCNTL_HAS_MOVED, SQLITE_IOCAP_POWERSAFE_OVERWRITE, SQLITE_IOERR_SHMMAP, SQLITE_IOERR_TRUNCATE,
    SQLITE_NOTFOUND, SQLITE_OK, SQLITE_SHM_SHARED, SQLITE_SHM_UNLOCK, sqlite3_file, sqlite3_io_methods,
};

use super::handle::Handle;
use super::wal_index::REGION_BYTES;

/// SQLite's file object, as long as [`super::vfs`] tells it, with our handle behind its header.
#[repr(C)]
pub(super) struct OpenFile {
    pub(super) base: sqlite3_file,
    pub(super) handle: *mut Handle,
}

/// The methods of every open file.
pub(super) static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The handle behind a file object.
///
/// # Safety
/// `file` was opened by [`super::vfs`] and is not closed, and no other reference to its handle is
/// alive. SQLite grants both in every call: it serialises the calls on one file.
pub(super) unsafe fn handle<'a>(file: *mut sqlite3_file) -> &'a mut Handle {
    // SAFETY: an open file object is an `OpenFile` whose handle came from `Box::into_raw`.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

/// SQLite's way to say how a call went.
pub(super) fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(SQLITE_OK)
}

fn unsigned(number: impl TryInto<usize>) -> usize {
    number.try_into().ok().expect("SQLite passes no negative offset, length or slot")
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once and does not touch it afterwards.
    unsafe {
        drop(Box::from_raw((*file.cast::<OpenFile>()).handle));
        (*file).pMethods = ptr::null();
    }
    SQLITE_OK
}

unsafe extern "C" fn read(file: *mut sqlite3_file, buffer: *mut c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: `buffer` has room for `len` bytes, which SQLite may have left uninitialised: they
    // are made zeros before a reference to them exists.
    let (handle, buffer) = unsafe {
        ptr::write_bytes(buffer.cast::<u8>(), 0, unsigned(len));
        (handle(file), slice::from_raw_parts_mut(buffer.cast::<u8>(), unsigned(len)))
    };
    code(handle.read(unsigned(offset), buffer))
}

unsafe extern "C" fn write(file: *mut sqlite3_file, bytes: *const c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: `bytes` points to `len` bytes that nobody changes during the call.
    let (handle, bytes) = unsafe { (handle(file), slice::from_raw_parts(bytes.cast::<u8>(), unsigned(len))) };
    code(handle.write(unsigned(offset), bytes))
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, len: i64) -> c_int {
    let Ok(len) = usize::try_from(len) else {
        return SQLITE_IOERR_TRUNCATE;
    };
    // SAFETY: SQLite passes an open file.
    code(unsafe { handle(file) }.truncate(len))
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    code(unsafe { handle(file) }.sync())
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: SQLite passes an open file, and `size` points to its own variable.
    let (handle, size) = unsafe { (handle(file), &mut *size) };
    code(handle.len().map(|len| *size = len as i64))
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    code(unsafe { handle(file) }.lock(level))
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { handle(file) }.unlock(level);
    SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes an open file, and `out` points to its own variable.
    let (handle, out) = unsafe { (handle(file), &mut *out) };
    code(handle.is_reserved().map(|reserved| *out = c_int::from(reserved)))
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, what: c_int, out: *mut c_void) -> c_int {
    if what != SQLITE_FCNTL_HAS_MOVED {
        return SQLITE_NOTFOUND;
    }
    // SAFETY: SQLite passes an open file, and for this question `out` points to its own integer.
    let (handle, out) = unsafe { (handle(file), &mut *out.cast::<c_int>()) };
    *out = c_int::from(handle.has_moved());
    SQLITE_OK
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { handle(file) }.geometry().sector_bytes as c_int
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite passes an open file.
    match unsafe { handle(file) }.geometry().powersafe_overwrite {
        true => SQLITE_IOCAP_POWERSAFE_OVERWRITE,
        false => 0,
    }
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    region_bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes an open file, and `out` points to its own variable.
    let (handle, out) = unsafe { (handle(file), &mut *out) };
    if unsigned(region_bytes) != REGION_BYTES {
        return SQLITE_IOERR_SHMMAP;
    }
    let mapped = handle.map(unsigned(region), extend != 0);
    code(mapped.map(|start| *out = start.map_or(ptr::null_mut(), <*mut u64>::cast)))
}

unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, slot: c_int, count: c_int, flags: c_int) -> c_int {
    let (slot, count) = (unsigned(slot), unsigned(count));
    // SAFETY: SQLite passes an open file.
    let handle = unsafe { handle(file) };
    if flags & SQLITE_SHM_UNLOCK == 0 {
        return code(handle.wal_lock(slot, count, flags & SQLITE_SHM_SHARED != 0));
    }
    handle.wal_unlock(slot, count);
    SQLITE_OK
}

unsafe extern "C" fn shm_barrier(_: *mut sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite passes an open file.
    unsafe { handle(file) }.unmap();
    SQLITE_OK
}

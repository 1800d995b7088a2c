//! SQLite's calls on names, time and entropy, translated from C, and their registration.
//! A path is `/host/file`: the host names a disk of the calling thread, the rest a file on it.
//! Time and entropy come from the calling thread too, so that threads simulate apart.

#![expect(unsafe_code, reason = "SQLite calls these through C function pointers")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::Once;

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_IOERR_ACCESS, SQLITE_IOERR_DELETE, SQLITE_OK, SQLITE_OPEN_MAIN_JOURNAL, SQLITE_OPEN_WAL,
    sqlite3_database_file_object, sqlite3_file, sqlite3_randomness, sqlite3_vfs, sqlite3_vfs_register,
};

use super::handle::{Handle, lock};
use super::io::{METHODS, OpenFile, code, handle};
use super::rng::Rng;
use super::{Disk, VFS};

/// [`VFS`] for C.
const NAME: &CStr = c"kew-disk";

/// SQLite refuses longer paths. The number is that of its unix VFS.
const PATH_BYTES_MAX: c_int = 512;

/// The Julian day of 1970-01-01 in milliseconds, where SQLite's clock counts from.
const JULIAN_EPOCH_MS: i64 = 210_866_760_000_000;

const DAY_MS: f64 = 86_400_000.0;

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(0) };
    static ENTROPY: Cell<Rng> = const { Cell::new(Rng::new(0)) };
}

/// Registers the simulated disks with SQLite as its default VFS, once per process.
///
/// Default, because SQLite seeds its one random generator from the default VFS, whichever a
/// database uses. From here on no connection of this process reaches the machine's own disk.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        debug_assert_eq!(NAME.to_str(), Ok(VFS), "one name in two spellings");
        let vfs = Box::leak(Box::new(methods()));
        // SAFETY: the VFS lives as long as the process, and its methods keep SQLite's contract.
        let registered = unsafe { sqlite3_vfs_register(vfs, 1) };
        assert_eq!(registered, SQLITE_OK, "SQLite refuses a VFS only when out of memory");
    });
}

/// Starts SQLite's random generator anew, from `seed`. It is one per process, and what it deals
/// out shows in the salts of a WAL, in rowids and in `random()`: call this where a run begins.
pub fn reset_prng(seed: u64) {
    ENTROPY.set(Rng::new(seed));
    // SAFETY: no bytes and no buffer is SQLite's documented way to ask for a new seed.
    unsafe { sqlite3_randomness(0, ptr::null_mut()) };
}

/// Sets what SQL takes for the time on this thread, in milliseconds since 1970.
pub fn set_now_ms(now_ms: i64) {
    NOW_MS.set(now_ms);
}

/// What SQL takes for the time on this thread, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    NOW_MS.get()
}

fn methods() -> sqlite3_vfs {
    sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<OpenFile>() as c_int,
        mxPathname: PATH_BYTES_MAX,
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: Some(dl_open),
        xDlError: Some(dl_error),
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

/// The disk and the file that a path names, if the thread has such a disk.
///
/// # Safety
/// `path` is a C string that outlives the result.
unsafe fn locate<'a>(path: *const c_char) -> Option<(Disk, &'a str)> {
    // SAFETY: as this function's own contract.
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    let (host, file) = path.strip_prefix('/')?.split_once('/')?;
    Some((Disk::of(host)?, file))
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite allots `szOsFile` bytes at `file`, and passes null or a path of its own.
    unsafe {
        // Without methods, SQLite does not close a file that failed to open.
        (*file).pMethods = ptr::null();
        let opened = match name.is_null() {
            true => Handle::temporary(),
            false => open_named(name, flags),
        };
        code(opened.map(|handle| {
            (*file.cast::<OpenFile>()).handle = Box::into_raw(Box::new(handle));
            (*file).pMethods = &METHODS;
            if !flags_out.is_null() {
                *flags_out = flags;
            }
        }))
    }
}

/// # Safety
/// `name` and `flags` are what SQLite passed to `xOpen`.
unsafe fn open_named(name: *const c_char, flags: c_int) -> Result<Handle, c_int> {
    if flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL) != 0 {
        // A connection of a boot that is over must not open its journal on the next boot's disk.
        // SAFETY: with these flags, and only with them, the name leads to its database's file,
        // which is open and, being on the same VFS, ours.
        let database = unsafe { handle(sqlite3_database_file_object(name)) };
        if database.is_dead() {
            return Err(SQLITE_CANTOPEN);
        }
    }
    // SAFETY: the name is a C string, and outlives this call.
    let (disk, file) = unsafe { locate(name) }.ok_or(SQLITE_CANTOPEN)?;
    Handle::open(disk.0, file, flags)
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite passes a C string, and it outlives the call.
    match unsafe { locate(path) } {
        Some((disk, file)) => code(lock(&disk.0).delete(file, sync & 1 != 0)),
        None => SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn access(_: *mut sqlite3_vfs, path: *const c_char, _flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a C string and a variable of its own.
    let (place, out) = unsafe { (locate(path), &mut *out) };
    let Some((disk, file)) = place else {
        return SQLITE_IOERR_ACCESS;
    };
    // An empty file counts as none, as in the unix VFS: an empty journal is no journal.
    *out = c_int::from(lock(&disk.0).len(file).is_some_and(|len| len > 0));
    SQLITE_OK
}

unsafe extern "C" fn full_pathname(_: *mut sqlite3_vfs, path: *const c_char, room: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes a C string, and `room` bytes at `out` that do not overlap it.
    unsafe {
        let path = CStr::from_ptr(path).to_bytes_with_nul();
        if path.len() > room as usize {
            return SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(path.as_ptr().cast(), out, path.len());
    }
    SQLITE_OK
}

unsafe extern "C" fn dl_open(_: *mut sqlite3_vfs, _: *const c_char) -> *mut c_void {
    ptr::null_mut()
}

unsafe extern "C" fn dl_error(_: *mut sqlite3_vfs, room: c_int, out: *mut c_char) {
    if room > 0 {
        // SAFETY: SQLite passes `room` bytes at `out`; the empty string takes one.
        unsafe { *out = 0 };
    }
}

unsafe extern "C" fn randomness(_: *mut sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    let mut rng = ENTROPY.get();
    // SAFETY: SQLite passes `len` bytes at `out`, initialised or not: they are made zeros before
    // a reference to them exists.
    unsafe {
        ptr::write_bytes(out, 0, len as usize);
        rng.fill(slice::from_raw_parts_mut(out.cast(), len as usize));
    }
    ENTROPY.set(rng);
    len
}

/// Does not sleep: nothing else could run meanwhile, and simulated time would not move.
unsafe extern "C" fn sleep(_: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time(_: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite passes a variable of its own.
    unsafe { *out = (JULIAN_EPOCH_MS + now_ms()) as f64 / DAY_MS };
    SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_: *mut sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: SQLite passes a variable of its own.
    unsafe { *out = JULIAN_EPOCH_MS + now_ms() };
    SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

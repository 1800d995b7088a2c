//! One open file, as SQLite holds it: which file of which boot, and the locks it has.
//! All of it is safe Rust; `io` translates from C. A handle of a boot that has crashed fails at
//! everything except letting go, which changes nothing.

use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::ffi::{
    SQLITE_IOERR_CHECKRESERVEDLOCK, SQLITE_IOERR_FSTAT, SQLITE_IOERR_LOCK, SQLITE_IOERR_SHMLOCK, SQLITE_IOERR_SHMMAP,
    SQLITE_LOCK_NONE, SQLITE_OPEN_CREATE, SQLITE_OPEN_DELETEONCLOSE, SQLITE_OPEN_MAIN_JOURNAL,
    SQLITE_OPEN_SUPER_JOURNAL, SQLITE_OPEN_WAL,
};

use super::Geometry;
use super::directory::Inode;
use super::state::{Boot, State};
use super::wal_index::{Held, WalIndex};

/// A disk that handles and the outside share. SQLite connections may move between threads, so
/// the lock is a real one.
pub(super) type Shared = Arc<Mutex<State>>;

/// Locks a disk.
pub(super) fn lock(disk: &Shared) -> MutexGuard<'_, State> {
    disk.lock().expect("nothing panics while it holds a disk")
}

/// One open file.
pub(super) struct Handle {
    disk: Shared,
    boot: Boot,
    inode: Inode,
    geometry: Geometry,
    level: c_int,
    /// The next sync is followed by one of the directory. The unix VFS does so at the first sync
    /// of a journal or a WAL, because that is when its name must be durable.
    directory_unsynced: bool,
    wal_index: Option<Arc<Mutex<WalIndex>>>,
    held: Held,
}

impl Handle {
    /// Opens the file of this name.
    pub(super) fn open(disk: Shared, name: &str, flags: c_int) -> Result<Self, c_int> {
        let journal = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
        let mut state = lock(&disk);
        let inode = state.open(name, flags)?;
        let (boot, geometry) = (state.boot(), state.geometry);
        drop(state);
        Ok(Self {
            disk,
            boot,
            inode,
            geometry,
            level: SQLITE_LOCK_NONE,
            directory_unsynced: flags & SQLITE_OPEN_CREATE != 0 && flags & journal != 0,
            wal_index: None,
            held: Held::default(),
        })
    }

    /// Opens a file without a name, for a sort or a VACUUM that does not fit in memory. SQLite
    /// does not say for which database it is, so it gets a disk of its own, which has no faults
    /// and goes with the handle: no crash leaves any of it behind.
    pub(super) fn temporary() -> Result<Self, c_int> {
        let disk = Arc::new(Mutex::new(State::new(0, Geometry::default())));
        Self::open(disk, "temporary", SQLITE_OPEN_CREATE | SQLITE_OPEN_DELETEONCLOSE)
    }

    /// Whether the boot it belongs to is over.
    pub(super) fn is_dead(&self) -> bool {
        !lock(&self.disk).serves(self.boot)
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), c_int> {
        lock(&self.disk).read(self.boot, self.inode, offset, buffer)
    }

    pub(super) fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), c_int> {
        lock(&self.disk).write(self.boot, self.inode, offset, bytes)
    }

    pub(super) fn truncate(&self, len: usize) -> Result<(), c_int> {
        lock(&self.disk).truncate(self.boot, self.inode, len)
    }

    pub(super) fn sync(&mut self) -> Result<(), c_int> {
        lock(&self.disk).sync(self.boot, self.inode, self.directory_unsynced)?;
        self.directory_unsynced = false;
        Ok(())
    }

    pub(super) fn len(&self) -> Result<usize, c_int> {
        let mut state = lock(&self.disk);
        let node = state.node(self.boot, self.inode).ok_or(SQLITE_IOERR_FSTAT)?;
        Ok(node.file.live().len())
    }

    /// Whether the file has lost its name. SQLite then commits nothing more to it. (A dead handle fails at what follows.)
    pub(super) fn has_moved(&self) -> bool {
        let state = lock(&self.disk);
        state.serves(self.boot) && !state.is_named(self.inode)
    }

    pub(super) fn lock(&mut self, level: c_int) -> Result<(), c_int> {
        let mut state = lock(&self.disk);
        let node = state.node(self.boot, self.inode).ok_or(SQLITE_IOERR_LOCK)?;
        node.locks.raise(&mut self.level, level)
    }

    pub(super) fn unlock(&mut self, level: c_int) {
        if let Some(node) = lock(&self.disk).node(self.boot, self.inode) {
            node.locks.lower(&mut self.level, level);
        }
    }

    pub(super) fn is_reserved(&self) -> Result<bool, c_int> {
        let mut state = lock(&self.disk);
        let node = state.node(self.boot, self.inode).ok_or(SQLITE_IOERR_CHECKRESERVEDLOCK)?;
        Ok(node.locks.reserved())
    }

    /// The start of a region of the WAL's shared memory. It stays good until `unmap` or drop,
    /// after a crash too, because the handle owns its share.
    pub(super) fn map(&mut self, region: usize, extend: bool) -> Result<Option<*mut u64>, c_int> {
        let mut state = lock(&self.disk);
        let node = state.node(self.boot, self.inode).ok_or(SQLITE_IOERR_SHMMAP)?;
        let index = self.wal_index.get_or_insert_with(|| {
            let index = node.wal_index.upgrade().unwrap_or_default();
            node.wal_index = Arc::downgrade(&index);
            index
        });
        Ok(index_of(index).region(region, extend))
    }

    /// Takes locks in the WAL's shared memory, shared or exclusive.
    pub(super) fn wal_lock(&mut self, slot: usize, count: usize, shared: bool) -> Result<(), c_int> {
        if self.is_dead() {
            return Err(SQLITE_IOERR_SHMLOCK);
        }
        let mut index = index_of(self.wal_index.as_ref().ok_or(SQLITE_IOERR_SHMLOCK)?);
        match shared {
            true => index.share(&mut self.held, slot),
            false => index.exclude(&mut self.held, slot, count),
        }
    }

    pub(super) fn wal_unlock(&mut self, slot: usize, count: usize) {
        if let Some(index) = &self.wal_index {
            index_of(index).release(&mut self.held, slot, count);
        }
    }

    pub(super) fn unmap(&mut self) {
        if let Some(index) = self.wal_index.take() {
            index_of(&index).release_all(&mut self.held);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.unmap();
        self.unlock(SQLITE_LOCK_NONE);
        lock(&self.disk).close(self.boot, self.inode);
    }
}

fn index_of(index: &Arc<Mutex<WalIndex>>) -> MutexGuard<'_, WalIndex> {
    index.lock().expect("nothing panics while it holds a WAL index")
}

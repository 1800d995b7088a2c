//! A disk: its names, its files, its health, and whether it has power.
//! Every call of SQLite ends here, under one lock per disk. Handles carry the number of the boot
//! they were opened in; after a crash that number is stale and nothing they do reaches the disk.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::{Mutex, Weak};

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_IOERR_DELETE, SQLITE_IOERR_DELETE_NOENT, SQLITE_IOERR_DIR_FSYNC,
    SQLITE_IOERR_FSYNC, SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE,
    SQLITE_OPEN_CREATE, SQLITE_OPEN_DELETEONCLOSE, SQLITE_OPEN_EXCLUSIVE,
};

use super::Geometry;
use super::directory::{Directory, Inode};
use super::faults::{Faults, Stats, SyncFailure};
use super::file::File;
use super::lock::Locks;
use super::loss::Loss;
use super::rng::Rng;
use super::wal_index::WalIndex;

/// The number of a boot: handles of another one are dead.
pub(super) type Boot = u64;

/// A file and what the running process keeps beside it.
#[derive(Default)]
pub(super) struct Node {
    pub(super) file: File,
    pub(super) locks: Locks,
    /// Owned by the handles that map it, so that it goes with the last of them.
    pub(super) wal_index: Weak<Mutex<WalIndex>>,
    /// How many handles keep the file alive after its name is gone.
    pub(super) handles: u32,
}

/// One simulated disk.
pub(super) struct State {
    pub(super) geometry: Geometry,
    pub(super) faults: Faults,
    pub(super) stats: Stats,
    /// Time that slow operations owe, in microseconds.
    pub(super) delay_us: u64,
    /// The operation at which the disk goes down.
    pub(super) cut_at: Option<u64>,
    boot: Boot,
    up: bool,
    rng: Rng,
    directory: Directory,
    nodes: BTreeMap<Inode, Node>,
    inodes: Inode,
}

/// What a sync does.
enum Sync {
    Honest,
    Lies,
    Fails,
}

impl State {
    /// An empty disk with power.
    pub(super) fn new(seed: u64, geometry: Geometry) -> Self {
        Self {
            geometry,
            faults: Faults::default(),
            stats: Stats::default(),
            delay_us: 0,
            cut_at: None,
            boot: 0,
            up: true,
            rng: Rng::new(seed),
            directory: Directory::default(),
            nodes: BTreeMap::new(),
            inodes: 0,
        }
    }

    pub(super) fn boot(&self) -> Boot {
        self.boot
    }

    pub(super) fn is_down(&self) -> bool {
        !self.up
    }

    /// Whether a handle of `boot` can still reach the disk.
    pub(super) fn serves(&self, boot: Boot) -> bool {
        self.up && self.boot == boot
    }

    /// The process dies: what it had open, its locks and its shared memory are gone.
    pub(super) fn kill(&mut self) {
        self.boot += 1;
        self.up = false;
        self.cut_at = None;
        for node in self.nodes.values_mut() {
            node.handles = 0;
            node.locks = Locks::default();
            node.wal_index = Weak::new();
        }
        self.collect();
    }

    /// The power goes: the process dies, and the page cache with it.
    pub(super) fn power_cut(&mut self, loss: Loss) {
        self.kill();
        let left = loss.draw(&mut self.rng);
        self.directory.cut(left, &mut self.rng);
        for node in self.nodes.values_mut() {
            node.file.cut(left, self.geometry, &mut self.rng);
        }
        self.collect();
    }

    /// The same disk once more, down: what is on the medium, what is in the cache, and a random stream of its own.
    pub(super) fn fork(&self, seed: u64) -> Self {
        let file = |(inode, node): (&Inode, &Node)| (*inode, Node { file: node.file.clone(), ..Node::default() });
        let mut forked = Self {
            stats: self.stats,
            faults: self.faults,
            boot: self.boot,
            directory: self.directory.clone(),
            nodes: self.nodes.iter().map(file).collect(),
            inodes: self.inodes,
            ..Self::new(seed, self.geometry)
        };
        forked.kill();
        forked
    }

    /// The disk serves again.
    pub(super) fn restart(&mut self) {
        self.up = true;
    }

    /// The file behind a live handle, or nothing for a dead one.
    pub(super) fn node(&mut self, boot: Boot, inode: Inode) -> Option<&mut Node> {
        if !self.serves(boot) {
            return None;
        }
        self.nodes.get_mut(&inode)
    }

    /// Every name and its live content.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let content = |(name, inode): (&str, Inode)| (name.to_owned(), self.nodes[&inode].file.live().to_vec());
        self.directory.iter().map(content).collect()
    }

    /// Whether a file has a name now.
    pub(super) fn is_named(&self, inode: Inode) -> bool {
        self.directory.iter().any(|(_, named)| named == inode)
    }

    /// How long the file of this name is.
    pub(super) fn len(&self, name: &str) -> Option<usize> {
        let inode = self.directory.find(name)?;
        self.up.then(|| self.nodes[&inode].file.live().len())
    }

    /// Opens a file for a handle of this boot, and makes it if `flags` say so.
    pub(super) fn open(&mut self, name: &str, flags: c_int) -> Result<Inode, c_int> {
        if !self.up {
            return Err(SQLITE_CANTOPEN);
        }
        let inode = match self.directory.find(name) {
            Some(_) if flags & SQLITE_OPEN_EXCLUSIVE != 0 => return Err(SQLITE_CANTOPEN),
            Some(inode) => inode,
            None if flags & SQLITE_OPEN_CREATE == 0 => return Err(SQLITE_CANTOPEN),
            None => self.create(name)?,
        };
        self.nodes.entry(inode).or_default().handles += 1;
        if flags & SQLITE_OPEN_DELETEONCLOSE != 0 {
            // As the unix VFS does: the file lives on without a name until its handle is closed.
            self.directory.unlink(name);
        }
        Ok(inode)
    }

    /// Removes a name.
    pub(super) fn delete(&mut self, name: &str, sync_directory: bool) -> Result<(), c_int> {
        if self.up && self.directory.find(name).is_none() {
            return Err(SQLITE_IOERR_DELETE_NOENT);
        }
        self.change(self.boot).ok_or(SQLITE_IOERR_DELETE)?;
        self.directory.unlink(name);
        if sync_directory {
            match self.begin_sync() {
                Sync::Honest => self.sync_directory(),
                Sync::Lies => {}
                Sync::Fails => return Err(SQLITE_IOERR_DIR_FSYNC),
            }
        }
        self.collect();
        Ok(())
    }

    /// Reads into `buffer`; what is past the end of the file reads as zeros and is an error.
    pub(super) fn read(&mut self, boot: Boot, inode: Inode, offset: usize, buffer: &mut [u8]) -> Result<(), c_int> {
        if !self.serves(boot) {
            return Err(SQLITE_IOERR_READ);
        }
        self.stats.reads += 1;
        self.delay_us += self.faults.slow.read_us;
        let nth = self.stats.reads;
        if self.faults.read_fails.strikes(nth, &mut self.rng) {
            return Err(self.fault(SQLITE_IOERR_READ));
        }
        let node = self.nodes.get(&inode).ok_or(SQLITE_IOERR_READ)?;
        let mut count = node.file.read(offset, buffer);
        if self.faults.read_short.strikes(nth, &mut self.rng) {
            count /= 2;
            self.stats.faults += 1;
        }
        buffer[count..].fill(0);
        if count < buffer.len() { Err(SQLITE_IOERR_SHORT_READ) } else { Ok(()) }
    }

    /// Writes; on a full disk, what fits is written before the error, as a unix kernel does.
    pub(super) fn write(&mut self, boot: Boot, inode: Inode, offset: usize, bytes: &[u8]) -> Result<(), c_int> {
        self.change(boot).ok_or(SQLITE_IOERR_WRITE)?;
        self.stats.writes += 1;
        self.delay_us += self.faults.slow.write_us;
        if self.faults.write_fails.strikes(self.stats.writes, &mut self.rng) {
            return Err(self.fault(SQLITE_IOERR_WRITE));
        }
        let lacking = self.lacking(inode, offset, bytes.len());
        let fits = bytes.len().saturating_sub(lacking);
        let node = self.nodes.get_mut(&inode).ok_or(SQLITE_IOERR_WRITE)?;
        node.file.write(offset, &bytes[..fits]);
        self.stats.bytes_written += fits as u64;
        if lacking > 0 { Err(self.fault(SQLITE_FULL)) } else { Ok(()) }
    }

    /// Changes a file's length.
    pub(super) fn truncate(&mut self, boot: Boot, inode: Inode, len: usize) -> Result<(), c_int> {
        self.change(boot).ok_or(SQLITE_IOERR_TRUNCATE)?;
        self.nodes.get_mut(&inode).ok_or(SQLITE_IOERR_TRUNCATE)?.file.truncate(len);
        Ok(())
    }

    /// Makes a file durable, and the directory after it if `with_directory` says so.
    pub(super) fn sync(&mut self, boot: Boot, inode: Inode, with_directory: bool) -> Result<(), c_int> {
        self.change(boot).ok_or(SQLITE_IOERR_FSYNC)?;
        let outcome = self.begin_sync();
        let node = self.nodes.get_mut(&inode).ok_or(SQLITE_IOERR_FSYNC)?;
        match outcome {
            Sync::Honest => node.file.sync(),
            Sync::Lies => return Ok(()),
            Sync::Fails => {
                if self.faults.sync_failure == SyncFailure::Forgets {
                    node.file.forget();
                }
                return Err(SQLITE_IOERR_FSYNC);
            }
        }
        if with_directory {
            self.sync_directory();
        }
        Ok(())
    }

    /// A handle is closed.
    pub(super) fn close(&mut self, boot: Boot, inode: Inode) {
        if let Some(node) = self.node(boot, inode) {
            node.handles -= 1;
            self.collect();
        }
    }

    fn create(&mut self, name: &str) -> Result<Inode, c_int> {
        self.change(self.boot).ok_or(SQLITE_CANTOPEN)?;
        self.inodes += 1;
        self.directory.link(name, self.inodes);
        Ok(self.inodes)
    }

    /// Lets an operation pass that changes the disk, and counts it; at the one where the disk is
    /// to be cut, the disk goes down instead.
    fn change(&mut self, boot: Boot) -> Option<()> {
        if !self.serves(boot) {
            return None;
        }
        self.stats.operations += 1;
        self.up = self.cut_at != Some(self.stats.operations);
        self.up.then_some(())
    }

    fn begin_sync(&mut self) -> Sync {
        self.stats.syncs += 1;
        self.delay_us += self.faults.slow.sync_us;
        let nth = self.stats.syncs;
        if self.faults.sync_fails.strikes(nth, &mut self.rng) {
            self.stats.faults += 1;
            Sync::Fails
        } else if self.faults.sync_lies.strikes(nth, &mut self.rng) {
            self.stats.faults += 1;
            Sync::Lies
        } else {
            Sync::Honest
        }
    }

    fn sync_directory(&mut self) {
        self.stats.directory_syncs += 1;
        let nth = self.stats.directory_syncs;
        if self.faults.directory_sync_lies.strikes(nth, &mut self.rng) {
            self.stats.faults += 1;
            return;
        }
        self.directory.sync();
        self.collect();
    }

    fn fault(&mut self, code: c_int) -> c_int {
        self.stats.faults += 1;
        code
    }

    /// How many bytes of a write do not fit.
    fn lacking(&self, inode: Inode, offset: usize, len: usize) -> usize {
        let Some(capacity) = self.faults.capacity_bytes else {
            return 0;
        };
        let used: usize = self.nodes.values().map(|node| node.file.live().len()).sum();
        let growth = self.nodes.get(&inode).map_or(0, |node| node.file.growth(offset, len));
        let room = usize::try_from(capacity).unwrap_or(usize::MAX).saturating_sub(used);
        growth.saturating_sub(room).min(len)
    }

    /// Frees the files that no handle holds and no name leads to, whatever a power cut leaves.
    fn collect(&mut self) {
        let directory = &self.directory;
        self.nodes.retain(|inode, node| node.handles > 0 || directory.may_name(*inode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lengths_are_kept_or_lost_apart_from_each_other_and_from_the_data() {
        let odds = super::super::Odds { new_ppm: 500_000, torn_ppm: 0, garbage_ppm: 0 };
        let mut left = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let mut state = State::new(seed, Geometry::default());
            let [cut, removed] = ["cut", "removed"].map(|name| state.open(name, SQLITE_OPEN_CREATE).unwrap());
            state.write(0, cut, 0, &[b'o'; 1024]).unwrap();
            state.sync(0, cut, true).unwrap();
            state.sync(0, removed, true).unwrap();
            state.write(0, cut, 0, b"new").unwrap();
            state.truncate(0, cut, 512).unwrap();
            state.delete("removed", false).unwrap();
            state.open("made", SQLITE_OPEN_CREATE).unwrap();
            state.power_cut(Loss::Subset { sector_bytes: 512, odds });
            let files = state.files();
            let is_cut = files["cut"].len() == 512;
            let is_written = files["cut"].starts_with(b"new");
            left.insert((is_cut, is_written, files.contains_key("removed"), files.contains_key("made")));
        }
        assert_eq!(left.len(), 16, "every combination");
    }

    #[test]
    fn a_file_outlives_its_name_as_long_as_a_handle_or_the_medium_has_it() {
        let mut state = State::new(1, Geometry::default());
        let inode = state.open("file", SQLITE_OPEN_CREATE).unwrap();
        state.write(0, inode, 0, b"content").unwrap();
        state.sync(0, inode, true).unwrap();
        state.delete("file", false).unwrap();
        state.close(0, inode);
        assert_eq!(state.nodes.len(), 1, "a power cut may bring it back");

        let other = state.open("other", SQLITE_OPEN_CREATE).unwrap();
        state.write(0, other, 0, b"content").unwrap();
        state.delete("other", true).unwrap();
        assert_eq!(state.read(0, other, 0, &mut [0; 7]), Ok(()));
        state.close(0, other);
        assert_eq!(state.nodes.len(), 0);
    }
}

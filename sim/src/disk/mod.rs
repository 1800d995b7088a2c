//! Simulated disks that can lose power, as an SQLite VFS: one disk per host.
//!
//! A write goes to the page cache, a sync makes it durable, and a crash decides what is left: a
//! killed process loses nothing that it wrote, a power cut loses what was not synced. A disk
//! outlives its host's restarts; the host opens [`Disk::path`] with the VFS named [`VFS`].
//! The disk knows nothing of hosts, networks or jobs: `sim/tests/disk.rs` tries it alone.

mod directory;
mod faults;
mod file;
mod handle;
mod io;
mod lock;
mod log;
mod loss;
pub(crate) mod rng;
mod state;
mod vfs;
mod wal_index;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

pub use faults::{Faults, Slow, Stats, SyncFailure, Trigger, WHOLE_PPM};
pub use loss::{Loss, Odds};
pub use vfs::{install, now_ms, reset_prng, set_now_ms};

use handle::{Shared, lock};
use state::State;

/// The name under which SQLite knows the simulated disks once [`install`] was called.
pub const VFS: &str = "kew-disk";

thread_local! {
    /// The disks of this thread, by host. A disk must outlive what its host runs, and SQLite
    /// finds it by a path alone.
    static DISKS: RefCell<BTreeMap<String, Disk>> = const { RefCell::new(BTreeMap::new()) };
}

/// What a disk tells SQLite about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// How far the damage of a torn write reaches, in bytes: a power of two from 512 to 65536.
    pub sector_bytes: u32,
    /// A torn write spares the bytes around it. SQLite assumes so on a real disk; without it, a
    /// commit pads the WAL to the end of a sector.
    pub powersafe_overwrite: bool,
}

impl Default for Geometry {
    /// The sectors of today's disks, and no promise: the strictest disk.
    fn default() -> Self {
        Self { sector_bytes: 4096, powersafe_overwrite: false }
    }
}

/// The disk of one host. Clones are the same disk.
#[derive(Clone)]
pub struct Disk(Shared);

impl Disk {
    /// Gives `host` an empty disk on this thread, in place of the one it had, which is killed.
    ///
    /// # Panics
    /// If the name of the host is empty or has a slash in it.
    pub fn new(host: &str, seed: u64) -> Self {
        Self::with_geometry(host, seed, Geometry::default())
    }

    /// Like [`Disk::new`], with a geometry of one's own.
    ///
    /// # Panics
    /// If the name of the host is empty or has a slash in it.
    pub fn with_geometry(host: &str, seed: u64, geometry: Geometry) -> Self {
        Self::place(host, State::new(seed, geometry))
    }

    fn place(host: &str, state: State) -> Self {
        assert!(!host.is_empty() && !host.contains('/'), "a host's name is one part of a path");
        let disk = Self(Arc::new(Mutex::new(state)));
        let before = DISKS.with_borrow_mut(|disks| disks.insert(host.to_owned(), disk.clone()));
        if let Some(before) = before {
            // Its connections would find the new disk by the old path.
            before.kill();
        }
        disk
    }

    /// Gives `host` a disk on this thread that is as this one is now, down, with a random stream of its own: what
    /// comes of a power cut is drawn from `seed`. From here on the two have nothing in common.
    pub fn fork(&self, host: &str, seed: u64) -> Self {
        let state = lock(&self.0).fork(seed);
        Self::place(host, state)
    }

    /// The disk that `host` has on this thread.
    pub fn of(host: &str) -> Option<Self> {
        DISKS.try_with(|disks| disks.borrow().get(host).cloned()).ok().flatten()
    }

    /// The path by which SQLite finds `file` on the disk of `host`.
    pub fn path(host: &str, file: &str) -> String {
        format!("/{host}/{file}")
    }

    /// Opens, and makes if needed, a database at a path of [`Disk::path`].
    ///
    /// # Errors
    /// SQLite's own; "unable to open" while the disk is down.
    pub fn open(path: &str) -> rusqlite::Result<Connection> {
        install();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        Connection::open_with_flags_and_vfs(path, flags, VFS)
    }

    /// Kills the process that uses the disk. Its handles are dead, closing them included; what it
    /// wrote stays in the page cache, synced or not. The disk is down until [`Disk::restart`].
    ///
    /// Call this before the host is dropped, or SQLite shuts down in good order.
    pub fn kill(&self) {
        lock(&self.0).kill();
    }

    /// Cuts the power. Handles are dead as after [`Disk::kill`]; of what was not synced, `loss`
    /// decides. The disk is down until [`Disk::restart`].
    ///
    /// Call this before the host is dropped, or SQLite shuts down in good order.
    pub fn power_cut(&self, loss: Loss) {
        lock(&self.0).power_cut(loss);
    }

    /// Lets the host use the disk again, after [`Disk::kill`] or [`Disk::power_cut`].
    pub fn restart(&self) {
        lock(&self.0).restart();
    }

    /// Whether the disk is down.
    pub fn is_down(&self) -> bool {
        lock(&self.0).is_down()
    }

    /// Lets the disk go down by itself instead of doing the operation that is the `operation`th in
    /// [`Stats::operations`]. [`Disk::kill`] or [`Disk::power_cut`] then says which crash it was.
    pub fn cut_at(&self, operation: u64) {
        lock(&self.0).cut_at = Some(operation);
    }

    /// The faults that are on.
    pub fn faults(&self) -> Faults {
        lock(&self.0).faults
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.0).faults = faults;
    }

    /// Turns every fault off. What a fault has done stays done.
    pub fn heal(&self) {
        self.set_faults(Faults::default());
    }

    /// What the disk has done since it was new.
    pub fn stats(&self) -> Stats {
        lock(&self.0).stats
    }

    /// The time that slow operations have cost since the last call ([`Slow`]).
    pub fn take_delay(&self) -> Duration {
        Duration::from_micros(std::mem::take(&mut lock(&self.0).delay_us))
    }

    /// How much is taken, over all files.
    pub fn used_bytes(&self) -> u64 {
        self.files().values().map(|content| content.len() as u64).sum()
    }

    /// The content of every file, by name, as reads see it.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.0).files()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

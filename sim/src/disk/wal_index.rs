//! The WAL's shared memory: what the connections to one database share besides its files, and
//! the eight locks in it. It belongs to the running process: the first connection after a
//! crash finds none and rebuilds it from the WAL.

use std::cell::UnsafeCell;
use std::ffi::c_int;

use rusqlite::ffi::{SQLITE_BUSY, SQLITE_SHM_NLOCK};

/// SQLite maps the index in regions of this many bytes (`WALINDEX_PGSZ`).
pub(super) const REGION_BYTES: usize = 32 * 1024;

const LOCKS: usize = SQLITE_SHM_NLOCK as usize;

/// One region. Words of eight bytes give it the alignment that SQLite's header needs.
type Region = UnsafeCell<[u64; REGION_BYTES / 8]>;

/// The shared memory of one database.
#[derive(Default)]
pub(super) struct WalIndex {
    /// Boxed, because SQLite keeps pointers into a region while the list of them grows.
    regions: Vec<Box<Region>>,
    shared: [u32; LOCKS],
    exclusive: [bool; LOCKS],
}

/// The locks that one handle holds, one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    shared: u8,
    exclusive: u8,
}

impl WalIndex {
    /// The start of region `index`, made if `extend` says so. The pointer is good as long as
    /// this value lives; who may write there is SQLite's matter, by the locks below.
    pub(super) fn region(&mut self, index: usize, extend: bool) -> Option<*mut u64> {
        if extend && self.regions.len() <= index {
            let zeros = || Box::new(UnsafeCell::new([0; REGION_BYTES / 8]));
            self.regions.resize_with(index + 1, zeros);
        }
        self.regions.get(index).map(|region| region.get().cast())
    }

    /// Takes lock `slot` together with its other readers.
    pub(super) fn share(&mut self, held: &mut Held, slot: usize) -> Result<(), c_int> {
        if held.shared & bit(slot) != 0 {
            return Ok(());
        }
        if self.exclusive[slot] {
            return Err(SQLITE_BUSY);
        }
        held.shared |= bit(slot);
        self.shared[slot] += 1;
        Ok(())
    }

    /// Takes `count` locks from `slot` on for one handle alone: all of them or none.
    pub(super) fn exclude(&mut self, held: &mut Held, slot: usize, count: usize) -> Result<(), c_int> {
        let slots = slot..slot + count;
        if slots.clone().any(|slot| self.exclusive[slot] || self.shared[slot] > 0) {
            return Err(SQLITE_BUSY);
        }
        for slot in slots {
            held.exclusive |= bit(slot);
            self.exclusive[slot] = true;
        }
        Ok(())
    }

    /// Gives back what the handle holds of `count` locks from `slot` on.
    pub(super) fn release(&mut self, held: &mut Held, slot: usize, count: usize) {
        for slot in slot..slot + count {
            if held.shared & bit(slot) != 0 {
                self.shared[slot] -= 1;
            }
            if held.exclusive & bit(slot) != 0 {
                self.exclusive[slot] = false;
            }
            held.shared &= !bit(slot);
            held.exclusive &= !bit(slot);
        }
    }

    /// Gives back everything the handle holds.
    pub(super) fn release_all(&mut self, held: &mut Held) {
        self.release(held, 0, LOCKS);
    }
}

fn bit(slot: usize) -> u8 {
    1 << slot
}

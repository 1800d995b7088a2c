//! The locks of a database file (SQLite's five levels), as its unix VFS keeps them for the
//! connections of one process. They die with the process.

use std::ffi::c_int;

use rusqlite::ffi::{
    SQLITE_BUSY, SQLITE_LOCK_EXCLUSIVE, SQLITE_LOCK_NONE, SQLITE_LOCK_PENDING, SQLITE_LOCK_RESERVED, SQLITE_LOCK_SHARED,
};

/// The locks that all handles of one file hold together.
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// The highest level that any handle holds. Above `SHARED` only one handle can be there, so
    /// a handle whose own level equals this one is the holder.
    highest: c_int,
    /// How many handles hold `SHARED` or more.
    shared: u32,
}

impl Locks {
    /// Raises a handle's level to `wanted`, or says `SQLITE_BUSY`. A refused `EXCLUSIVE` leaves
    /// the handle at `PENDING`, which keeps new readers out.
    pub(super) fn raise(&mut self, level: &mut c_int, wanted: c_int) -> Result<(), c_int> {
        if *level >= wanted {
            return Ok(());
        }
        let others = *level != self.highest;
        if others && (self.highest >= SQLITE_LOCK_PENDING || wanted > SQLITE_LOCK_SHARED) {
            return Err(SQLITE_BUSY);
        }
        if wanted == SQLITE_LOCK_SHARED {
            self.shared += 1;
            self.highest = self.highest.max(SQLITE_LOCK_SHARED);
            *level = SQLITE_LOCK_SHARED;
            return Ok(());
        }
        if wanted == SQLITE_LOCK_EXCLUSIVE && *level == SQLITE_LOCK_RESERVED {
            *level = SQLITE_LOCK_PENDING;
            self.highest = SQLITE_LOCK_PENDING;
        }
        if wanted == SQLITE_LOCK_EXCLUSIVE && self.shared > 1 {
            return Err(SQLITE_BUSY);
        }
        *level = wanted;
        self.highest = wanted;
        Ok(())
    }

    /// Lowers a handle's level to `wanted`, which is `SHARED` or `NONE`.
    pub(super) fn lower(&mut self, level: &mut c_int, wanted: c_int) {
        if *level <= wanted {
            return;
        }
        if *level > SQLITE_LOCK_SHARED {
            self.highest = SQLITE_LOCK_SHARED;
        }
        if wanted == SQLITE_LOCK_NONE {
            self.shared -= 1;
            if self.shared == 0 {
                self.highest = SQLITE_LOCK_NONE;
            }
        }
        *level = wanted;
    }

    /// Whether some handle holds `RESERVED` or more.
    pub(super) fn reserved(&self) -> bool {
        self.highest >= SQLITE_LOCK_RESERVED
    }
}

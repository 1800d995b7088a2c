//! The two disks on which a program runs: a folder on the machine's file system, by SQLite's own VFS, and a simulated
//! disk. A process that writes until it is killed is a child on the one, and a kill at an operation on the other.

use std::ffi::{CStr, CString};
use std::path::Path;

use kew_sim::disk::{Disk, VFS, install};
use rusqlite::{Connection, OpenFlags, Result, ffi};
use tempfile::TempDir;

use super::child::Child;
use super::disk::{FILE, Killed, look, write_on};

/// The simulated disk's host.
const HOST: &str = "broker";

/// SQLite's own VFS. The simulated one is the default where it is installed.
const MACHINE_VFS: &str = "unix";

/// A child that nobody kills ends after so many commits.
const COMMITS_MAX: i64 = 1 << 20;

/// Where a program's files are.
pub(crate) enum Arm {
    /// The machine's file system.
    Real(TempDir),
    /// The simulated disk.
    Simulated(Disk),
}

impl Arm {
    /// Both, empty.
    pub(crate) fn both() -> [Self; 2] {
        install();
        [Self::Real(TempDir::new().unwrap()), Self::Simulated(Disk::new(HOST, 1))]
    }

    /// Opens, and makes if needed, the program's database.
    pub(crate) fn open(&self) -> Result<Connection> {
        open_at(&self.path(FILE), self.vfs())
    }

    /// Whether there is a file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Real(folder) => folder.path().join(name).exists(),
            Self::Simulated(disk) => disk.files().contains_key(name),
        }
    }

    /// Deletes the file of this name, as SQLite does.
    pub(crate) fn delete(&self, name: &str) {
        let (vfs, path) = (CString::new(self.vfs()).unwrap(), CString::new(self.path(name)).unwrap());
        assert_eq!(delete_by(&vfs, &path), ffi::SQLITE_OK);
    }

    fn vfs(&self) -> &'static str {
        match self {
            Self::Real(_) => MACHINE_VFS,
            Self::Simulated(_) => VFS,
        }
    }

    fn path(&self, name: &str) -> String {
        match self {
            Self::Real(folder) => path_in(folder.path(), name),
            Self::Simulated(_) => Disk::path(HOST, name),
        }
    }
}

#[expect(unsafe_code, reason = "SQLite's interface for the deletion of a file is C")]
fn delete_by(vfs: &CStr, path: &CStr) -> i32 {
    // SAFETY: a VFS that was found stays registered, and both strings outlive the calls.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(vfs.as_ptr());
        let delete = (*vfs).xDelete.expect("every VFS deletes");
        delete(vfs, path.as_ptr(), 1)
    }
}

fn path_in(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("a temporary folder has a plain name").to_owned()
}

fn open_at(path: &str, vfs: &str) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    Connection::open_with_flags_and_vfs(path, flags, vfs)
}

/// A real process writes, and is killed at some moment after its `after`th acknowledged commit.
pub(crate) fn really_killed(after: i64) -> Killed {
    let arm = Arm::Real(TempDir::new().unwrap());
    let mut child = Child::start("writer", &arm.path(FILE));
    let mut acknowledged = 0;
    while acknowledged < after {
        acknowledged = child.hear("committed ").expect("it writes on until it is killed");
    }
    child.kill();
    while let Some(later) = child.hear("committed ") {
        acknowledged = later;
    }
    left(&arm, acknowledged)
}

/// The same program on the simulated disk, killed in place of an operation; nothing once the program ends before it.
pub(crate) fn simulated_killed(operation: u64, commits: i64) -> Option<Killed> {
    let disk = Disk::new(HOST, operation);
    let arm = Arm::Simulated(disk.clone());
    disk.cut_at(operation);
    let mut acknowledged = 0;
    let db = arm.open().and_then(|db| {
        // A connection that fails is kept, or closing it would tidy up.
        write_on(&db, commits, |id| acknowledged = id)
            .or_else(|error| if disk.is_down() { Ok(()) } else { Err(error) })?;
        Ok(db)
    });
    if !disk.is_down() {
        return None;
    }
    disk.kill();
    drop(db);
    disk.restart();
    Some(left(&arm, acknowledged))
}

/// What is found when the database is opened again.
fn left(arm: &Arm, acknowledged: i64) -> Killed {
    let log = arm.has(&format!("{FILE}-wal"));
    let found = look(&arm.open().unwrap()).unwrap();
    Killed { acknowledged, log, log_after: arm.has(&format!("{FILE}-wal")), found }
}

/// The child's part on the machine.
pub(crate) fn play_writer(path: &str) {
    let db = open_at(path, MACHINE_VFS).unwrap();
    write_on(&db, COMMITS_MAX, |id| println!("committed {id}")).unwrap();
}

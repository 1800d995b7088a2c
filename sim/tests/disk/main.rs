//! The simulated disk, tried with SQLite on top of it: what a crash leaves (`crash`, and `sweep` for
//! every point of a run), what faults do (`faults`), and ordinary use. Where a promise is kept, a
//! weaker setting that breaks it is tried too, or the test would prove nothing.

mod crash;
mod faults;
mod ordinary;
mod sweep;

use kew_sim::disk::Disk;
use rusqlite::{Connection, Error, ErrorCode, Result};

const HOST: &str = "broker";

/// How a database is opened.
#[derive(Clone, Copy)]
struct Setting {
    journal: &'static str,
    synchronous: &'static str,
    locking: &'static str,
}

const FULL: Setting = Setting { journal: "WAL", synchronous: "FULL", locking: "NORMAL" };
const NORMAL: Setting = Setting { synchronous: "NORMAL", ..FULL };
const OFF: Setting = Setting { synchronous: "OFF", ..FULL };
const EXCLUSIVE: Setting = Setting { locking: "EXCLUSIVE", ..FULL };
const ROLLBACK: Setting = Setting { journal: "DELETE", synchronous: "EXTRA", ..FULL };
const ROLLBACK_FULL: Setting = Setting { synchronous: "FULL", ..ROLLBACK };

fn path() -> String {
    Disk::path(HOST, "queue.db")
}

fn open(setting: Setting) -> Result<Connection> {
    let db = Disk::open(&path())?;
    db.pragma_update(None, "locking_mode", setting.locking)?;
    db.pragma_update_and_check(None, "journal_mode", setting.journal, |_| Ok(()))?;
    db.pragma_update(None, "synchronous", setting.synchronous)?;
    // Small, so that a short run checkpoints several times.
    db.pragma_update(None, "wal_autocheckpoint", 20)?;
    db.execute_batch("CREATE TABLE IF NOT EXISTS job (id INTEGER PRIMARY KEY, body TEXT)")?;
    Ok(db)
}

fn insert(db: &Connection, id: i64) -> Result<usize> {
    db.execute("INSERT INTO job VALUES (?1, printf('%0300d', ?1))", [id])
}

/// Inserts until `commits` are acknowledged or one is not, and returns how many were.
fn run(db: &Connection, commits: i64) -> i64 {
    (1..=commits).take_while(|id| insert(db, *id).is_ok()).count() as i64
}

/// What is in the database after a crash.
#[derive(Debug, PartialEq)]
struct Found {
    rows: i64,
    /// The rows are the first ones, without a gap.
    prefix: bool,
    sound: bool,
}

fn found(rows: i64) -> Found {
    Found { rows, prefix: true, sound: true }
}

fn look(db: &Connection) -> Result<Found> {
    let integrity: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let counts = "SELECT count(*), coalesce(max(id), 0) FROM job";
    let (rows, last): (i64, i64) = db.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Found { rows, prefix: rows == last, sound: integrity == "ok" })
}

/// Reopens after a crash and looks. `None` is a database that cannot be read.
fn reopen(disk: &Disk) -> Option<Found> {
    disk.restart();
    let db = open(FULL).ok()?;
    look(&db).ok()
}

fn is(error: &Error, code: ErrorCode) -> bool {
    error.sqlite_error_code() == Some(code)
}

//! Disk programs: SQLite, as the store uses it, on the machine's file system and on the simulated disk. The same program
//! says the same on both; where a kill's moment decides, the machine's outcome is one of the simulator's.

use std::collections::BTreeSet;

use rusqlite::{Connection, ErrorCode, Result};

use super::disk_arms::{Arm, really_killed, simulated_killed};

/// The database's file.
pub(crate) const FILE: &str = "queue.db";

/// What a killed writer leaves.
#[derive(Debug)]
pub(crate) struct Killed {
    /// The last commit that it told of.
    pub(crate) acknowledged: i64,
    /// Whether there was a write-ahead log before the database was opened again.
    pub(crate) log: bool,
    /// Whether there was one after it was closed in good order.
    pub(crate) log_after: bool,
    /// What the database says.
    pub(crate) found: Found,
}

/// What a database says.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    rows: i64,
    /// The highest id: as many as there are rows if these are the first ones, without a gap.
    last: i64,
    integrity: String,
}

/// Looks into a database.
pub(crate) fn look(db: &Connection) -> Result<Found> {
    db.execute_batch(TABLE)?;
    let integrity = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let counts = "SELECT count(*), coalesce(max(id), 0) FROM job";
    db.query_row(counts, [], |row| Ok(Found { rows: row.get(0)?, last: row.get(1)?, integrity }))
}

/// Makes the table and commits row after row at FULL, with frequent checkpoints, and tells each commit.
pub(crate) fn write_on(db: &Connection, commits: i64, mut tell: impl FnMut(i64)) -> Result<()> {
    set(db, "WAL")?;
    for id in 1..=commits {
        insert(db, id)?;
        tell(id);
    }
    Ok(())
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS job (id INTEGER PRIMARY KEY, body TEXT)";

fn set(db: &Connection, journal: &str) -> Result<()> {
    db.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", 20)?;
    db.execute_batch(TABLE)
}

fn insert(db: &Connection, id: i64) -> Result<usize> {
    db.execute("INSERT INTO job VALUES (?1, printf('%0300d', ?1))", [id])
}

fn rows(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM job", [], |row| row.get(0)).unwrap()
}

/// A second connection, which does not wait for locks.
fn opened(arm: &Arm, journal: &str) -> Connection {
    let db = arm.open().unwrap();
    db.busy_timeout(std::time::Duration::ZERO).unwrap();
    set(&db, journal).unwrap();
    db
}

impl Killed {
    /// How many rows there are beyond the acknowledged ones, of a database that is whole.
    fn beyond(&self) -> i64 {
        let Found { rows, last, integrity } = &self.found;
        assert_eq!((rows, integrity.as_str()), (last, "ok"), "{self:?}");
        rows - self.acknowledged
    }
}

#[test]
fn a_killed_writer_leaves_what_it_acknowledged_and_at_most_the_commit_under_way() {
    let kills = (1..).map_while(|operation| simulated_killed(operation, 60)).collect::<Vec<_>>();
    let simulated: BTreeSet<_> = kills.iter().map(Killed::beyond).collect();
    assert!(200 < kills.len(), "{}", kills.len());
    assert_eq!(simulated, BTreeSet::from([0, 1]));
    for after in [1, 2, 19, 20, 21, 100] {
        let real = really_killed(after);
        assert!(after <= real.acknowledged && simulated.contains(&real.beyond()), "{real:?}");
    }
}

#[test]
fn a_killed_writers_log_stays_behind_and_is_folded_in_on_open() {
    let kills = [really_killed(5), simulated_killed(60, 60).expect("the run is longer")];
    for killed in kills {
        assert!(killed.log && !killed.log_after, "{killed:?}");
        assert!(5 <= killed.found.rows, "{killed:?}");
    }
}

#[test]
fn a_second_writer_is_told_that_the_database_is_locked() {
    for arm in Arm::both() {
        for journal in ["WAL", "DELETE"] {
            let (first, second) = (opened(&arm, journal), opened(&arm, journal));
            first.execute_batch("BEGIN IMMEDIATE").unwrap();
            let refused = second.execute_batch("BEGIN IMMEDIATE").unwrap_err();
            assert_eq!(refused.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
            assert_eq!(refused.to_string(), "database is locked");
            first.execute_batch("COMMIT").unwrap();
            second.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
        }
    }
}

#[test]
fn a_readers_snapshot_stays_while_a_writer_commits() {
    for arm in Arm::both() {
        let (writer, reader) = (opened(&arm, "WAL"), opened(&arm, "WAL"));
        insert(&writer, 1).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(rows(&reader), 1);
        (2..=99).for_each(|id| assert_eq!(insert(&writer, id), Ok(1)));
        assert_eq!((rows(&reader), rows(&writer)), (1, 99));
        let outdated = insert(&reader, 100).unwrap_err();
        assert_eq!(outdated.to_string(), "database is locked", "its snapshot is not the last one");
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!((rows(&reader), insert(&reader, 100)), (99, Ok(1)));
    }
}

#[test]
fn a_log_that_a_reader_needs_is_not_emptied() {
    for arm in Arm::both() {
        let (writer, reader) = (opened(&arm, "WAL"), opened(&arm, "WAL"));
        reader.execute_batch("BEGIN; SELECT * FROM job").unwrap();
        insert(&writer, 1).unwrap();
        let busy = || writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        assert_eq!(busy(), Ok(1));
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!(busy(), Ok(0));
    }
}

#[test]
fn a_readers_lock_keeps_a_commit_with_a_rollback_journal_waiting() {
    for arm in Arm::both() {
        let (writer, reader) = (opened(&arm, "DELETE"), opened(&arm, "DELETE"));
        insert(&writer, 1).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        assert_eq!(rows(&reader), 1);
        writer.execute_batch("BEGIN; INSERT INTO job VALUES (2, '')").unwrap();
        assert_eq!(writer.execute_batch("COMMIT").unwrap_err().to_string(), "database is locked");
        reader.execute_batch("COMMIT").unwrap();
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(rows(&reader), 2);
    }
}

#[test]
fn a_database_that_is_deleted_while_open_is_read_on_but_not_written_and_its_name_is_free() {
    for arm in Arm::both() {
        let before = opened(&arm, "DELETE");
        (1..=5).for_each(|id| assert_eq!(insert(&before, id), Ok(1)));
        arm.delete(FILE);
        assert!(!arm.has(FILE));
        assert_eq!(rows(&before), 5);
        let after = opened(&arm, "DELETE");
        assert_eq!(insert(&after, 1), Ok(1));
        assert_eq!((rows(&before), rows(&after)), (5, 1));
        assert_eq!(insert(&before, 6).unwrap_err().sqlite_error_code(), Some(ErrorCode::ReadOnly));
        drop((before, after));
        assert_eq!(rows(&opened(&arm, "DELETE")), 1);
    }
}

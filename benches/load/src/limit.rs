//! The limit: SQLite with nothing around it, doing the least that the contract needs. A row of `job_status` for each
//! job, made, turned to `processing` by a claim and to `completed` by its end; found through an index of what is pending;
//! many in one transaction, at the same durability.
//!
//! What it leaves out is what a queue is for: retries, leases, rate limits, batches, deduplication, users' lists and
//! notifications, priorities, and whoever asks. So nothing that keeps the contract can be faster in SQLite.

use std::path::Path;
use std::time::{Duration, Instant};

use kew_runtime::clock::{Clock, SystemClock};
use kew_runtime::ids::Ids;
use kew_runtime::store::Synchronous;
use rusqlite::{Connection, Result, params};

use crate::work::{Load, PAYLOAD, Work};

/// The queue, in the column `type`.
const QUEUE: &str = "pdf_generation";

const SCHEMA: &str = "
    CREATE TABLE job_status (
      id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL, user_id TEXT NOT NULL, payload JSON, result JSON,
      error TEXT, retry_count INTEGER DEFAULT 0, created_at TIMESTAMP, updated_at TIMESTAMP, completed_at TIMESTAMP
    );
    CREATE INDEX pending ON job_status (type) WHERE status = 'pending';";

/// Does `load` in a new file in `folder` and says how long it took.
///
/// # Errors
///
/// Those of SQLite.
pub fn run(folder: &Path, load: &Load) -> Result<Duration> {
    let path = folder.join("limit.db");
    let connection = open(&path, load.synchronous)?;
    let mut ids = Ids::from_seed(1);
    let took = match load.work {
        Work::Enqueue => timed(|| enqueue(&connection, &mut ids, load.jobs, load.producers)),
        Work::Process => {
            enqueue(&connection, &mut ids, load.jobs, 1_000)?;
            timed(|| process(&connection, load.in_flight))
        }
        Work::Mixed => timed(|| mixed(&connection, &mut ids, load.jobs, load.in_flight)),
    }?;
    let sql = "SELECT count(*) FROM job_status WHERE status = ?1";
    let status = if load.work == Work::Enqueue { "pending" } else { "completed" };
    let done: u32 = connection.query_row(sql, [status], |row| row.get(0))?;
    assert_eq!(done, load.jobs, "the limit did other work than it was given");
    Ok(took)
}

fn open(path: &Path, synchronous: Synchronous) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = if synchronous == Synchronous::Full { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

/// Does `work` as one transaction.
fn transaction<T>(connection: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = work()?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(done)
}

fn enqueue(connection: &Connection, ids: &mut Ids, jobs: u32, group: u32) -> Result<()> {
    let mut left = jobs;
    while 0 < left {
        let group = group.min(left);
        transaction(connection, || insert(connection, ids, group))?;
        left -= group;
    }
    Ok(())
}

/// Each transaction ends the jobs that the one before has claimed, and claims the next: the fewest there can be.
fn process(connection: &Connection, group: u32) -> Result<()> {
    let mut claimed = Vec::new();
    loop {
        claimed = transaction(connection, || {
            complete(connection, &claimed)?;
            claim(connection, group)
        })?;
        if claimed.is_empty() {
            return Ok(());
        }
    }
}

/// A third of what is in flight has just been created, a third claimed, a third ended.
fn mixed(connection: &Connection, ids: &mut Ids, jobs: u32, in_flight: u32) -> Result<()> {
    let group = (in_flight / 3).max(1);
    let (mut left, mut claimed) = (jobs, Vec::new());
    loop {
        let new = group.min(left);
        left -= new;
        claimed = transaction(connection, || {
            complete(connection, &claimed)?;
            let claimed = claim(connection, group)?;
            insert(connection, ids, new)?;
            Ok(claimed)
        })?;
        if claimed.is_empty() && new == 0 {
            return Ok(());
        }
    }
}

fn insert(connection: &Connection, ids: &mut Ids, jobs: u32) -> Result<()> {
    let sql = "INSERT INTO job_status (id, type, status, user_id, payload, retry_count, created_at, updated_at)
               VALUES (?1, ?2, 'pending', ?3, ?4, 0, ?5, ?5)";
    let mut statement = connection.prepare_cached(sql)?;
    let clock = SystemClock::new();
    for _ in 0..jobs {
        statement.execute(params![ids.next(clock.wall_ms()), QUEUE, "user-1", PAYLOAD, "2026-01-01 00:00:00.000"])?;
    }
    Ok(())
}

fn claim(connection: &Connection, jobs: u32) -> Result<Vec<i64>> {
    let sql = "SELECT rowid, id, payload FROM job_status WHERE type = ?1 AND status = 'pending' LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
    let found: Vec<(i64, String, String)> = statement.query_map(params![QUEUE, jobs], read)?.collect::<Result<_>>()?;
    let sql = "UPDATE job_status SET status = 'processing', updated_at = ?2 WHERE rowid = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    for (row, ..) in &found {
        statement.execute(params![row, "2026-01-01 00:00:00.001"])?;
    }
    Ok(found.into_iter().map(|(row, ..)| row).collect())
}

fn complete(connection: &Connection, claimed: &[i64]) -> Result<()> {
    let sql = "UPDATE job_status SET status = 'completed', result = 'null', updated_at = ?2, completed_at = ?2
               WHERE rowid = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    for row in claimed {
        statement.execute(params![row, "2026-01-01 00:00:00.002"])?;
    }
    Ok(())
}

//! Dead letters: in, back, and gone.

use rusqlite::{Result, params};

use super::enqueue::NewLive;
use super::finish::forget_attempts;
use super::live::Live;
use super::statement::Statements;
use super::transaction::Transaction;
use super::upkeep;
use super::value::Nat;
use crate::store::Ending;

/// What it takes to make a dead letter live again.
struct Dead {
    queue: String,
    key: Option<String>,
    version: u64,
    email: Option<String>,
    created_ms: u64,
    live_seq: u64,
    fence: u32,
}

/// Puts a job into a dead letter queue whose end has the number `end`.
pub(super) fn bury(transaction: &Transaction<'_, '_>, live: &Live, to: &str, end: u64, now_ms: u64) -> Result<()> {
    let sql = "INSERT INTO dead_letter (job, dead_letter_queue, died_ms, queue, user_id, key,
                                        version, email, created_ms, live_seq, fence, end_seq)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let (version, created_ms, seq) = (Nat(live.version), Nat(live.created_ms), Nat(live.seq));
    let Live { job, queue, user, key, email, fence, .. } = live;
    let params = params![job, to, Nat(now_ms), queue, user, key, version, email, created_ms, seq, fence, Nat(end)];
    transaction.connection.run(sql, params)?;
    Ok(())
}

/// Puts a dead letter back into its queue. It keeps its place, its version and its count of deliveries: a lease from
/// before it died must not fit one after.
pub(super) fn redrive(transaction: &mut Transaction<'_, '_>, job: &str, ready_ms: u64, now_ms: u64) -> Result<Ending> {
    let Some(dead) = find(transaction, job)? else { return not_dead(transaction, job) };
    let sql = "SELECT 1 FROM live WHERE queue = ?1 AND key = ?2";
    if transaction.connection.any(sql, params![dead.queue, dead.key])? {
        return Ok(Ending::KeyTaken);
    }
    exhume(transaction, job)?;
    let sql = "UPDATE job_status
               SET status = 'pending', error = NULL, result = NULL, retry_count = 0,
                   updated_at = max(updated_at, ?2), completed_at = NULL
               WHERE id = ?1";
    let stamp = transaction.stamp(now_ms);
    transaction.connection.change(sql, params![job, stamp])?;
    let live = NewLive {
        seq: dead.live_seq,
        queue: &dead.queue,
        key: dead.key.as_deref(),
        version: dead.version,
        email: dead.email.as_deref(),
        created_ms: dead.created_ms,
        wanted_ms: ready_ms,
        is_blocked: false,
        fence: dead.fence,
    };
    live.insert(transaction)?;
    Ok(Ending::Done)
}

/// Drops a dead letter for good. The job's row stays, unless its time has passed while it was a dead letter.
pub(super) fn purge(transaction: &mut Transaction<'_, '_>, job: &str) -> Result<Ending> {
    let sql = "DELETE FROM job_status
               WHERE id = ?1 AND (SELECT end_seq FROM dead_letter WHERE job = ?1) <= ?2";
    let forgotten = upkeep::number(transaction.connection, "forgotten")?;
    transaction.connection.run(sql, params![job, Nat(forgotten)])?;
    match exhume(transaction, job)? {
        true => Ok(Ending::Done),
        false => not_dead(transaction, job),
    }
}

fn find(transaction: &Transaction<'_, '_>, job: &str) -> Result<Option<Dead>> {
    let sql = "SELECT queue, key, version, email, created_ms, live_seq, fence FROM dead_letter WHERE job = ?1";
    transaction.connection.one(sql, [job], |row| {
        let (queue, key, email, fence) = (row.get(0)?, row.get(1)?, row.get(3)?, row.get(6)?);
        let (Nat(version), Nat(created_ms), Nat(live_seq)) = (row.get(2)?, row.get(4)?, row.get(5)?);
        Ok(Dead { queue, key, version, email, created_ms, live_seq, fence })
    })
}

/// Takes a job out of its dead letter queue, with what is known of its attempts; false if it is in none.
fn exhume(transaction: &Transaction<'_, '_>, job: &str) -> Result<bool> {
    if transaction.connection.run("DELETE FROM dead_letter WHERE job = ?1", [job])? == 0 {
        return Ok(false);
    }
    forget_attempts(transaction, job)?;
    Ok(true)
}

fn not_dead(transaction: &Transaction<'_, '_>, job: &str) -> Result<Ending> {
    let exists = transaction.connection.any("SELECT 1 FROM job_status WHERE id = ?1", [job])?;
    Ok(if exists { Ending::NotAllowed } else { Ending::NotFound })
}

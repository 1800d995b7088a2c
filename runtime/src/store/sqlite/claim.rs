//! Giving jobs to a processor: how many the rate limit leaves, which ones, and the lease on each.

use rusqlite::{Connection, Result, Row, params};

use super::statement::Statements;
use super::transaction::Transaction;
use super::upkeep;
use super::value::{Nat, Stamp, json};
use crate::store::{Claim, Claimed, ClaimedJob, LeaseId};

/// The batch of the job that has waited longest, of those that are ready.
pub(super) const HEAD: &str = "
    SELECT ready_ms, batch FROM live
    WHERE queue = ?1 AND ready_ms <= ?2
    ORDER BY ready_ms, seq LIMIT 1";

/// Jobs that belong to no batch, the longest waiting first.
pub(super) const FRESH: &str = "
    SELECT seq, job, key, version, created_ms, ready_ms, attempt, fence, user_id FROM live
    WHERE queue = ?1 AND ready_ms <= ?2 AND batch IS NULL
    ORDER BY ready_ms, seq LIMIT ?3";

/// Jobs of one batch, the longest waiting first.
pub(super) const KEPT: &str = "
    SELECT seq, job, key, version, created_ms, ready_ms, attempt, fence, user_id FROM live
    WHERE queue = ?1 AND ready_ms <= ?2 AND batch = ?4
    ORDER BY ready_ms, seq LIMIT ?3";

/// How many claims lie in the window that ends now. A claim counts until `at_ms + window`, and not at that time any more.
pub(super) const USED: &str = "
    SELECT coalesce(sum(jobs), 0) FROM rate_claim
    WHERE queue = ?1 AND at_ms > ?2 - ?3";

/// A job that is about to be given.
struct Chosen {
    seq: u64,
    job: String,
    user: String,
    key: Option<String>,
    version: u64,
    created_ms: u64,
    ready_ms: u64,
    attempt: u32,
    fence: u32,
}

/// Makes a delivery, if anything is deliverable.
pub(super) fn claim(transaction: &mut Transaction<'_>, claim: &Claim) -> Result<Option<Claimed>> {
    let connection = transaction.connection;
    let limit = claim.max.min(room(connection, claim)?);
    if limit == 0 || upkeep::state(connection, &claim.queue)?.is_paused {
        return Ok(None);
    }
    let (queue, now_ms) = (&claim.queue, Nat(claim.now_ms));
    let head = connection.one(HEAD, params![queue, now_ms], |row| row.get::<_, Option<String>>(1))?;
    let Some(kept) = head else { return Ok(None) };
    let chosen = match &kept {
        Some(batch) => connection.all(KEPT, params![queue, now_ms, limit, batch], Chosen::read)?,
        None => connection.all(FRESH, params![queue, now_ms, limit], Chosen::read)?,
    };
    let batch = kept.unwrap_or_else(|| claim.batch.clone());
    note_rate(connection, claim, chosen.len())?;
    let jobs = chosen.into_iter().map(|job| lease(transaction, claim, &batch, job)).collect::<Result<_>>()?;
    Ok(Some(Claimed { batch, jobs }))
}

impl Chosen {
    fn read(row: &Row<'_>) -> Result<Self> {
        let (Nat(seq), Nat(version)) = (row.get(0)?, row.get(3)?);
        let (Nat(created_ms), Nat(ready_ms)) = (row.get(4)?, row.get(5)?);
        let (attempt, fence, user) = (row.get(6)?, row.get(7)?, row.get(8)?);
        Ok(Self { seq, job: row.get(1)?, user, key: row.get(2)?, version, created_ms, ready_ms, attempt, fence })
    }
}

/// Begins an attempt.
fn lease(transaction: &mut Transaction<'_>, claim: &Claim, batch: &str, chosen: Chosen) -> Result<ClaimedJob> {
    let connection = transaction.connection;
    let (attempt, fence) = (chosen.attempt + 1, chosen.fence + 1);
    let sql = "UPDATE live
               SET ready_ms = NULL, attempt = ?2, fence = ?3, batch = ?4,
                   delivery = ?5, processor = ?6, started_ms = ?7, lease_until_ms = ?8
               WHERE seq = ?1";
    let (now_ms, until_ms) = (Nat(claim.now_ms), Nat(claim.lease_until_ms));
    let params = params![Nat(chosen.seq), attempt, fence, batch, claim.delivery, claim.processor, now_ms, until_ms];
    connection.run(sql, params)?;
    transaction.ready.moved(&claim.queue, Some(chosen.ready_ms), None);
    // The error stays that of the last attempt until this one has ended.
    let sql = "UPDATE job_status SET status = 'processing', retry_count = ?2, updated_at = max(updated_at, ?3)
               WHERE id = ?1";
    connection.run(sql, params![chosen.job, attempt - 1, Stamp(claim.now_ms)])?;
    // Not by RETURNING, for which SQLite makes a table in memory each time: that costs more than this second look.
    let payload = connection.one("SELECT payload FROM job_status WHERE id = ?1", [&chosen.job], |row| json(row, 0))?;
    let payload = payload.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let lease = LeaseId { queue: claim.queue.clone(), job: chosen.job, attempt, fence };
    let Chosen { user, version, key, created_ms, .. } = chosen;
    Ok(ClaimedJob { lease, user, version, key, payload, created_ms })
}

/// How many more jobs the rate limit leaves.
fn room(connection: &Connection, claim: &Claim) -> Result<u32> {
    let Some((starts, window_ms)) = claim.rate else { return Ok(u32::MAX) };
    let params = params![claim.queue, Nat(claim.now_ms), Nat(window_ms)];
    let used = connection.one(USED, params, |row| row.get(0))?.unwrap_or(0u32);
    Ok(starts.saturating_sub(used))
}

fn note_rate(connection: &Connection, claim: &Claim, jobs: usize) -> Result<()> {
    let Some((_, window_ms)) = claim.rate else { return Ok(()) };
    let sql = "INSERT INTO rate_claim (queue, at_ms, jobs) VALUES (?1, ?2, ?3)
               ON CONFLICT (queue, at_ms) DO UPDATE SET jobs = jobs + excluded.jobs";
    connection.run(sql, params![claim.queue, Nat(claim.now_ms), Nat(jobs as u64)])?;
    let sql = "INSERT INTO queue_state (queue, rate_window_ms) VALUES (?1, ?2)
               ON CONFLICT (queue) DO UPDATE SET rate_window_ms = excluded.rate_window_ms
               WHERE rate_window_ms <> excluded.rate_window_ms";
    connection.run(sql, params![claim.queue, Nat(window_ms)])?;
    Ok(())
}

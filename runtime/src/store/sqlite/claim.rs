//! Giving jobs to a processor: how many the rate limit leaves, which ones, and the lease on each.

use rusqlite::{Result, params};

use super::lines::Place;
use super::live::{Live, select_live};
use super::statement::Statements;
use super::transaction::Transaction;
use super::value::{Nat, json};
use crate::store::{Claim, Claimed, ClaimedJob};

/// A job that is about to be given: its row, and its payload.
pub(super) const CHOSEN: &str =
    select_live!(", payload", "JOIN job_status ON job_status.rowid = seq AND +id = job WHERE seq = ?1");

/// How many claims lie in the window that ends now. A claim counts until `at_ms + window`, and not at that time any more.
pub(super) const USED: &str = "
    SELECT coalesce(sum(jobs), 0) FROM rate_claim
    WHERE queue = ?1 AND at_ms > ?2 - ?3";

/// Makes a delivery, if anything is deliverable.
pub(super) fn claim(transaction: &mut Transaction<'_, '_>, claim: &Claim) -> Result<Option<Claimed>> {
    let connection = transaction.connection;
    let limit = claim.max.min(room(connection, claim)?);
    let Some(line) = transaction.lines.of(&claim.queue) else { return Ok(None) };
    if limit == 0 || line.is_paused {
        return Ok(None);
    }
    let Some((_, kept)) = line.head(claim.now_ms) else { return Ok(None) };
    let batch = kept.map_or(claim.batch.as_str(), |kept| kept).to_owned();
    let chosen = line.places(kept.map(|kept| &**kept), claim.now_ms, limit);
    note_rate(transaction, claim, chosen.len())?;
    let jobs = chosen.into_iter().map(|place| lease(transaction, claim, &batch, place)).collect::<Result<_>>()?;
    Ok(Some(Claimed { batch, jobs }))
}

/// Begins an attempt of the job that waits at `place`.
fn lease(transaction: &mut Transaction<'_, '_>, claim: &Claim, batch: &str, place: Place) -> Result<ClaimedJob> {
    let connection = transaction.connection;
    let seq = Nat(place.1);
    let chosen = connection.one(CHOSEN, [seq], |row| Ok((Live::read(row)?, json(row, Live::COLUMNS)?)))?;
    let (waiting, payload) = chosen.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let live = Live {
        ready_ms: None,
        attempt: waiting.attempt + 1,
        fence: waiting.fence + 1,
        batch: Some(batch.to_owned()),
        delivery: Some(claim.delivery.clone()),
        started_ms: claim.now_ms,
        lease_until_ms: Some(claim.lease_until_ms),
        ..waiting
    };
    let sql = "UPDATE live
               SET ready_ms = NULL, attempt = ?2, fence = ?3, batch = ?4,
                   delivery = ?5, processor = ?6, started_ms = ?7, lease_until_ms = ?8
               WHERE seq = ?1";
    let (now_ms, until_ms) = (Nat(claim.now_ms), Nat(claim.lease_until_ms));
    let Live { attempt, fence, .. } = live;
    let params = params![seq, attempt, fence, batch, claim.delivery, claim.processor, now_ms, until_ms];
    connection.change(sql, params)?;
    // The error stays that of the last attempt until this one has ended.
    let sql = "UPDATE job_status SET status = 'processing', retry_count = ?3, updated_at = max(updated_at, ?4)
               WHERE rowid = ?1 AND +id = ?2";
    connection.change(sql, params![seq, live.job, attempt - 1, transaction.stamp(claim.now_ms)])?;
    let (user, key) = (live.user.clone(), live.key.clone());
    let Live { version, created_ms, .. } = live;
    let given = ClaimedJob { lease: live.lease(), user, version, key, payload, created_ms };
    transaction.lines.leave(&claim.queue, place);
    transaction.lines.lease(live);
    Ok(given)
}

/// How many more jobs the rate limit leaves.
fn room(connection: &impl Statements, claim: &Claim) -> Result<u32> {
    let Some((starts, window_ms)) = claim.rate else { return Ok(u32::MAX) };
    let params = params![claim.queue, Nat(claim.now_ms), Nat(window_ms)];
    let used = connection.one(USED, params, |row| row.get(0))?.unwrap_or(0u32);
    Ok(starts.saturating_sub(used))
}

fn note_rate(transaction: &mut Transaction<'_, '_>, claim: &Claim, jobs: usize) -> Result<()> {
    let Some((_, window_ms)) = claim.rate else { return Ok(()) };
    let connection = transaction.connection;
    let sql = "INSERT INTO rate_claim (queue, at_ms, jobs) VALUES (?1, ?2, ?3)
               ON CONFLICT (queue, at_ms) DO UPDATE SET jobs = jobs + excluded.jobs";
    connection.run(sql, params![claim.queue, Nat(claim.now_ms), Nat(jobs as u64)])?;
    if transaction.lines.set_window(&claim.queue, window_ms) {
        let sql = "INSERT INTO queue_state (queue, rate_window_ms) VALUES (?1, ?2)
                   ON CONFLICT (queue) DO UPDATE SET rate_window_ms = excluded.rate_window_ms";
        connection.change(sql, params![claim.queue, Nat(window_ms)])?;
    }
    Ok(())
}

//! Ending an attempt, if its lease still holds.

use rusqlite::{Result, params};

use super::finish::{Final, finish};
use super::live::Live;
use super::statement::Statements;
use super::transaction::Transaction;
use super::value::Nat;
use crate::store::{LeaseId, Outcome, Settle, Then};

/// Whether `settle` comes from whoever holds the lease on `live`. At its end the lease is over on the queue's clock,
/// whether or not somebody has said so yet; what is left to be said then is that it was lost.
fn is_held(live: &Live, settle: &Settle) -> bool {
    let Some(until_ms) = live.lease_until_ms else { return false };
    let LeaseId { queue, job, attempt, fence } = &settle.lease;
    let is_same = (queue, job, *attempt, *fence) == (&live.queue, &live.job, live.attempt, live.fence);
    is_same && (settle.now_ms < until_ms || matches!(settle.outcome, Outcome::Lost(_)))
}

/// Ends the attempt; false if the lease was over.
pub(super) fn settle(transaction: &mut Transaction<'_, '_>, settle: &Settle) -> Result<bool> {
    let job = settle.lease.job.as_str();
    if !transaction.lines.leased(job).is_some_and(|live| is_held(live, settle)) {
        return Ok(false);
    }
    let Some(live) = transaction.lines.release(job) else { return Ok(false) };
    note_attempt(transaction, &live, settle)?;
    let error = error_of(&settle.outcome).map(|(_, error)| error);
    match &settle.then {
        Then::RetryAt(ready_ms) => retry(transaction, &live, error, *ready_ms, settle)?,
        Then::Complete => {
            let result = match &settle.outcome {
                Outcome::Completed(result) => Some(&**result),
                _ => None,
            };
            finish(transaction, &live, Final::Completed(result), settle.now_ms)?;
        }
        Then::Fail => finish(transaction, &live, Final::Failed(error), settle.now_ms)?,
        Then::DeadLetter(to) => finish(transaction, &live, Final::DeadLettered(error, to), settle.now_ms)?,
    }
    Ok(true)
}

/// How an attempt failed: the word for it, and the error.
fn error_of(outcome: &Outcome) -> Option<(&'static str, &str)> {
    match outcome {
        Outcome::Completed(_) => None,
        Outcome::Failed(error) => Some(("failed", error)),
        Outcome::TimedOut(error) => Some(("timed-out", error)),
        Outcome::Lost(error) => Some(("lost", error)),
    }
}

/// Keeps what is known of an attempt that did not succeed, if its claim wanted that.
fn note_attempt(transaction: &Transaction<'_, '_>, live: &Live, settle: &Settle) -> Result<()> {
    let Some(started_ms) = live.started_ms else { return Ok(()) };
    let Some((outcome, error)) = error_of(&settle.outcome) else { return Ok(()) };
    let sql = "INSERT INTO failed_attempt (job, attempt, outcome, error, started_ms, ended_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (started_ms, ended_ms) = (Nat(started_ms), Nat(settle.now_ms));
    transaction.connection.run(sql, params![live.job, live.attempt, outcome, error, started_ms, ended_ms])?;
    Ok(())
}

/// Lets the job wait for its next attempt. A follow-up of the same key stays blocked: the older one is delivered first.
fn retry(
    transaction: &mut Transaction<'_, '_>,
    live: &Live,
    error: Option<&str>,
    ready_ms: u64,
    settle: &Settle,
) -> Result<()> {
    let batch = live.batch.as_deref().filter(|_| settle.keep_batch);
    let sql = "UPDATE live SET ready_ms = ?2, lease_until_ms = NULL, batch = ?3 WHERE seq = ?1";
    transaction.connection.change(sql, params![Nat(live.seq), Nat(ready_ms), batch])?;
    transaction.lines.wait(&live.queue, (ready_ms, live.seq), batch);
    let stamp = transaction.stamp(settle.now_ms);
    let sql = "UPDATE job_status SET status = 'failed', error = ?3, updated_at = max(updated_at, ?4)
               WHERE rowid = ?1 AND +id = ?2";
    transaction.connection.change(sql, params![Nat(live.seq), live.job, error, stamp])
}

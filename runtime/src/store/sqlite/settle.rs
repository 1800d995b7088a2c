//! Ending an attempt, if its lease still holds.

use rusqlite::{Result, Row, params};

use super::finish::{Final, finish};
use super::statement::Statements;
use super::transaction::Transaction;
use super::value::{Nat, Stamp};
use crate::store::{LeaseId, Outcome, Settle, Then};

/// One live job.
pub(super) const LIVE: &str = "
    SELECT seq, job, queue, key, version, email, created_ms, ready_ms,
           attempt, fence, coalesce(started_ms, 0), lease_until_ms, delivery, user_id
    FROM live WHERE job = ?1";

/// A live job, as those see it who end its attempt or the job.
pub(super) struct Live {
    pub(super) seq: u64,
    pub(super) job: String,
    pub(super) queue: String,
    pub(super) user: String,
    pub(super) key: Option<String>,
    pub(super) version: u64,
    pub(super) email: Option<String>,
    pub(super) created_ms: u64,
    pub(super) ready_ms: Option<u64>,
    pub(super) attempt: u32,
    pub(super) fence: u32,
    pub(super) started_ms: u64,
    pub(super) lease_until_ms: Option<u64>,
    /// The delivery that processes it, if one does.
    pub(super) delivery: Option<String>,
}

impl Live {
    /// The live job of this id.
    pub(super) fn find(transaction: &Transaction<'_>, job: &str) -> Result<Option<Self>> {
        transaction.connection.one(LIVE, [job], Self::read)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        let nat = |column| row.get(column).map(|Nat(value)| value);
        let optional = |column| row.get(column).map(|value: Option<Nat>| value.map(|Nat(value)| value));
        let lease_until_ms = optional(11)?;
        let delivery: Option<String> = row.get(12)?;
        Ok(Self {
            seq: nat(0)?,
            job: row.get(1)?,
            queue: row.get(2)?,
            user: row.get(13)?,
            key: row.get(3)?,
            version: nat(4)?,
            email: row.get(5)?,
            created_ms: nat(6)?,
            ready_ms: optional(7)?,
            attempt: row.get(8)?,
            fence: row.get(9)?,
            started_ms: nat(10)?,
            lease_until_ms,
            delivery: delivery.filter(|_| lease_until_ms.is_some()),
        })
    }

    /// Whether `settle` comes from whoever holds the lease. At its end the lease is over on the queue's clock, whether
    /// or not somebody has said so yet; what is left to be said then is that it was lost.
    fn is_held_by(&self, settle: &Settle) -> bool {
        let Some(until_ms) = self.lease_until_ms else { return false };
        let LeaseId { queue, job, attempt, fence } = &settle.lease;
        let is_same = (queue, job, *attempt, *fence) == (&self.queue, &self.job, self.attempt, self.fence);
        is_same && (settle.now_ms < until_ms || matches!(settle.outcome, Outcome::Lost(_)))
    }
}

/// Ends the attempt; false if the lease was over.
pub(super) fn settle(transaction: &mut Transaction<'_>, settle: &Settle) -> Result<bool> {
    let held = Live::find(transaction, &settle.lease.job)?.filter(|live| live.is_held_by(settle));
    let Some(live) = held else { return Ok(false) };
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

/// Keeps what is known of an attempt that did not succeed.
fn note_attempt(transaction: &Transaction<'_>, live: &Live, settle: &Settle) -> Result<()> {
    let Some((outcome, error)) = error_of(&settle.outcome) else { return Ok(()) };
    let sql = "INSERT INTO failed_attempt (job, attempt, outcome, error, started_ms, ended_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (started_ms, ended_ms) = (Nat(live.started_ms), Nat(settle.now_ms));
    transaction.connection.run(sql, params![live.job, live.attempt, outcome, error, started_ms, ended_ms])?;
    Ok(())
}

/// Lets the job wait for its next attempt. A follow-up of the same key stays blocked: the older one is delivered first.
fn retry(
    transaction: &mut Transaction<'_>,
    live: &Live,
    error: Option<&str>,
    ready_ms: u64,
    settle: &Settle,
) -> Result<()> {
    let sql = "UPDATE live
               SET ready_ms = ?2, lease_until_ms = NULL, batch = CASE WHEN ?3 THEN batch END
               WHERE seq = ?1";
    transaction.connection.run(sql, params![Nat(live.seq), Nat(ready_ms), settle.keep_batch])?;
    transaction.ready.moved(&live.queue, None, Some(ready_ms));
    let sql = "UPDATE job_status SET status = 'failed', error = ?2, updated_at = max(updated_at, ?3) WHERE id = ?1";
    transaction.connection.run(sql, params![live.job, error, Stamp(settle.now_ms)])?;
    Ok(())
}

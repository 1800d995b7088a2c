//! The final end of a job, whatever brings it about: its row says so, what waited for it goes on, its user will be told.
//! All in the transaction of the command, so that no crash can leave one without the others.

use kew_spec::lifecycle::Status;
use rusqlite::{Result, params};
use serde_json::value::RawValue;

use super::dead_letter;
use super::live::Live;
use super::statement::Statements;
use super::transaction::Transaction;
use super::value::Nat;
use crate::store::Ending;

/// The job that is blocked behind another of its queue and key.
pub(super) const BLOCKED: &str = "
    SELECT seq, wanted_ms FROM live
    WHERE queue = ?1 AND key = ?2 AND ready_ms IS NULL AND lease_until_ms IS NULL";

/// How a job ends for good.
pub(super) enum Final<'a> {
    /// With this result.
    Completed(Option<&'a RawValue>),
    /// With this error.
    Failed(Option<&'a str>),
    /// With this error, into this dead letter queue.
    DeadLettered(Option<&'a str>, &'a str),
    /// By will.
    Cancelled,
}

impl<'a> Final<'a> {
    fn status(&self) -> Status {
        match self {
            Self::Completed(_) => Status::Completed,
            _ => Status::Failed,
        }
    }

    fn error(&self) -> Option<&'a str> {
        match self {
            Self::Completed(_) => None,
            Self::Failed(error) | Self::DeadLettered(error, _) => *error,
            Self::Cancelled => Some("cancelled"),
        }
    }

    fn dead_letter_queue(&self) -> Option<&'a str> {
        match self {
            Self::DeadLettered(_, to) => Some(to),
            _ => None,
        }
    }
}

/// Ends `live` for good. It neither waits nor is leased any more.
pub(super) fn finish(transaction: &mut Transaction<'_, '_>, live: &Live, end: Final<'_>, now_ms: u64) -> Result<()> {
    close(transaction, live, &end, now_ms)?;
    match &live.key {
        None => transaction.together.end(live.seq),
        Some(key) => {
            transaction.connection.change("DELETE FROM live WHERE seq = ?1", [Nat(live.seq)])?;
            unblock(transaction, live, key)?;
        }
    }
    transaction.lines.end(&live.queue, live.seq);
    let seq = transaction.next_end();
    match &end {
        Final::DeadLettered(_, to) => dead_letter::bury(transaction, live, to, seq, now_ms)?,
        // The attempt that completed a job is not among those that failed.
        Final::Completed(_) if live.attempt <= 1 => {}
        Final::Completed(_) | Final::Cancelled => forget_attempts(transaction, &live.job)?,
        // What went wrong with a job that has failed is of use for as long as its row is.
        Final::Failed(_) => {}
    }
    tell(transaction, live, &end, seq, now_ms)
}

/// Writes the end into the job's row.
fn close(transaction: &mut Transaction<'_, '_>, live: &Live, end: &Final<'_>, now_ms: u64) -> Result<()> {
    let stamp = transaction.stamp(now_ms);
    if let Final::Completed(result) = end {
        transaction.together.complete(live.seq, *result, stamp);
        return Ok(());
    }
    let sql = "UPDATE job_status
               SET status = ?3, result = NULL, error = ?4,
                   updated_at = max(updated_at, ?5), completed_at = max(updated_at, ?5)
               WHERE rowid = ?1 AND +id = ?2";
    transaction.connection.change(sql, params![Nat(live.seq), live.job, end.status().as_str(), end.error(), stamp])
}

/// Lets the job go on that waited for the end of this one. The time that it was blocked counts as waiting.
fn unblock(transaction: &mut Transaction<'_, '_>, ended: &Live, key: &str) -> Result<()> {
    let params = params![ended.queue, key];
    let blocked = transaction.connection.one(BLOCKED, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
    if let Some((Nat(seq), Nat(ready_ms))) = blocked {
        let sql = "UPDATE live SET ready_ms = ?2 WHERE seq = ?1";
        transaction.connection.change(sql, params![Nat(seq), Nat(ready_ms)])?;
        transaction.lines.wait(&ended.queue, (ready_ms, seq), None);
    }
    Ok(())
}

/// Forgets what is known of a job's attempts.
pub(super) fn forget_attempts(transaction: &Transaction<'_, '_>, job: &str) -> Result<()> {
    transaction.connection.run("DELETE FROM failed_attempt WHERE job = ?1", [job])?;
    Ok(())
}

/// Puts the end where the notifier finds it.
fn tell(transaction: &mut Transaction<'_, '_>, live: &Live, end: &Final<'_>, seq: u64, now_ms: u64) -> Result<()> {
    if matches!(end, Final::Completed(_)) && live.email.is_none() {
        transaction.together.tell(live.seq, seq, now_ms);
        return Ok(());
    }
    let sql = "INSERT INTO job_end (seq, job, queue, user_id, status, error, dead_letter_queue, email, ended_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let status = end.status().as_str();
    let Live { job, queue, user, email, .. } = live;
    let params = params![Nat(seq), job, queue, user, status, end.error(), end.dead_letter_queue(), email, Nat(now_ms)];
    transaction.connection.run(sql, params)?;
    Ok(())
}

/// Ends a job by will: its own user's, or an operator's.
pub(super) fn cancel(
    transaction: &mut Transaction<'_, '_>,
    job: &str,
    user: Option<&str>,
    now_ms: u64,
) -> Result<Ending> {
    let sql = "SELECT 1 FROM job_status WHERE id = ?1 AND user_id = coalesce(?2, user_id)";
    if !transaction.connection.any(sql, params![job, user])? {
        return Ok(Ending::NotFound);
    }
    let Some(live) = Live::find(transaction, job)? else { return Ok(Ending::NotAllowed) };
    transaction.lines.release(job);
    if let Some(ready_ms) = live.ready_ms {
        transaction.lines.leave(&live.queue, (ready_ms, live.seq), live.batch.as_deref());
    }
    finish(transaction, &live, Final::Cancelled, now_ms)?;
    Ok(Ending::Done)
}

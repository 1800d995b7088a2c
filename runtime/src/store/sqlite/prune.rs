//! Forgetting what is past its time, so that the file stays as large as what is kept. Ends are stored in the order in which
//! they came, so what is old is found at their beginning: forgetting costs what it forgets, however much is there.

use rusqlite::{Result, Row, params};

use super::finish::forget_attempts;
use super::statement::Statements;
use super::transaction::Transaction;
use super::upkeep::{number, raise};
use super::value::Nat;
use crate::timestamp;

/// How much longer than its queue's window a claim of a rate-limited queue is kept: so far may a queue's window be made
/// longer without starts too many.
const RATE_CLAIM_RETENTION_MS: u64 = 60 * 60 * 1_000;

const OLD_RATE_CLAIMS: &str = "
    DELETE FROM rate_claim
    WHERE at_ms < ?1 - coalesce((SELECT rate_window_ms FROM queue_state WHERE queue_state.queue = rate_claim.queue), 0)";

/// How many ends one go looks at: some ten milliseconds of work.
const ENDS_MAX: u32 = 2_000;

/// The first ends whose jobs have not been forgotten yet, old or not: it is read until one comes that is not. Asked for
/// the old ones alone, it would look for more of them through all that is kept.
pub(super) const OLD_ENDS: &str = "
    SELECT seq, job_seq, job, status, ended_ms FROM job_end
    WHERE seq > ?1
    ORDER BY seq LIMIT ?2";

/// Whose end it is: the number of a job whose row says all about it, or the id of one that may have been put back since,
/// and the status that it had.
enum Ended {
    Simply(Nat),
    Else(String, String),
}

/// Forgets idempotency keys, rate claims, ends and ended jobs that are past their time. Returns whether there is more.
pub(super) fn prune(transaction: &mut Transaction<'_, '_>, ended_before_ms: u64, now_ms: u64) -> Result<bool> {
    let connection = transaction.connection;
    connection.run("DELETE FROM idempotency WHERE until_ms <= ?1", [Nat(now_ms)])?;
    let kept_from_ms = now_ms.saturating_sub(RATE_CLAIM_RETENTION_MS);
    connection.run(OLD_RATE_CLAIMS, [Nat(kept_from_ms)])?;
    let more = forget_jobs(transaction, ended_before_ms)?;
    forget_ends(transaction)?;
    Ok(more)
}

/// Forgets jobs that ended long ago and have not been live since. Dead letters stay until they are purged or redriven;
/// a purge forgets the job whose time has passed by then.
fn forget_jobs(transaction: &Transaction<'_, '_>, ended_before_ms: u64) -> Result<bool> {
    let connection = transaction.connection;
    let from = number(connection, "forgotten")?;
    let old = old_ends(connection, from, ended_before_ms)?;
    if let Some((last, _)) = old.last() {
        copy_untold(transaction, from, *last)?;
    }
    let before = timestamp::sql(ended_before_ms);
    for (_, ended) in &old {
        match ended {
            Ended::Simply(seq) => {
                connection
                    .run("DELETE FROM job_status WHERE rowid = ?1 AND completed_at < ?2", params![seq, before])?;
            }
            Ended::Else(job, status) => {
                // A job that was redriven has ended since, or is live: that end is the one that counts.
                let sql = "DELETE FROM job_status
                           WHERE id = ?1 AND completed_at < ?2 AND status = ?3
                             AND NOT EXISTS (SELECT 1 FROM dead_letter WHERE job = ?1)";
                if connection.run(sql, params![job, before, status])? == 1 {
                    forget_attempts(transaction, job)?;
                }
            }
        }
    }
    if let Some((Nat(last), _)) = old.last() {
        raise(connection, "forgotten", *last)?;
    }
    Ok(old.len() == ENDS_MAX as usize)
}

/// The ends after `from` that came before `ended_before_ms`, up to the first that did not. Where a clock was set back, old
/// ends stand behind a newer one: they are forgotten along with that.
fn old_ends(connection: &impl Statements, from: u64, ended_before_ms: u64) -> Result<Vec<(Nat, Ended)>> {
    let read = |row: &Row<'_>| {
        let ended = match row.get(1)? {
            Some(seq) => Ended::Simply(seq),
            None => Ended::Else(row.get(2)?, row.get(3)?),
        };
        let Nat(ended_ms) = row.get(4)?;
        Ok((ended_ms, (row.get(0)?, ended)))
    };
    connection.with(OLD_ENDS, |statement| {
        let ends = statement.query_map(params![Nat(from), ENDS_MAX], read)?;
        let is_old = |end: &Result<(u64, _)>| !matches!(end, Ok((ended_ms, _)) if ended_before_ms <= *ended_ms);
        ends.take_while(is_old).map(|end| end.map(|(_, end)| end)).collect()
    })
}

/// Gives ends after `from` and up to `last` that have not been told a copy of what the rows of their jobs say, which are
/// about to go. Those up to `from` were given theirs when they were passed over.
fn copy_untold(transaction: &Transaction<'_, '_>, from: u64, last: Nat) -> Result<()> {
    let sql = "UPDATE job_end
               SET (job, queue, user_id) = (SELECT id, type, user_id FROM job_status WHERE rowid = job_seq), job_seq = NULL
               WHERE seq > ?1 AND seq <= ?2 AND job_seq IS NOT NULL";
    let told = number(transaction.connection, "told")?;
    transaction.connection.run(sql, params![Nat(told.max(from)), last])?;
    Ok(())
}

/// Forgets ends that have been told and whose jobs have been forgotten, or would have been if they were not live again.
fn forget_ends(transaction: &Transaction<'_, '_>) -> Result<()> {
    let connection = transaction.connection;
    let done = number(connection, "told")?.min(number(connection, "forgotten")?);
    connection.run("DELETE FROM job_end WHERE seq <= ?1", [Nat(done)])?;
    Ok(())
}

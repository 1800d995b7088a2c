//! Making jobs: finding out that the request was there before, that a job for the same key waits, or adding a row.

use rusqlite::{Result, params};

use super::statement::Statements;
use super::transaction::Transaction;
use super::value::{Json, Nat};
use crate::store::{Answer, How, NewJob};

/// The newest live job of a queue and key.
pub(super) const NEWEST: &str = "
    SELECT seq, job, lease_until_ms IS NOT NULL FROM live
    WHERE queue = ?1 AND key = ?2
    ORDER BY seq DESC LIMIT 1";

/// What [`NEWEST`] finds.
struct Newest {
    seq: u64,
    job: String,
    is_leased: bool,
}

/// Makes `job`, or says what became of it instead.
pub(super) fn enqueue(transaction: &mut Transaction<'_, '_>, job: &NewJob) -> Result<Answer> {
    if let Some(answer) = recall(transaction, job)? {
        return Ok(answer);
    }
    if transaction.connection.any("SELECT 1 FROM job_status WHERE id = ?1", [&job.id])? {
        return Ok(Answer::Enqueued { job: job.id.clone(), how: How::Replayed });
    }
    let (id, how) = match newest_of_key(transaction, job)? {
        Some(newest) if !newest.is_leased => (coalesce(transaction, job, newest)?, How::Coalesced),
        // A job of the same key is being processed: this one follows it.
        newest => (create(transaction, job, newest.is_some())?, How::Created),
    };
    remember(transaction, job, &id)?;
    Ok(Answer::Enqueued { job: id, how })
}

/// The answer to a request whose idempotency key was used before and is still remembered.
fn recall(transaction: &Transaction<'_, '_>, job: &NewJob) -> Result<Option<Answer>> {
    let Some(given) = &job.idempotency else { return Ok(None) };
    let sql = "SELECT fingerprint, job FROM idempotency WHERE user_id = ?1 AND key = ?2 AND ?3 < until_ms";
    let params = params![job.user, given.key, Nat(job.now_ms)];
    let used = transaction.connection.one(sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(used.map(|(fingerprint, job): (String, String)| match fingerprint == given.fingerprint {
        true => Answer::Enqueued { job, how: How::Replayed },
        false => Answer::IdempotencyConflict,
    }))
}

fn remember(transaction: &Transaction<'_, '_>, job: &NewJob, id: &str) -> Result<()> {
    let Some(given) = &job.idempotency else { return Ok(()) };
    // The same key may be there from before, past its time and not yet forgotten.
    let sql =
        "INSERT OR REPLACE INTO idempotency (user_id, key, fingerprint, job, until_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
    let params = params![job.user, given.key, given.fingerprint, id, Nat(given.until_ms)];
    transaction.connection.run(sql, params)?;
    Ok(())
}

fn newest_of_key(transaction: &Transaction<'_, '_>, job: &NewJob) -> Result<Option<Newest>> {
    let Some(key) = &job.key else { return Ok(None) };
    transaction.connection.one(NEWEST, params![job.queue, key], |row| {
        let Nat(seq) = row.get(0)?;
        Ok(Newest { seq, job: row.get(1)?, is_leased: row.get(2)? })
    })
}

/// Gives the job that waits the newer payload. Its place and its ready time stay.
fn coalesce(transaction: &mut Transaction<'_, '_>, job: &NewJob, waiting: Newest) -> Result<String> {
    let version = transaction.next_version();
    let sql = "UPDATE live SET version = ?2, email = coalesce(?3, email) WHERE seq = ?1";
    transaction.connection.change(sql, params![Nat(waiting.seq), Nat(version), job.email])?;
    let stamp = transaction.stamp(job.now_ms);
    let sql = "UPDATE job_status SET payload = ?3, updated_at = max(updated_at, ?4) WHERE rowid = ?1 AND +id = ?2";
    transaction.connection.change(sql, params![Nat(waiting.seq), waiting.job, Json(&job.payload), stamp])?;
    Ok(waiting.job)
}

fn create(transaction: &mut Transaction<'_, '_>, job: &NewJob, is_blocked: bool) -> Result<String> {
    let (version, stamp) = (transaction.next_version(), transaction.stamp(job.now_ms));
    let sql = "INSERT INTO job_status (rowid, id, type, status, user_id, payload, retry_count, created_at, updated_at)
               VALUES (?1, ?2, ?3, 'pending', ?4, ?5, 0, ?6, ?6)";
    let params = params![Nat(version), job.id, job.queue, job.user, Json(&job.payload), stamp];
    transaction.connection.run(sql, params)?;
    let live = NewLive {
        seq: version,
        job: &job.id,
        queue: &job.queue,
        user: &job.user,
        key: job.key.as_deref(),
        version,
        email: job.email.as_deref(),
        created_ms: job.now_ms,
        wanted_ms: job.ready_ms,
        is_blocked,
        fence: 0,
    };
    live.insert(transaction)?;
    Ok(job.id.clone())
}

/// A job that becomes live: a new one, or a dead letter that is put back.
pub(super) struct NewLive<'a> {
    pub(super) seq: u64,
    pub(super) job: &'a str,
    pub(super) queue: &'a str,
    pub(super) user: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) version: u64,
    pub(super) email: Option<&'a str>,
    pub(super) created_ms: u64,
    pub(super) wanted_ms: u64,
    pub(super) is_blocked: bool,
    pub(super) fence: u32,
}

impl NewLive<'_> {
    /// Adds the row.
    pub(super) fn insert(&self, transaction: &mut Transaction<'_, '_>) -> Result<()> {
        let sql = "INSERT INTO live (seq, job, queue, user_id, key, version, email,
                                     created_ms, wanted_ms, ready_ms, attempt, fence)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?11)";
        let ready_ms = (!self.is_blocked).then_some(self.wanted_ms);
        let params = params![
            Nat(self.seq),
            self.job,
            self.queue,
            self.user,
            self.key,
            Nat(self.version),
            self.email,
            Nat(self.created_ms),
            Nat(self.wanted_ms),
            ready_ms.map(Nat),
            self.fence,
        ];
        transaction.connection.run(sql, params)?;
        transaction.lines.begin(self.queue, self.seq);
        if let Some(ready_ms) = ready_ms {
            transaction.lines.wait(self.queue, (ready_ms, self.seq), None);
        }
        Ok(())
    }
}

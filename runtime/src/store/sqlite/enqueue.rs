//! Making jobs: finding out that the request was there before, that a job for the same key waits, or adding a row.

use rusqlite::{Result, params};

use super::statement::Statements;
use super::transaction::Transaction;
use super::value::{Json, Nat};
use crate::store::{Answer, How, NewJob};

/// The newest live job of a queue and key.
pub(super) const NEWEST: &str = "
    SELECT seq, lease_until_ms IS NOT NULL, (SELECT user_id FROM job_status WHERE job_status.rowid = seq), ready_ms, batch
    FROM live
    WHERE queue = ?1 AND key = ?2
    ORDER BY seq DESC LIMIT 1";

/// What [`NEWEST`] finds.
struct Newest {
    seq: u64,
    is_leased: bool,
    user: String,
    ready_ms: Option<u64>,
    batch: Option<String>,
}

/// Makes `job`, or says what became of it instead.
pub(super) fn enqueue(transaction: &mut Transaction<'_, '_>, job: &NewJob) -> Result<Answer> {
    if let Some(answer) = recall(transaction, job)? {
        return Ok(answer);
    }
    let newest = newest_of_key(transaction, job)?;
    let (id, how) = match newest {
        Some(newest) if !newest.is_leased => {
            if transaction.connection.any("SELECT 1 FROM job_status WHERE id = ?1", [&job.id])? {
                return Ok(replayed(job));
            }
            if newest.user != job.user {
                return Ok(Answer::OthersEntity);
            }
            (coalesce(transaction, job, newest)?, How::Coalesced)
        }
        // A job of the same key is being processed: this one follows it.
        newest => match create(transaction, job, newest.is_some())? {
            true => (job.id.clone(), How::Created),
            false => return Ok(replayed(job)),
        },
    };
    remember(transaction, job, &id, how)?;
    Ok(Answer::Enqueued { job: id, how })
}

/// A job of this id is there already.
fn replayed(job: &NewJob) -> Answer {
    Answer::Enqueued { job: job.id.clone(), how: How::Replayed }
}

/// The answer to a request that was there before and is still remembered, by its idempotency key or the id it came with.
/// A key is remembered anew each time: so those of a list, of which some jobs were refused at first, end together.
fn recall(transaction: &Transaction<'_, '_>, job: &NewJob) -> Result<Option<Answer>> {
    let (key, fingerprint) = match (&job.idempotency, &job.key) {
        (Some(given), _) => (given.key.clone(), given.fingerprint.as_str()),
        (None, Some(_)) => (own_key(job), ""),
        (None, None) => return Ok(None),
    };
    let sql = "SELECT fingerprint, job FROM idempotency WHERE user_id = ?1 AND key = ?2 AND ?3 < until_ms";
    let used = transaction
        .connection
        .one(sql, params![job.user, key, Nat(job.now_ms)], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let Some((used_for, made)) = used else { return Ok(None) };
    if used_for != fingerprint {
        return Ok(Some(Answer::IdempotencyConflict));
    }
    if let Some(given) = &job.idempotency {
        let sql = "UPDATE idempotency SET until_ms = max(until_ms, ?3) WHERE user_id = ?1 AND key = ?2";
        transaction.connection.change(sql, params![job.user, given.key, Nat(given.until_ms)])?;
    }
    Ok(Some(Answer::Enqueued { job: made, how: How::Replayed }))
}

/// Remembers which job a request made or gave its payload to: by its idempotency key; or, where nothing else would tell
/// its repetition from a newer payload, by the id it came with.
fn remember(transaction: &Transaction<'_, '_>, job: &NewJob, id: &str, how: How) -> Result<()> {
    let (key, fingerprint, until_ms) = match &job.idempotency {
        Some(given) => (given.key.clone(), given.fingerprint.as_str(), given.until_ms),
        None if how == How::Coalesced => (own_key(job), "", job.repeats_until_ms),
        None => return Ok(()),
    };
    // The same key may be there from before, past its time and not yet forgotten.
    let sql =
        "INSERT OR REPLACE INTO idempotency (user_id, key, fingerprint, job, until_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.connection.run(sql, params![job.user, key, fingerprint, id, Nat(until_ms)])?;
    Ok(())
}

/// What stands for a request itself among the idempotency keys; no client's key begins with a space.
fn own_key(job: &NewJob) -> String {
    format!(" {}", job.id)
}

fn newest_of_key(transaction: &Transaction<'_, '_>, job: &NewJob) -> Result<Option<Newest>> {
    let Some(key) = &job.key else { return Ok(None) };
    transaction.connection.one(NEWEST, params![job.queue, key], |row| {
        let Nat(seq) = row.get(0)?;
        let ready_ms = row.get::<_, Option<Nat>>(3)?.map(|Nat(ms)| ms);
        Ok(Newest { seq, is_leased: row.get(1)?, user: row.get(2)?, ready_ms, batch: row.get(4)? })
    })
}

/// Gives the job that waits the newer payload. Its place and its ready time stay. It leaves the batch that it was to be
/// tried again with: whoever has stored that under its id already would take the newer payload for stored, too.
fn coalesce(transaction: &mut Transaction<'_, '_>, job: &NewJob, waiting: Newest) -> Result<String> {
    let version = transaction.next_version();
    let sql = "UPDATE live SET version = ?2, email = coalesce(?3, email), batch = NULL WHERE seq = ?1";
    transaction.connection.change(sql, params![Nat(waiting.seq), Nat(version), job.email])?;
    if let (Some(ready_ms), Some(batch)) = (waiting.ready_ms, &waiting.batch) {
        transaction.lines.leave(&job.queue, (ready_ms, waiting.seq), Some(batch));
        transaction.lines.wait(&job.queue, (ready_ms, waiting.seq), None);
    }
    let stamp = transaction.stamp(job.now_ms);
    let sql = "UPDATE job_status SET payload = ?2, updated_at = max(updated_at, ?3) WHERE rowid = ?1 RETURNING id";
    let params = params![Nat(waiting.seq), Json(&job.payload), stamp];
    let id = transaction.connection.one(sql, params, |row| row.get(0))?;
    id.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Makes a job; false if one of its id is there already.
fn create(transaction: &mut Transaction<'_, '_>, job: &NewJob, is_blocked: bool) -> Result<bool> {
    let (version, stamp) = (transaction.newest_version() + 1, transaction.stamp(job.now_ms));
    let sql = "INSERT INTO job_status (rowid, id, type, status, user_id, payload, retry_count, created_at, updated_at)
               VALUES (?1, ?2, ?3, 'pending', ?4, ?5, 0, ?6, ?6)
               ON CONFLICT (id) DO NOTHING";
    let params = params![Nat(version), job.id, job.queue, job.user, Json(&job.payload), stamp];
    if transaction.connection.run(sql, params)? == 0 {
        return Ok(false);
    }
    transaction.next_version();
    let live = NewLive {
        seq: version,
        queue: &job.queue,
        key: job.key.as_deref(),
        version,
        email: job.email.as_deref(),
        created_ms: job.now_ms,
        wanted_ms: job.ready_ms,
        is_blocked,
        fence: 0,
    };
    live.insert(transaction)?;
    Ok(true)
}

/// A job that becomes live: a new one, or a dead letter that is put back.
pub(super) struct NewLive<'a> {
    pub(super) seq: u64,
    pub(super) queue: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) version: u64,
    pub(super) email: Option<&'a str>,
    pub(super) created_ms: u64,
    pub(super) wanted_ms: u64,
    pub(super) is_blocked: bool,
    pub(super) fence: u32,
}

impl NewLive<'_> {
    /// Whether all else in the row follows from its number, its queue and its times.
    fn is_plain(&self) -> bool {
        self.key.is_none() && self.email.is_none() && (self.version, self.fence) == (self.seq, 0)
    }

    /// Adds the row.
    pub(super) fn insert(&self, transaction: &mut Transaction<'_, '_>) -> Result<()> {
        let ready_ms = (!self.is_blocked).then_some(self.wanted_ms);
        if self.is_plain() {
            transaction.together.begin(self.queue, self.seq, self.created_ms, self.wanted_ms);
        } else {
            self.insert_alone(transaction, ready_ms)?;
        }
        transaction.lines.begin(self.queue, self.seq);
        if let Some(ready_ms) = ready_ms {
            transaction.lines.wait(self.queue, (ready_ms, self.seq), None);
        }
        Ok(())
    }

    fn insert_alone(&self, transaction: &Transaction<'_, '_>, ready_ms: Option<u64>) -> Result<()> {
        let sql = "INSERT INTO live (seq, queue, key, version, email, created_ms, wanted_ms, ready_ms, attempt, fence)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9)";
        let params = params![
            Nat(self.seq),
            self.queue,
            self.key,
            Nat(self.version),
            self.email,
            Nat(self.created_ms),
            Nat(self.wanted_ms),
            ready_ms.map(Nat),
            self.fence,
        ];
        transaction.connection.run(sql, params)?;
        Ok(())
    }
}

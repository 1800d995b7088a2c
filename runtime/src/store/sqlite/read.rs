//! Questions, answered from a connection of their own.

use rusqlite::{Connection, Params, Result, Row, params};

use super::statement::{Statements, atomically, failed};
use super::upkeep;
use super::value::{Nat, Stamp, json, optional_json, word};
use crate::store::{DeadLetterRow, Depth, End, Error, FailedAttempt, JobRow, Query, Rows};

/// The columns that [`job_row`] reads.
macro_rules! select_jobs {
    ($rest:literal) => {
        concat!(
            "SELECT id, type, status, job_status.user_id, payload, result, error, retry_count,
                    created_at, updated_at, completed_at, dead_letter_queue, died_ms
             FROM job_status LEFT JOIN dead_letter ON dead_letter.job = job_status.id ",
            $rest
        )
    };
}

const JOB: &str = select_jobs!("WHERE id = ?1");

/// A rowid grows with every job, so it is the order of enqueueing.
pub(super) const JOBS_OF: &str = select_jobs!(
    "WHERE job_status.user_id = ?1
     ORDER BY job_status.rowid DESC LIMIT ?2"
);

pub(super) const JOBS_OF_AFTER: &str = select_jobs!(
    "WHERE job_status.user_id = ?1 AND job_status.rowid < (SELECT rowid FROM job_status WHERE id = ?3)
     ORDER BY job_status.rowid DESC LIMIT ?2"
);

/// The queues that hold jobs or are paused.
const DEPTHS: &str = "
    SELECT queue, waiting, processing, oldest_created_ms, paused FROM queue_state
    WHERE waiting + processing > 0 OR paused
    ORDER BY queue";

pub(super) const DEAD_LETTERS: &str = "
    SELECT job FROM dead_letter
    WHERE dead_letter_queue = ?1
      AND (?3 IS NULL OR seq > (SELECT seq FROM dead_letter WHERE job = ?3))
    ORDER BY seq LIMIT ?2";

pub(super) const ENDS: &str = "
    SELECT seq, coalesce(job, id), coalesce(queue, type), coalesce(job_end.user_id, job_status.user_id), job_end.status,
           job_end.error, dead_letter_queue, email, ended_ms
    FROM job_end LEFT JOIN job_status ON job_status.rowid = job_seq
    WHERE seq > ?1
    ORDER BY seq LIMIT ?2";

/// Answers one question, all of it as of one moment.
pub(super) fn read(connection: &Connection, query: &Query) -> Result<Rows, Error> {
    atomically(connection, "BEGIN", || {
        answer(connection, query).map_err(|error| failed(format!("read {}", subject(query)), &error))
    })
}

fn answer(connection: &Connection, query: &Query) -> Result<Rows> {
    Ok(match query {
        Query::Job { job } => Rows::Jobs(jobs(connection, JOB, [job])?),
        Query::JobsOf { user, after: None, limit } => Rows::Jobs(jobs(connection, JOBS_OF, params![user, limit])?),
        Query::JobsOf { user, after: Some(after), limit } => {
            Rows::Jobs(jobs(connection, JOBS_OF_AFTER, params![user, limit, after])?)
        }
        Query::Depths => Rows::Depths(depths(connection)?),
        Query::DeadLetters { dead_letter_queue, after, limit } => {
            let params = params![dead_letter_queue, limit, after];
            let jobs: Vec<String> = connection.all(DEAD_LETTERS, params, |row| row.get(0))?;
            let rows = jobs.iter().map(|job| dead_letter(connection, job));
            Rows::DeadLetters(rows.filter_map(Result::transpose).collect::<Result<_>>()?)
        }
        Query::DeadLetter { job } => Rows::DeadLetters(dead_letter(connection, job)?.into_iter().collect()),
        Query::Ends { after, limit } => Rows::Ends(ends(connection, *after, *limit)?),
        Query::Told => {
            Rows::Told { through: upkeep::number(connection, "told")?, newest: upkeep::number(connection, "ended")? }
        }
    })
}

/// What a question is about, as it reads after "failed to read".
fn subject(query: &Query) -> String {
    match query {
        Query::Job { job } => format!("job {job}"),
        Query::JobsOf { user, .. } => format!("the jobs of {user}"),
        Query::Depths => "how many jobs the queues hold".into(),
        Query::DeadLetters { dead_letter_queue, .. } => format!("the dead letters of {dead_letter_queue}"),
        Query::DeadLetter { job } => format!("dead letter {job}"),
        Query::Ends { after, .. } => format!("the ends after {after}"),
        Query::Told => "which ends were told".into(),
    }
}

fn jobs(connection: &Connection, sql: &'static str, params: impl Params) -> Result<Vec<JobRow>> {
    connection.all(sql, params, job_row)
}

fn job_row(row: &Row<'_>) -> Result<JobRow> {
    let stamp = |column| row.get(column).map(|Stamp(ms)| ms);
    Ok(JobRow {
        id: row.get(0)?,
        queue: row.get(1)?,
        status: word(row, 2)?,
        user_id: row.get(3)?,
        payload: json(row, 4)?,
        result: optional_json(row, 5)?,
        error: row.get(6)?,
        retry_count: row.get(7)?,
        created_ms: stamp(8)?,
        updated_ms: stamp(9)?,
        completed_ms: row.get::<_, Option<Stamp>>(10)?.map(|Stamp(ms)| ms),
        dead_letter_queue: row.get(11)?,
    })
}

fn depths(connection: &Connection) -> Result<Vec<Depth>> {
    connection.all(DEPTHS, [], |row| {
        let (Nat(waiting), Nat(processing)) = (row.get(1)?, row.get(2)?);
        let oldest_created_ms = row.get::<_, Option<Nat>>(3)?.map(|Nat(ms)| ms);
        Ok(Depth { queue: row.get(0)?, waiting, processing, oldest_created_ms, paused: row.get(4)? })
    })
}

fn dead_letter(connection: &Connection, job: &str) -> Result<Option<DeadLetterRow>> {
    let sql = select_jobs!("WHERE id = ?1 AND dead_letter_queue IS NOT NULL");
    let Some((died_ms, job)) = connection.one(sql, [job], |row| Ok((row.get(12)?, job_row(row)?)))? else {
        return Ok(None);
    };
    let Nat(died_ms) = died_ms;
    Ok(Some(DeadLetterRow { died_ms, attempts: attempts(connection, &job.id)?, job }))
}

fn attempts(connection: &Connection, job: &str) -> Result<Vec<FailedAttempt>> {
    let sql =
        "SELECT attempt, outcome, error, started_ms, ended_ms FROM failed_attempt WHERE job = ?1 ORDER BY attempt";
    connection.all(sql, [job], |row| {
        let (Nat(started_ms), Nat(ended_ms)) = (row.get(3)?, row.get(4)?);
        Ok(FailedAttempt { attempt: row.get(0)?, outcome: row.get(1)?, error: row.get(2)?, started_ms, ended_ms })
    })
}

fn ends(connection: &Connection, after: u64, limit: u32) -> Result<Vec<End>> {
    connection.all(ENDS, params![Nat(after), limit], |row| {
        let (Nat(seq), Nat(ended_ms)) = (row.get(0)?, row.get(8)?);
        Ok(End {
            seq,
            job: row.get(1)?,
            queue: row.get(2)?,
            user: row.get(3)?,
            status: word(row, 4)?,
            error: row.get(5)?,
            dead_letter_queue: row.get(6)?,
            email: row.get(7)?,
            ended_ms,
        })
    })
}

//! What many jobs have written for them in one statement. A transaction carries out its commands one by one, and what
//! they want written that differs between jobs by their numbers alone is collected here; a row costs a third of what a
//! statement of its own would, and less where the numbers follow each other.
//!
//! Enqueues that follow each other share the statements, and so do claims, and settles. Before any other command all is
//! written, so that it sees in the file whatever came before it. What those of one kind look up themselves is never among
//! what is collected: enqueues and settles look for jobs of an entity, and those are written at once.

use std::rc::Rc;

use rusqlite::types::Value;
use rusqlite::vtab::array::Array;
use rusqlite::{Error, Result, params};
use serde_json::value::RawValue;

use super::live::Live;
use super::statement::Statements;
use super::value::{Json, Nat};

/// A job that is enqueued without an entity and a mail: the rest of its row follows from its number.
const BEGIN: &str = "
    INSERT INTO live (seq, queue, version, created_ms, wanted_ms, ready_ms, attempt, fence)
    SELECT value, ?2, value, ?3, ?4, ?4, 0, 0 FROM rarray(?1)";

/// Jobs that are claimed, in the table of what is live.
pub(super) const LEASE: &str = "
    UPDATE live
    SET ready_ms = NULL, attempt = attempt + 1, fence = fence + 1, batch = ?3, started_ms = ?4, lease_until_ms = ?5
    WHERE seq BETWEEN ?1 AND ?2";

/// And in that of all jobs. The error stays that of the last attempt until this one has ended.
pub(super) const PROCESS: &str = "
    UPDATE job_status SET status = 'processing', retry_count = ?3, updated_at = max(updated_at, ?4)
    WHERE rowid BETWEEN ?1 AND ?2";

/// Jobs that were completed with the same result.
pub(super) const COMPLETE: &str = "
    UPDATE job_status
    SET status = 'completed', result = ?3, error = NULL,
        updated_at = max(updated_at, ?4), completed_at = max(updated_at, ?4)
    WHERE rowid BETWEEN ?1 AND ?2";

/// Jobs that have ended.
pub(super) const DELETE: &str = "DELETE FROM live WHERE seq BETWEEN ?1 AND ?2";

/// Ends of jobs that were completed and asked for no mail, from the number `?2` on.
const TELL: &str = "
    INSERT INTO job_end (seq, job_seq, status, ended_ms)
    SELECT ?2 + rowid, value, 'completed', ?3 FROM rarray(?1)";

/// Numbers of jobs by what else is written for them.
#[derive(Debug)]
struct Groups<K>(Vec<(K, Vec<u64>)>);

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Groups<K> {
    /// Adds a job to the last group if it `fits` there, given how many jobs that holds, or else to a new one.
    fn add(&mut self, seq: u64, fits: impl FnOnce(&K, u64) -> bool, new: impl FnOnce() -> K) {
        match self.0.last_mut() {
            Some((group, jobs)) if fits(group, jobs.len() as u64) => jobs.push(seq),
            _ => self.0.push((new(), vec![seq])),
        }
    }

    /// Hands every group to `write`, which says how many rows it wrote: one for each job.
    fn write(&mut self, write: impl Fn(&K, Array) -> Result<usize>) -> Result<()> {
        for (group, jobs) in self.0.drain(..) {
            let all: Vec<Value> = jobs.into_iter().map(|seq| Nat(seq).into()).collect();
            let count = all.len();
            must_be(count, write(&group, Rc::new(all))?)?;
        }
        Ok(())
    }

    /// The same, for each run of numbers in it that follow each other: from the first to the last.
    fn write_runs(&mut self, write: impl Fn(&K, Nat, Nat) -> Result<usize>) -> Result<()> {
        for (group, mut jobs) in self.0.drain(..) {
            jobs.sort_unstable();
            for run in jobs.chunk_by(|one, next| one + 1 == *next) {
                must_be(run.len(), write(&group, Nat(run[0]), Nat(run[run.len() - 1]))?)?;
            }
        }
        Ok(())
    }
}

/// Whether as many rows were written as there are jobs.
fn must_be(jobs: usize, written: usize) -> Result<()> {
    if written == jobs { Ok(()) } else { Err(Error::StatementChangedRows(written)) }
}

/// What is to be written for many jobs.
#[derive(Debug, Default)]
pub(super) struct Together {
    begun: Groups<Begun>,
    leased: Groups<Leased>,
    processing: Groups<Processing>,
    completed: Groups<Completed>,
    ended: Groups<()>,
    told: Groups<Told>,
}

#[derive(Debug)]
struct Begun {
    queue: String,
    created_ms: u64,
    ready_ms: u64,
}

#[derive(Debug)]
struct Leased {
    batch: Option<String>,
    started_ms: Option<u64>,
    until_ms: u64,
}

#[derive(Debug)]
struct Processing {
    retries: u32,
    stamp: Rc<str>,
}

#[derive(Debug)]
struct Completed {
    result: Option<Box<RawValue>>,
    stamp: Rc<str>,
}

#[derive(Debug)]
struct Told {
    first: u64,
    ended_ms: u64,
}

impl Together {
    /// A job without an entity and a mail becomes live.
    pub(super) fn begin(&mut self, queue: &str, seq: u64, created_ms: u64, ready_ms: u64) {
        let fits = |it: &Begun, _| (it.queue.as_str(), it.created_ms, it.ready_ms) == (queue, created_ms, ready_ms);
        self.begun.add(seq, fits, || Begun { queue: queue.to_owned(), created_ms, ready_ms });
    }

    /// The next attempt of a job begins, whose status says so as of `stamp`.
    pub(super) fn lease(&mut self, live: &Live, until_ms: u64, stamp: Rc<str>) {
        let Live { seq, batch, started_ms, .. } = live;
        let fits = |it: &Leased, _| (&it.batch, it.started_ms, it.until_ms) == (batch, *started_ms, until_ms);
        self.leased.add(*seq, fits, || Leased { batch: batch.clone(), started_ms: *started_ms, until_ms });
        let retries = live.attempt.saturating_sub(1);
        let fits = |it: &Processing, _| it.retries == retries && it.stamp == stamp;
        self.processing.add(*seq, fits, || Processing { retries, stamp: stamp.clone() });
    }

    /// A job was completed, as of `stamp`.
    pub(super) fn complete(&mut self, seq: u64, result: Option<&RawValue>, stamp: Rc<str>) {
        let text = result.map(RawValue::get);
        let fits = |it: &Completed, _| it.result.as_deref().map(RawValue::get) == text && it.stamp == stamp;
        self.completed.add(seq, fits, || Completed { result: result.map(ToOwned::to_owned), stamp: stamp.clone() });
    }

    /// A job that has no entity is live no more.
    pub(super) fn end(&mut self, seq: u64) {
        self.ended.add(seq, |(), _| true, || ());
    }

    /// The end numbered `end` is that a job was completed which asked for no mail.
    pub(super) fn tell(&mut self, seq: u64, end: u64, ended_ms: u64) {
        let fits = |it: &Told, jobs| it.first + jobs == end && it.ended_ms == ended_ms;
        self.told.add(seq, fits, || Told { first: end, ended_ms });
    }

    /// Writes what has been collected.
    pub(super) fn write(&mut self, connection: &impl Statements) -> Result<()> {
        self.begun
            .write(|it, jobs| connection.run(BEGIN, params![jobs, it.queue, Nat(it.created_ms), Nat(it.ready_ms)]))?;
        self.leased.write_runs(|it, first, last| {
            connection.run(LEASE, params![first, last, it.batch, it.started_ms.map(Nat), Nat(it.until_ms)])
        })?;
        self.processing
            .write_runs(|it, first, last| connection.run(PROCESS, params![first, last, it.retries, it.stamp]))?;
        self.completed.write_runs(|it, first, last| {
            connection.run(COMPLETE, params![first, last, it.result.as_deref().map(Json), it.stamp])
        })?;
        self.ended.write_runs(|(), first, last| connection.run(DELETE, params![first, last]))?;
        self.told.write(|it, jobs| connection.run(TELL, params![jobs, Nat(it.first - 1), Nat(it.ended_ms)]))
    }
}

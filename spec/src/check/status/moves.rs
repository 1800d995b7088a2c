//! `status/flow`, `status/monotonic` and the part of `status/durable` that two reads show: a job's later reads against
//! its earlier ones.
//!
//! A step back is the life cycle's matter, unless the queue's host went down in between: then a change was lost.

use super::{Crashes, DURABLE, FLOW, MONOTONIC, Redrives, in_order, read_by, stage, words};
use crate::check::Seen;
use crate::check::number::{Job, PerNumber, User};
use crate::check::print::Table;
use crate::clause::Place;
use crate::history::{Row, StatusRead};
use crate::lifecycle::Stage;
use crate::verdict::Notes;

/// Per job, the reads that no later one follows: one, unless readers overlap.
#[derive(Default)]
pub(super) struct Moves {
    newest: PerNumber<Option<Read>>,
    /// Those that are older than the newest, in order.
    older: Table<Job, Vec<Read>>,
}

/// A read that found the job.
#[derive(Clone, Copy, Debug)]
struct Read {
    line: u64,
    asked_at: u64,
    at: u64,
    user: User,
    stage: Stage,
    retry_count: u32,
    created_at: u64,
    updated_at: u64,
}

/// A read and the one it is held against.
struct Pair<'a> {
    job: &'a str,
    before: &'a Read,
    then: &'a Read,
    redriven: bool,
    /// The line of a crash in between.
    crash: Option<u64>,
}

impl Moves {
    /// `purged` is whether a missing row may be due to a purge.
    pub(super) fn read(
        &mut self,
        seen: &Seen<'_>,
        it: &StatusRead,
        purged: bool,
        crashes: &Crashes,
        redrives: &Redrives,
        notes: &mut Notes,
    ) {
        let Some(row) = &it.row else {
            if !purged {
                self.miss(seen, it, crashes, notes);
            }
            return;
        };
        let then = Read::new(seen, it, row);
        let job = seen.named.job;
        for before in self.reads(job).filter(|before| before.at < then.asked_at) {
            let redriven = redrives.may_lie_after(job, before.asked_at);
            let crash = crashes.since(before.asked_at);
            Pair { job: &it.job, before, then: &then, redriven, crash }.judge(notes);
        }
        self.keep(job, then);
    }

    fn reads(&self, job: Job) -> impl Iterator<Item = &Read> {
        self.older.get(job).into_iter().flatten().chain(self.newest.get(job).and_then(Option::as_ref))
    }

    /// What comes later is held against this read, and this one has been held against those before it.
    fn keep(&mut self, job: Job, then: Read) {
        let follows = |before: &Read| then.asked_at <= before.at;
        if let Some(older) = self.older.get_mut(job) {
            older.retain(follows);
        }
        let before = self.newest.at(job).replace(then);
        if let Some(before) = before.filter(follows) {
            self.older.at(job).push(before);
        }
    }

    /// A job that its reader has seen before has no row any more.
    fn miss(&mut self, seen: &Seen<'_>, it: &StatusRead, crashes: &Crashes, notes: &mut Notes) {
        let job = seen.named.job;
        let before = self.reads(job).find(|read| read.at < it.asked_at && read.user == seen.named.user);
        let Some(before) = before.copied() else { return };
        let crash = crashes.since(before.asked_at);
        let clause = if crash.is_some() { DURABLE } else { FLOW };
        notes.exercised(clause);
        let says = format!("{}, which was {} at {}, and there was none", read_by(it), words(before.stage), before.at);
        notes.broken(clause, says, in_order([before.line].into_iter().chain(crash).chain([seen.line])));
        self.older.remove(job);
        *self.newest.at(job) = None;
    }
}

impl Read {
    fn new(seen: &Seen<'_>, it: &StatusRead, row: &Row) -> Self {
        Self {
            line: seen.line,
            asked_at: it.asked_at,
            at: seen.event.at,
            user: seen.named.user,
            stage: stage(row),
            retry_count: row.retry_count,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl Pair<'_> {
    fn judge(&self, notes: &mut Notes) {
        notes.exercised(FLOW);
        notes.exercised(MONOTONIC);
        if self.crash.is_some() {
            notes.exercised(DURABLE);
        }
        if self.crash.is_some() && self.is_older() {
            self.broken(DURABLE, "went back to", notes);
            return;
        }
        if !self.is_legal() {
            self.broken(FLOW, "became", notes);
        }
        self.judge_times(notes);
    }

    fn is_legal(&self) -> bool {
        self.before.stage.can_become(self.then.stage, self.redriven)
    }

    /// Whether only a lost change explains what is read now.
    fn is_older(&self) -> bool {
        let (before, then) = (self.before, self.then);
        let fewer = then.retry_count < before.retry_count;
        let same_attempt = then.retry_count == before.retry_count;
        let unfailed = before.stage == Stage::RETRYING && then.stage == Stage::PROCESSING;
        !self.is_legal() || !self.redriven && (fewer || unfailed && same_attempt)
    }

    fn broken(&self, clause: Place, verb: &str, notes: &mut Notes) {
        let (before, then) = (self.before, self.then);
        let crash = self.crash.map_or("", |_| ", after a crash of the queue");
        let says = format!(
            "{} was {} (retry_count {}) when read at {} and {verb} {} (retry_count {}) in the read asked at {}{crash}",
            self.job,
            words(before.stage),
            before.retry_count,
            before.at,
            words(then.stage),
            then.retry_count,
            then.asked_at,
        );
        notes.broken(clause, says, in_order([before.line, then.line].into_iter().chain(self.crash)));
    }

    fn judge_times(&self, notes: &mut Notes) {
        let (before, then) = (self.before, self.then);
        let says = if then.updated_at < before.updated_at {
            format!("updated_at of {} went back from {} to {}", self.job, before.updated_at, then.updated_at)
        } else if then.created_at != before.created_at {
            format!("created_at of {} changed from {} to {}", self.job, before.created_at, then.created_at)
        } else {
            return;
        };
        notes.broken(MONOTONIC, says, in_order([before.line, then.line]));
    }
}

//! `status/final` and the part of `status/monotonic` that one row shows: `completed_at` set if and only if the job is
//! final, `result` only when completed, `error` the last attempt's.
//!
//! Where the queue's word is seen too, the row is held against it, as far as it had spoken before the read was asked.

use super::{Crashes, FINAL, MONOTONIC, Redrives, in_order, read_by, stage, words};
use crate::check::Seen;
use crate::check::ledger::EndHow;
use crate::check::number::Job;
use crate::check::print::Table;
use crate::history::{Granted, Row, Settled, StatusRead, Then, What};
use crate::lifecycle::{Stage, Status};
use crate::verdict::Notes;

/// The error of a cancelled job.
const CANCELLED: &str = "cancelled";

#[derive(Default)]
pub(super) struct Rows {
    /// How the last attempt of each job that is not completed ended.
    ends: Table<Job, LastEnd>,
    /// Rows that say final of a job that the queue holds for live: the line of the read.
    doubted: Table<Job, u64>,
}

/// How an attempt of a job ended, or that it was cancelled.
#[derive(Debug)]
struct LastEnd {
    line: u64,
    at: u64,
    /// The attempt; `None` for a cancel.
    attempt: Option<u32>,
    error: Option<Box<str>>,
    is_final: bool,
}

impl Rows {
    pub(super) fn see(&mut self, seen: &Seen<'_>, redrives: &Redrives, notes: &mut Notes) {
        match &seen.event.what {
            What::Settled(it) if it.accepted => self.settle(seen, it),
            What::Cancelled(_) => self.cancel(seen),
            What::Granted(it) => self.grant(seen, it, redrives, notes),
            _ => {}
        }
    }

    fn settle(&mut self, seen: &Seen<'_>, it: &Settled) {
        if it.then == Some(Then::Completed) {
            self.ends.remove(seen.named.job);
            return;
        }
        let is_final = matches!(it.then, Some(Then::Failed | Then::DeadLetter));
        let (attempt, error) = (Some(it.attempt), it.error.as_deref().map(Into::into));
        self.ends.insert(seen.named.job, LastEnd { line: seen.line, at: seen.event.at, attempt, error, is_final });
    }

    fn cancel(&mut self, seen: &Seen<'_>) {
        if seen.ledger.live(seen.named.job).is_some() {
            let (attempt, error) = (None, Some(CANCELLED.into()));
            let end = LastEnd { line: seen.line, at: seen.event.at, attempt, error, is_final: true };
            self.ends.insert(seen.named.job, end);
        }
    }

    /// A delivery shows that a row which said final did not tell the truth.
    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, redrives: &Redrives, notes: &mut Notes) {
        for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
            let Some(read) = self.doubted.remove(job) else { continue };
            if !redrives.may_lie(job) {
                let (job, attempt) = (&lease.job, lease.attempt);
                let says = format!("a row said that {job} is final, and then attempt {attempt} of it was granted");
                notes.broken(FINAL, says, in_order([read, seen.line]));
            }
        }
    }

    pub(super) fn read(
        &mut self,
        seen: &Seen<'_>,
        it: &StatusRead,
        crashes: &Crashes,
        redrives: &Redrives,
        notes: &mut Notes,
    ) {
        let Some(row) = &it.row else { return };
        notes.exercised(MONOTONIC);
        notes.exercised(FINAL);
        if let Some(wrong) = wrong_times(row) {
            notes.broken(MONOTONIC, format!("{}: {wrong}", read_by(it)), vec![seen.line]);
        }
        if let Some(wrong) = wrong_end(row).or_else(|| wrong_error(row, redrives.may_lie(seen.named.job))) {
            notes.broken(FINAL, format!("{}: {wrong}", read_by(it)), vec![seen.line]);
        } else {
            self.judge_completed(seen, it, row, crashes, notes);
            self.judge_end(seen, it, row, redrives, notes);
        }
    }

    /// A job that the queue completed before the question was asked is shown as final. What a crash may have undone is
    /// `status/durable`'s, and what was only inferred may have come later.
    fn judge_completed(&self, seen: &Seen<'_>, it: &StatusRead, row: &Row, crashes: &Crashes, notes: &mut Notes) {
        let end = seen.ledger.ended(seen.named.job).filter(|end| end.how == EndHow::Completed);
        let Some(end) = end.filter(|end| end.at < it.asked_at && !row.is_final && !seen.ledger.header.inferred) else {
            return;
        };
        if seen.ledger.live(seen.named.job).is_none() && crashes.since(end.at).is_none() {
            let says =
                format!("{}: the row says {}, but it had completed at {}", read_by(it), words(stage(row)), end.at);
            notes.broken(FINAL, says, in_order([end.line, seen.line]));
        }
    }

    /// Holds the row against how the queue said that the last attempt ended.
    fn judge_end(&mut self, seen: &Seen<'_>, it: &StatusRead, row: &Row, redrives: &Redrives, notes: &mut Notes) {
        let live = seen.ledger.live(seen.named.job);
        if row.is_final && row.status == Status::Failed && live.is_some() {
            self.doubted.entry(seen.named.job).or_insert(seen.line);
        }
        let Some(end) = self.ends.get(seen.named.job) else { return };
        if redrives.may_lie_after(seen.named.job, end.at) {
            return;
        }
        let cancelled = seen.ledger.ended(seen.named.job).is_some_and(|end| end.how == EndHow::Cancelled);
        let wrong = if end.is_unlike(row, it.asked_at) {
            format!("the row says {}, but the queue had ended it for good at {}", words(stage(row)), end.at)
        } else if let Some(wrong) = end.other_error(row, cancelled) {
            wrong
        } else {
            return;
        };
        notes.broken(FINAL, format!("{}: {wrong}", read_by(it)), in_order([end.line, seen.line]));
    }
}

impl LastEnd {
    /// Whether the row says that a retry follows although none does.
    fn is_unlike(&self, row: &Row, asked_at: u64) -> bool {
        self.is_final && self.at < asked_at && stage(row) == Stage::RETRYING
    }

    /// What is wrong with the row's error, if the row speaks of this end.
    fn other_error(&self, row: &Row, cancelled: bool) -> Option<String> {
        let same = match self.attempt {
            None => row.is_final && cancelled,
            Some(attempt) => row.is_final == self.is_final && row.retry_count + 1 == attempt && !cancelled,
        };
        let error = self.error.as_deref().filter(|_| same && row.status == Status::Failed)?;
        let told = row.error.as_deref().unwrap_or_default();
        let of = self.attempt.map_or("a cancelled job".into(), |attempt| format!("attempt {attempt}"));
        (told != error).then(|| format!("error is {told:?}, but that of {of} is {error:?}"))
    }
}

/// What is wrong with the order of the row's times.
fn wrong_times(row: &Row) -> Option<String> {
    let (created, updated) = (row.created_at, row.updated_at);
    if updated < created {
        return Some(format!("created_at {created} is after updated_at {updated}"));
    }
    let completed = row.completed_at.filter(|&completed| completed < created || updated < completed)?;
    Some(format!("completed_at {completed} is not between created_at {created} and updated_at {updated}"))
}

/// What is wrong with the row's word on its end.
fn wrong_end(row: &Row) -> Option<String> {
    let now = words(stage(row));
    match (row.status, row.is_final, row.completed_at) {
        (Status::Completed, false, _) => return Some("completed is not shown as final".into()),
        (Status::Pending | Status::Processing, true, _) => {
            return Some(format!("{} is shown as final", row.status));
        }
        (_, true, None) => return Some(format!("{now}, but completed_at is not set")),
        (_, false, Some(at)) => return Some(format!("{now}, but completed_at is {at}")),
        _ => {}
    }
    let result = row.result.as_ref().filter(|_| row.status != Status::Completed);
    result.map(|result| format!("{now} with a result: {result}"))
}

/// What is wrong with the row's error, whatever the queue said. Before a redrive's first attempt the old error may
/// stand or not.
fn wrong_error(row: &Row, redriven: bool) -> Option<String> {
    let fresh = row.retry_count == 0 && !redriven;
    match (row.status, &row.error) {
        (Status::Failed, None) => Some("failed without an error".into()),
        (Status::Completed, Some(error)) => Some(format!("completed with the error {error:?}")),
        (Status::Pending | Status::Processing, Some(error)) if fresh => {
            Some(format!("{} for the first time with the error {error:?}", row.status))
        }
        _ => None,
    }
}

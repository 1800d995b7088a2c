//! `timeout/late-result`: once an attempt is over (timed out, lost, cancelled), its handler's answer changes nothing.
//!
//! Seen in three ways: a late settle that the queue accepts, one that it refuses and acts on all the same, and a job that is
//! read as completed although its only success was refused.

use crate::check::Seen;
use crate::check::ledger::{EndHow, Live, word};
use crate::check::number::Job;
use crate::check::print::Table;
use crate::clause::Place;
use crate::history::{AttemptOutcome, Finished, Settled, StatusRead, Then, What};
use crate::lifecycle::Status;
use crate::verdict::Notes;

const LATE_RESULT: Place = Place::of("timeout/late-result");

#[derive(Default)]
pub(super) struct LateResult {
    /// Jobs of which a success was refused and none accepted, with the line.
    refused: Table<Job, u64>,
}

impl LateResult {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Settled(it) if it.accepted => self.accept(seen, it, notes),
            What::Settled(it) => self.refuse(seen, it, notes),
            What::Finished(it) => finish(seen, it, notes),
            What::StatusRead(it) => self.read(seen, it, notes),
            _ => {}
        }
    }

    fn accept(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        if it.then == Some(Then::Completed) {
            self.refused.remove(seen.named.job);
        }
        if !matches!(it.outcome, AttemptOutcome::Completed | AttemptOutcome::Failed) {
            return; // What the queue says by itself is no answer of a handler.
        }
        let Some((why, lines)) = over(seen, seen.named.job, it.attempt) else {
            return;
        };
        notes.exercised(LATE_RESULT);
        let says = format!(
            "attempt {} of {} was over ({why}), but its answer ({}) at clock {} was accepted",
            it.attempt,
            it.job,
            word(it.outcome),
            it.clock,
        );
        notes.broken(LATE_RESULT, says, lines);
    }

    fn refuse(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        notes.exercised(LATE_RESULT);
        if let Some(then) = it.then {
            let says = format!(
                "the answer of attempt {} of {} was refused, but was followed by {then:?}",
                it.attempt, it.job,
            );
            notes.broken(LATE_RESULT, says, vec![seen.line]);
        }
        let completed = seen.ledger.ended(seen.named.job).is_some_and(|end| end.how == EndHow::Completed);
        if it.outcome == AttemptOutcome::Completed && !completed {
            self.refused.entry(seen.named.job).or_insert(seen.line);
        }
    }

    fn read(&mut self, seen: &Seen<'_>, read: &StatusRead, notes: &mut Notes) {
        let Some(&refused) = self.refused.get(seen.named.job) else {
            return;
        };
        let Some(row) = &read.row else { return };
        notes.exercised(LATE_RESULT);
        if row.status == Status::Completed {
            self.refused.remove(seen.named.job);
            let says = format!(
                "{} is read as completed at {}, but the only success that the queue was told of came too late",
                read.job, seen.event.at,
            );
            notes.broken(LATE_RESULT, says, vec![refused, seen.line]);
        }
    }
}

/// A handler that ends after its attempt was over puts the clause to the test: its answer is on the way.
fn finish(seen: &Seen<'_>, it: &Finished, notes: &mut Notes) {
    for (ended, &job) in it.jobs.iter().zip(seen.jobs) {
        let answers = matches!(ended.outcome, AttemptOutcome::Completed | AttemptOutcome::Failed);
        if answers && over(seen, job, ended.attempt).is_some() {
            notes.exercised(LATE_RESULT);
        }
    }
}

/// Why the attempt was over before any answer of its handler, if it was, and the lines that show it.
fn over(seen: &Seen<'_>, job: Job, attempt: u32) -> Option<(String, Vec<u64>)> {
    if let Some(live) = seen.ledger.live(job) {
        return Some((over_while_live(live, attempt)?, live.lines_and(seen.line)));
    }
    let end = seen.ledger.ended(job).filter(|end| end.how != EndHow::Completed)?;
    let why = format!("the job had {} at clock {}", end.how.words(), end.clock);
    Some((why, vec![end.line, seen.line]))
}

fn over_while_live(live: &Live, number: u32) -> Option<String> {
    let behind = live.attempts.iter().rev().position(|attempt| attempt.number == number)?;
    let attempt = &live.attempts[live.attempts.len() - 1 - behind];
    match &attempt.end {
        Some(end) => {
            let late = !matches!(end.outcome, AttemptOutcome::Completed | AttemptOutcome::Failed);
            late.then(|| format!("{} at clock {}", word(end.outcome), end.clock))
        }
        None => (0 < behind).then(|| format!("its lease ended at clock {}", attempt.lease_until)),
    }
}

//! `retry/caused`: every delivery after a job's first is put down to exactly one cause, and one that cannot be is a breach.
//!
//! How an attempt ended tells most causes. A lost one is looked into: its processor was gone; or its handler was still at
//! work when the lease ran out; or the handler was done in time, or never began, and then a message must have been lost,
//! which needs something that was in its way. The cases exclude each other in this order.

use std::collections::BTreeSet;

use super::reach::Reach;
use super::{CAUSED, ToldOnce};
use crate::causes::Cause;
use crate::check::Seen;
use crate::check::ledger::{Attempt, Live};
use crate::check::number::Job;
use crate::check::print::Table;
use crate::history::{AttemptOutcome, Finished, Granted, Lease, Settled, Started, Then, What};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Caused {
    reach: Reach,
    /// The handlers of open jobs, by job and attempt.
    runs: Table<Job, Vec<Run>>,
    /// Of open jobs whose last attempt was lost, why.
    lost: Table<Job, Option<Cause>>,
    told: ToldOnce,
}

/// What is known of a handler: the lines at which it began and was last done, when it was done, and whether it had
/// succeeded at its job.
struct Run {
    attempt: u32,
    begun_line: u64,
    finished_lines: Vec<u64>,
    finished_at: Option<u64>,
    has_succeeded: bool,
}

impl Caused {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.reach.see(seen.event.at, &seen.event.what);
        match &seen.event.what {
            What::Started(it) => self.start(seen, it),
            What::Finished(it) => self.finish(seen, it),
            What::Granted(it) => {
                for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
                    self.grant(seen, it, lease, job, notes);
                }
            }
            What::Settled(it) if it.accepted => self.settle(seen, it, notes),
            What::Cancelled(_) | What::Purged(_) => self.forget(seen.named.job),
            _ => {}
        }
    }

    fn start(&mut self, seen: &Seen<'_>, it: &Started) {
        for (given, &job) in it.jobs.iter().zip(seen.jobs) {
            let leased = seen.ledger.live(job).and_then(Live::leased);
            if leased.is_some_and(|attempt| attempt.number == given.attempt) {
                let attempt = given.attempt;
                let (begun_line, finished_lines) = (seen.line, Vec::new());
                let run = Run { attempt, begun_line, finished_lines, finished_at: None, has_succeeded: false };
                let runs = self.runs.at(job);
                runs.retain(|run| run.attempt != attempt);
                runs.reserve_exact(1);
                runs.push(run);
            }
        }
    }

    fn finish(&mut self, seen: &Seen<'_>, it: &Finished) {
        for (ended, &job) in it.jobs.iter().zip(seen.jobs) {
            let runs = self.runs.get_mut(job).into_iter().flatten();
            for run in runs.filter(|run| run.attempt == ended.attempt) {
                run.finished_lines.push(seen.line);
                run.finished_at = Some(seen.event.at);
                run.has_succeeded = ended.outcome == AttemptOutcome::Completed;
            }
        }
    }

    fn settle(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        let live = seen.ledger.live(seen.named.job);
        let attempt = live.and_then(Live::leased).filter(|attempt| attempt.number == it.attempt);
        if let (Some(live), Some(attempt), AttemptOutcome::Lost) = (live, attempt, it.outcome) {
            let cause = self.lose(seen, it.clock, seen.named.job, live, attempt, notes);
            self.lost.insert(seen.named.job, cause);
        }
        if let (Some(live), AttemptOutcome::Failed) = (live, it.outcome) {
            self.judge_failed(seen, it, live, notes);
        }
        if !matches!(it.then, Some(Then::RetryAt(_))) {
            self.forget(seen.named.job);
        } else if let Some(runs) = self.runs.get_mut(seen.named.job) {
            runs.retain(|run| run.attempt != it.attempt);
        }
    }

    /// An attempt whose handler has succeeded is no failed one. What is inferred goes by the handler's word in any case.
    fn judge_failed(&mut self, seen: &Seen<'_>, it: &Settled, live: &Live, notes: &mut Notes) {
        let runs = self.runs.get(seen.named.job).into_iter().flatten();
        let run = runs.rev().find(|run| run.attempt == it.attempt && run.has_succeeded);
        let Some(run) = run.filter(|_| !seen.ledger.header.inferred) else { return };
        let says = format!(
            "the handler of attempt {} of {} had succeeded, but the queue took the attempt for failed",
            it.attempt, it.job
        );
        let lines: BTreeSet<u64> = live.lines_and(seen.line).into_iter().chain(run.finished_lines.clone()).collect();
        notes.exercised(CAUSED);
        self.told.broken(CAUSED, seen.named.job, says, lines.into_iter().collect(), notes);
    }

    fn forget(&mut self, job: Job) {
        self.runs.remove(job);
        self.lost.remove(job);
    }

    /// Judges the loss of `attempt` at the queue's time `clock`.
    fn lose(
        &self,
        seen: &Seen<'_>,
        clock: u64,
        job: Job,
        live: &Live,
        attempt: &Attempt,
        notes: &mut Notes,
    ) -> Option<Cause> {
        notes.exercised(CAUSED);
        let run = self.runs.get(job).and_then(|runs| runs.iter().find(|run| run.attempt == attempt.number));
        let cause = self.why_lost(seen, clock, attempt, run);
        cause
            .map_err(|why| {
                let Attempt { number, granted_at, .. } = attempt;
                let says = format!(
                    "attempt {number} of {} ({}), granted to {} at {granted_at}, was lost at clock {clock} without a \
                     cause: {why}",
                    seen.ledger.job_name(job),
                    seen.ledger.queue_name(live.queue),
                    seen.ledger.known.processors.text(attempt.processor),
                );
                let of_run =
                    run.into_iter().flat_map(|run| [run.begun_line].into_iter().chain(run.finished_lines.clone()));
                let lines: BTreeSet<u64> = live.lines_and(seen.line).into_iter().chain(of_run).collect();
                notes.broken(CAUSED, says, lines.into_iter().collect());
            })
            .ok()
    }

    fn why_lost(&self, seen: &Seen<'_>, clock: u64, attempt: &Attempt, run: Option<&Run>) -> Result<Cause, String> {
        let slack = seen.ledger.slack();
        let Attempt { granted_at, lease_until, .. } = attempt;
        let processor = seen.ledger.known.processors.text(attempt.processor);
        if !self.reach.is_up_since(processor, *granted_at) {
            return Ok(Cause::ProcessorLost);
        }
        if clock + slack.clock_error_ms < *lease_until {
            return Err(format!("its lease held until clock {lease_until}"));
        }
        let ran_out = seen.ledger.calm.at(*lease_until).min(seen.event.at);
        let done = match run {
            Some(Run { finished_at: None, .. }) => return Ok(Cause::LeaseRanOut),
            Some(Run { finished_at: Some(at), .. }) if ran_out <= at + slack.late_ms => return Ok(Cause::LeaseRanOut),
            Some(Run { finished_at: Some(at), .. }) => format!("its handler was done at {at}"),
            None => "its handler never began".into(),
        };
        if self.reach.was_in_the_way(processor, *granted_at, slack.recovery_ms) {
            return Ok(Cause::ReplyLost);
        }
        Err(format!("{done}, the processor was up, and nothing was in the way between it and the queue"))
    }

    /// A delivery that is its job's first needs no cause.
    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, lease: &Lease, job: Job, notes: &mut Notes) {
        let Some(live) = seen.ledger.live(job) else {
            return self.grant_ended(seen, lease, job, notes);
        };
        let Some(last) = live.attempts.last() else {
            if 0 < live.deliveries {
                notes.exercised(CAUSED);
                notes.delivered_again(Some(Cause::Redriven));
            }
            return;
        };
        let cause = match last.end.as_ref().map(|end| end.outcome) {
            Some(AttemptOutcome::Failed) => Some(Cause::Failed),
            Some(AttemptOutcome::TimedOut) => Some(Cause::TimedOut),
            Some(AttemptOutcome::Lost) => self.lost.remove(job).flatten(),
            Some(AttemptOutcome::Completed | AttemptOutcome::Cancelled) => {
                let says =
                    format!("{} was delivered again after its attempt {} had ended well", lease.job, last.number);
                notes.exercised(CAUSED);
                self.told.broken(CAUSED, job, says, live.lines_and(seen.line), notes);
                None
            }
            None => self.lose(seen, it.clock, job, live, last, notes),
        };
        if cause.is_some() && last.end.is_some() {
            notes.exercised(CAUSED);
        }
        notes.delivered_again(cause);
        self.runs.remove(job);
    }

    /// What was never enqueued is `job/no-phantom`'s.
    fn grant_ended(&mut self, seen: &Seen<'_>, lease: &Lease, job: Job, notes: &mut Notes) {
        let Some(end) = seen.ledger.ended(job) else { return };
        notes.exercised(CAUSED);
        notes.delivered_again(None);
        let says = format!("{} was delivered again after the job had {}", lease.job, end.how.words());
        self.told.broken(CAUSED, job, says, vec![end.line, seen.line], notes);
    }
}

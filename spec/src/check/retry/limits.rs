//! `retry/at-most`, `retry/at-least`, `retry/infinite` and `retry/stops`: neither more deliveries nor fewer than the policy
//! allows, and none after success.
//!
//! Where handlers are seen too, their word counts: a job whose handler failed and that is settled as completed is given
//! up as well. Where clients are seen, so is a job that the queue cancels without being asked to.

use super::{ToldOnce, attempts_max, deliveries};
use crate::check::ledger::{End, EndHow, Live, Question};
use crate::check::number::{Job, Queue};
use crate::check::print::Table;
use crate::check::{Seen, counted};
use crate::clause::Place;
use crate::history::{AttemptOutcome, Cancelled, Ended, Finished, Redriven, Reply, Settled, Sight, Then, Told, What};
use crate::verdict::Notes;

const AT_MOST: Place = Place::of("retry/at-most");
const AT_LEAST: Place = Place::of("retry/at-least");
const INFINITE: Place = Place::of("retry/infinite");
const STOPS: Place = Place::of("retry/stops");

#[derive(Default)]
pub(super) struct Limits {
    told: ToldOnce,
    /// Leased jobs whose handler has failed: the attempt and the line.
    failed: Table<Job, (u32, u64)>,
    cancels: Table<Job, Cancels>,
}

/// The cancels of one job.
#[derive(Default)]
struct Cancels {
    /// Asked for and not refused.
    asked: u64,
    /// By the queue's word, how often one ended the job.
    done: u64,
    /// The last that did: what it breaks if nobody asked for it, and where.
    last: Option<Stopped>,
}

/// A job that was cancelled while it had attempts left.
#[derive(Clone, Copy)]
struct Stopped {
    clause: Place,
    queue: Queue,
    clock: u64,
    line: u64,
}

impl Limits {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Granted(it) => {
                for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
                    self.grant(seen, &it.queue, &lease.job, job, notes);
                }
            }
            What::Finished(it) => self.finish(seen, it),
            What::Settled(it) if it.accepted => self.settle(seen, it, notes),
            What::Cancel(_) => self.cancels.at(seen.named.job).asked += 1,
            What::Reply(it) => self.answer(seen, it, notes),
            What::Cancelled(it) => self.cancel(seen, it, notes),
            What::Redriven(it) => self.redrive(seen, it, notes),
            _ => {}
        }
    }

    fn grant(&mut self, seen: &Seen<'_>, queue: &str, name: &str, job: Job, notes: &mut Notes) {
        if let Some(live) = seen.ledger.live(job) {
            self.grant_live(seen, name, job, live, notes);
        } else if let Some(end) = seen.ledger.ended(job) {
            self.grant_ended(seen, (queue, name), job, end, notes);
        }
    }

    fn grant_live(&mut self, seen: &Seen<'_>, name: &str, job: Job, live: &Live, notes: &mut Notes) {
        let before = deliveries(live);
        let completed = live
            .attempts
            .last()
            .and_then(|attempt| attempt.end.as_ref())
            .filter(|end| end.outcome == AttemptOutcome::Completed);
        if let Some(end) = completed {
            let queue = seen.ledger.queue_name(live.queue);
            let says = format!("{name} ({queue}) completed at clock {}, but was delivered again", end.clock);
            self.told.broken(STOPS, job, says, live.lines_and(seen.line), notes);
        }
        let Some(max) = attempts_max(seen.ledger, live.queue) else {
            return;
        };
        if 0 < before {
            notes.exercised(AT_MOST);
        }
        if before == max {
            let queue = seen.ledger.queue_name(live.queue);
            let (max, times) = (counted(max, "attempt"), counted(before + 1, "time"));
            let says = format!("{name} ({queue}, {max}) was delivered {times}");
            notes.broken(AT_MOST, says, live.lines_and(seen.line));
        }
    }

    fn grant_ended(&mut self, seen: &Seen<'_>, (queue, name): (&str, &str), job: Job, end: &End, notes: &mut Notes) {
        let lines = vec![end.line, seen.line];
        match end.how {
            EndHow::Completed => {
                let says = format!("{name} ({queue}) completed at clock {}, but was delivered again", end.clock);
                self.told.broken(STOPS, job, says, lines, notes);
            }
            EndHow::Failed | EndHow::DeadLetter => {
                let Some(max) = attempts_max(seen.ledger, seen.named.queue) else {
                    return;
                };
                notes.exercised(AT_MOST);
                if max <= end.attempts {
                    let says = format!(
                        "{name} ({queue}, {}) was delivered {}, the last one after it had been given up at clock {}",
                        counted(max, "attempt"),
                        counted(end.attempts + 1, "time"),
                        end.clock,
                    );
                    self.told.broken(AT_MOST, job, says, lines, notes);
                }
            }
            EndHow::Cancelled | EndHow::Purged => {}
        }
    }

    /// Only of an attempt that holds its lease will the queue still say how it ended.
    fn finish(&mut self, seen: &Seen<'_>, it: &Finished) {
        let failed = |ended: &&Ended| ended.outcome == AttemptOutcome::Failed;
        for (ended, &job) in it.jobs.iter().zip(seen.jobs).filter(|(ended, _)| failed(ended)) {
            let leased = seen.ledger.live(job).and_then(Live::leased);
            if leased.is_some_and(|attempt| attempt.number == ended.attempt) {
                self.failed.insert(job, (ended.attempt, seen.line));
            }
        }
    }

    /// The queue cancels a job.
    fn cancel(&mut self, seen: &Seen<'_>, it: &Cancelled, notes: &mut Notes) {
        let job = seen.named.job;
        self.failed.remove(job);
        let Some(live) = seen.ledger.live(job).filter(|_| seen.ledger.header.sees(Sight::Clients)) else {
            return;
        };
        let cancels = self.cancels.at(job);
        cancels.done += 1;
        cancels.last =
            left(seen, live).map(|clause| Stopped { clause, queue: live.queue, clock: it.clock, line: seen.line });
        if cancels.asked < cancels.done {
            self.tell_unasked(seen, job, live.lines_and(seen.line), notes);
        }
    }

    /// A cancel that is refused was surely not done. If the job was cancelled all the same, nobody had asked for it.
    fn answer(&mut self, seen: &Seen<'_>, it: &Reply, notes: &mut Notes) {
        let refused = seen.asked.filter(|_| it.outcome == Told::Refused);
        let Some(asked) = refused.filter(|asked| matches!(asked.what, Question::Cancel)) else {
            return;
        };
        let job = asked.named.job;
        let Some(cancels) = self.cancels.get_mut(job) else {
            return;
        };
        cancels.asked = cancels.asked.saturating_sub(1);
        let line = cancels.last.map(|stopped| stopped.line);
        if cancels.asked < cancels.done {
            self.tell_unasked(seen, job, line.into_iter().chain([seen.line]).collect(), notes);
        } else if cancels.asked == 0 {
            self.cancels.remove(job);
        }
    }

    fn tell_unasked(&mut self, seen: &Seen<'_>, job: Job, lines: Vec<u64>, notes: &mut Notes) {
        let Some(stopped) = self.cancels.get(job).and_then(|cancels| cancels.last) else {
            return;
        };
        let says = format!(
            "{} ({}) was cancelled at clock {} with attempts left, although nobody had asked for that, or all who did were \
             refused",
            seen.ledger.job_name(job),
            seen.ledger.queue_name(stopped.queue),
            stopped.clock,
        );
        notes.exercised(stopped.clause);
        self.told.broken(stopped.clause, job, says, lines, notes);
    }

    /// A job whose handler failed is taken for done, although it could be tried again.
    fn take_for_done(&mut self, seen: &Seen<'_>, it: &Settled, live: &Live, line: u64, notes: &mut Notes) {
        let max = attempts_max(seen.ledger, live.queue);
        let clause = match max {
            Some(max) if max <= deliveries(live) => return,
            Some(_) => AT_LEAST,
            None => INFINITE,
        };
        let says = format!(
            "the handler of {} ({}) failed in attempt {}, but the job was settled as completed with attempts left",
            it.job,
            seen.ledger.queue_name(live.queue),
            it.attempt,
        );
        let mut lines = live.lines_and(seen.line);
        lines.push(line);
        lines.sort_unstable();
        notes.exercised(clause);
        self.told.broken(clause, seen.named.job, says, lines, notes);
    }

    fn settle(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        let failed = self.failed.remove(seen.named.job).filter(|(attempt, _)| *attempt == it.attempt);
        let Some(live) = seen.ledger.live(seen.named.job) else {
            return;
        };
        if it.outcome == AttemptOutcome::Completed {
            notes.exercised(STOPS);
            if let Some((_, line)) = failed {
                self.take_for_done(seen, it, live, line, notes);
            }
        }
        let given_up = matches!(it.then, Some(Then::Failed | Then::DeadLetter));
        if it.outcome == AttemptOutcome::Cancelled || seen.ledger.policy(live.queue).is_none() {
            return;
        }
        match attempts_max(seen.ledger, live.queue) {
            Some(max) if given_up => self.give_up(seen, it, live, max, notes),
            Some(_) => {}
            None => self.never_give_up(seen, it, live, given_up, notes),
        }
    }

    fn give_up(&mut self, seen: &Seen<'_>, it: &Settled, live: &Live, max: u32, notes: &mut Notes) {
        notes.exercised(AT_LEAST);
        let had = deliveries(live);
        if max <= had {
            notes.exercised(AT_MOST); // From here on it must not be delivered.
            return;
        }
        let queue = seen.ledger.queue_name(live.queue);
        let max = counted(max, "attempt");
        let says = format!("{} ({queue}, {max}) was given up after {had} deliveries", it.job);
        self.told.broken(AT_LEAST, seen.named.job, says, live.lines_and(seen.line), notes);
    }

    fn never_give_up(&mut self, seen: &Seen<'_>, it: &Settled, live: &Live, given_up: bool, notes: &mut Notes) {
        if it.outcome != AttemptOutcome::Completed || given_up {
            notes.exercised(INFINITE);
        }
        if given_up {
            let says = format!(
                "{} ({}, infinite attempts) was given up after {} deliveries",
                it.job,
                seen.ledger.queue_name(live.queue),
                deliveries(live)
            );
            self.told.broken(INFINITE, seen.named.job, says, live.lines_and(seen.line), notes);
        }
    }

    fn redrive(&mut self, seen: &Seen<'_>, it: &Redriven, notes: &mut Notes) {
        let end = seen.ledger.ended(seen.named.job);
        let Some(end) = end.filter(|end| end.how == EndHow::Completed) else {
            return;
        };
        let says = format!("{} completed at clock {}, but was put back into its queue", it.job, end.clock);
        self.told.broken(STOPS, seen.named.job, says, vec![end.line, seen.line], notes);
    }
}

/// The clause that is broken if `live` is given up now: none if its attempts are over, or nothing says how many it has.
fn left(seen: &Seen<'_>, live: &Live) -> Option<Place> {
    match seen.ledger.policy(live.queue)?.attempts.max() {
        Some(max) if max <= deliveries(live) && live.leased().is_none() => None,
        Some(_) => Some(AT_LEAST),
        None => Some(INFINITE),
    }
}

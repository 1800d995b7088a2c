//! The jobs that are dead letters now: by promise, because their attempts are spent, or by the queue's word. Both should
//! be the same; each is marked, so that the other files here can tell where they differ.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::check::Seen;
use crate::check::ledger::{EndHow, Live};
use crate::check::number::{Job, Queue};
use crate::check::print::Table;
use crate::clause::Place;
use crate::history::{AttemptOutcome, Settled, Then, What};
use crate::verdict::Notes;

const NONE: Place = Place::of("dead-letter/none");

#[derive(Default)]
pub(super) struct Spent {
    dead: Table<Job, Dead>,
    /// Jobs that were dead letters: when they were put back or dropped, on the player's clock.
    gone: Table<Job, Gone>,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub(super) struct Dead {
    pub(super) queue: Queue,
    /// Its queue's dead letter queue, if there is one.
    pub(super) dead_letter_queue: Option<String>,
    /// Whether its queue has a policy: else nothing says where it belongs.
    pub(super) has_policy: bool,
    /// Whether its attempts are spent.
    pub(super) by_promise: bool,
    /// Whether the queue says that it is a dead letter.
    pub(super) by_word: bool,
    /// When its last attempt ended, on the player's clock.
    pub(super) at: u64,
    pub(super) payload: Rc<str>,
    pub(super) attempts: Vec<Spending>,
    pub(super) lines: Vec<u64>,
    /// Clauses that it has broken and that have been told of.
    pub(super) told: BTreeSet<Place>,
}

/// One attempt of a dead letter. What the queue did not say of its end is not known.
#[derive(Clone, Debug)]
pub(super) struct Spending {
    pub(super) number: u32,
    pub(super) error: Option<Box<str>>,
    pub(super) ended_clock: Option<u64>,
}

/// A job that is a dead letter no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) at: u64,
    pub(super) line: u64,
    /// Put back, not dropped.
    pub(super) redriven: bool,
}

impl Spent {
    pub(super) fn get(&self, job: Job) -> Option<&Dead> {
        self.dead.get(job)
    }

    pub(super) fn get_mut(&mut self, job: Job) -> Option<&mut Dead> {
        self.dead.get_mut(job)
    }

    pub(super) fn gone(&self, job: Job) -> Option<Gone> {
        self.gone.get(job).copied()
    }

    /// All dead letters by promise that belong in `dead_letter_queue`, in no order that means anything.
    pub(super) fn belonging(&self, dead_letter_queue: &str) -> Vec<Job> {
        let belongs = |dead: &Dead| dead.by_promise && dead.dead_letter_queue.as_deref() == Some(dead_letter_queue);
        let jobs = self.dead.keys().into_iter();
        jobs.filter(|job| self.dead.get(*job).is_some_and(belongs)).collect()
    }

    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Settled(it) if it.accepted => self.settle(seen, it, notes),
            What::Redriven(_) => self.leave(seen, true),
            // What vanishes without being asked for stays expected.
            What::Purged(_) if 0 < seen.ledger.purges_asked(seen.named.job) => self.leave(seen, false),
            What::Cancelled(_) => drop(self.dead.remove(seen.named.job)),
            What::Granted(_) if self.dead.len() != 0 => {
                // One delivery too many is `retry/at-most`'s; what follows from it is judged anew.
                for &job in seen.jobs {
                    if self.dead.get(job).is_some_and(|dead| !dead.by_word) {
                        self.dead.remove(job);
                    }
                }
            }
            _ => {}
        }
    }

    fn leave(&mut self, seen: &Seen<'_>, redriven: bool) {
        if self.dead.remove(seen.named.job).is_some() {
            let gone = Gone { at: seen.event.at, line: seen.line, redriven };
            self.gone.insert(seen.named.job, gone);
        }
    }

    fn settle(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        let Some(live) = seen.ledger.live(seen.named.job) else {
            return self.settle_ended(seen, it);
        };
        let by_word = it.then == Some(Then::DeadLetter);
        let policy = seen.ledger.policy(live.queue);
        let dead_letter_queue = policy.and_then(|policy| policy.dead_letter_queue.as_ref());
        let has_none = policy.is_some() && dead_letter_queue.is_none();
        if has_none && matches!(it.then, Some(Then::Failed | Then::DeadLetter)) {
            notes.exercised(NONE);
        }
        if has_none && by_word {
            let says = format!(
                "{} is in the queue {}, which has no dead letter queue, but was made a dead letter at clock {}",
                it.job,
                seen.ledger.queue_name(live.queue),
                it.clock,
            );
            notes.broken(NONE, says, live.lines_and(seen.line));
        }
        let by_promise = dead_letter_queue.is_some() && spends_the_last(seen, it, live);
        if by_word || by_promise {
            let dead = Dead {
                queue: live.queue,
                dead_letter_queue: dead_letter_queue.cloned(),
                has_policy: policy.is_some(),
                by_promise,
                by_word,
                at: seen.event.at,
                payload: live.payload.clone(),
                attempts: attempts(live, it, seen.ledger.header.inferred),
                lines: live.lines_and(seen.line),
                told: BTreeSet::new(),
            };
            self.gone.remove(seen.named.job);
            self.dead.insert(seen.named.job, dead);
        }
    }

    /// A settle that comes after the job's end and is accepted all the same: no dead letter if it succeeded.
    fn settle_ended(&mut self, seen: &Seen<'_>, it: &Settled) {
        let dead = seen.ledger.ended(seen.named.job).is_some_and(|end| end.how == EndHow::DeadLetter);
        if it.then == Some(Then::Completed) && !dead {
            self.dead.remove(seen.named.job);
        }
    }
}

/// Whether `it` ends the last allowed attempt without success.
fn spends_the_last(seen: &Seen<'_>, it: &Settled, live: &Live) -> bool {
    let max = seen.ledger.policy(live.queue).and_then(|policy| policy.attempts.max());
    let spent = max.is_some_and(|max| max as usize <= live.attempts.len());
    let last = live.leased().is_some_and(|attempt| attempt.number == it.attempt);
    let failed = matches!(it.outcome, AttemptOutcome::Failed | AttemptOutcome::TimedOut | AttemptOutcome::Lost);
    spent && last && failed
}

/// The attempts of `live`, with the end of the one that `it` settles.
fn attempts(live: &Live, it: &Settled, inferred: bool) -> Vec<Spending> {
    // Seen from outside, nobody knows when the queue gave a lost attempt up.
    let known = |outcome, clock| (!inferred || outcome != AttemptOutcome::Lost).then_some(clock);
    let spending = |attempt: &crate::check::ledger::Attempt| match &attempt.end {
        Some(end) => {
            let ended_clock = known(end.outcome, end.clock);
            Spending { number: attempt.number, error: end.error.clone(), ended_clock }
        }
        None if attempt.number == it.attempt => {
            let error = it.error.as_deref().map(Into::into);
            Spending { number: attempt.number, error, ended_clock: known(it.outcome, it.clock) }
        }
        None => Spending { number: attempt.number, error: None, ended_clock: None },
    };
    live.attempts.iter().map(spending).collect()
}

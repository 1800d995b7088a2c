//! Clauses of the family `backoff`: a retry starts neither before its backoff is over nor long after, and no backoff is
//! longer than the cap.
//!
//! What a backoff is follows from the policy and from the number of deliveries counted here, never from the queue's word on
//! when the retry is due; only `backoff/capped` looks at that too.

use std::collections::BTreeSet;

use super::ledger::{Attempt, Ledger, Live};
use super::number::Job;
use super::{Family, Seen};
use crate::clause::Place;
use crate::history::{Granted, Settled, Then, What};
use crate::queues::{Backoff as Policed, Exponential, Policy};
use crate::verdict::Notes;

const NEVER_EARLY: Place = Place::of("backoff/never-early");
const NOT_LATE: Place = Place::of("backoff/not-late");
const CAPPED: Place = Place::of("backoff/capped");

#[derive(Default)]
pub(super) struct Backoff {
    /// Overdue jobs that have been told of, with the number of the delivery that was due.
    told: BTreeSet<(Job, usize)>,
    at: u64,
    line: u64,
}

impl Family for Backoff {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Granted(it) => self.grant(seen, it, notes),
            What::Settled(it) if it.accepted => settle(seen, it, notes),
            What::Drained(_) => self.overdue(seen.ledger, seen.event.at, seen.line, notes),
            _ => {}
        }
        (self.at, self.line) = (seen.event.at, seen.line);
    }

    fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.overdue(ledger, self.at, self.line, notes);
    }
}

/// The wait between an attempt and the next, on the queue's clock.
struct Wait<'a> {
    live: &'a Live,
    policy: &'a Policy,
    /// How many deliveries the job has had since it was created or redriven.
    deliveries: u32,
    /// When the last of them ended.
    ended: u64,
    /// A delay that the consumer asked for.
    asked_ms: u64,
}

impl<'a> Wait<'a> {
    /// The wait of `live`, if it has had a delivery that is over at `clock`.
    fn of(ledger: &'a Ledger, live: &'a Live, clock: u64) -> Option<Self> {
        let policy = ledger.policy(live.queue)?;
        let last = live.attempts.last()?;
        let ended = end_of(last);
        if last.end.is_none() && clock < ended {
            return None; // It is not over.
        }
        let asked_ms = last.end.as_ref().and_then(|end| end.delay_asked_ms).unwrap_or(0);
        Some(Self { live, policy, deliveries: live.attempts.len() as u32, ended, asked_ms })
    }

    /// Before this the next attempt must not start. What the consumer asks for counts as far as the cap goes.
    fn earliest(&self) -> u64 {
        match &self.policy.backoff {
            Policed::None => self.ended,
            Policed::Exponential(it) => self.ended + it.base_ms(self.deliveries).max(self.asked_ms.min(it.max_ms)),
            Policed::NextTick => self.policy.first_ready_at(self.ended),
        }
    }

    /// By this the next attempt is due, all jitter spent.
    fn latest(&self) -> u64 {
        match &self.policy.backoff {
            Policed::None => self.ended + self.asked_ms,
            Policed::Exponential(it) => self.ended + longest_ms(it, self.deliveries, self.asked_ms),
            Policed::NextTick => self.policy.first_ready_at(self.ended + self.asked_ms),
        }
    }

    /// Whether nothing but the backoff and a free slot can hold the next attempt up.
    fn is_plain(&self, ledger: &Ledger, job: Job) -> bool {
        let size = self.policy.batch_size_max() as usize;
        // A scheduled run takes its batches one after another.
        let run = self.policy.schedule.is_some()
            && ledger
                .at_queue(self.live.queue)
                .is_some_and(|at| at.deliveries != 0 || size < at.line.due(ledger.clock));
        let limited = self.policy.rate_limit.is_some();
        !run && !limited && !ledger.is_blocked(self.live, job) && !ledger.is_paused(self.live.queue)
    }

    /// How long the next attempt has been overdue at the player's `at` without excuse, and the bound for that.
    fn late_ms(&self, ledger: &Ledger, at: u64) -> (u64, u64) {
        let at_queue = ledger.at_queue(self.live.queue);
        let resumed = at_queue.map_or(0, |at| at.resumed_at);
        // The last batch of a scheduled run waits for the one before it.
        let turn = at_queue.filter(|_| self.policy.schedule.is_some()).map_or(0, |at| at.delivered_at);
        let from = ledger.calm.at(self.latest()).max(self.live.waits_from).max(resumed).max(turn);
        let batch = self.policy.batch.as_ref().and_then(|batch| batch.wait_ms).unwrap_or(0);
        (ledger.calm.between(from, at), batch + ledger.slack().late_ms)
    }

    /// Whether without a cap the backoff would be longer than it.
    fn is_capped(&self) -> bool {
        match &self.policy.backoff {
            Policed::Exponential(it) => {
                let doublings = self.deliveries.saturating_sub(1);
                let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
                it.max_ms < it.first_ms.saturating_mul(factor)
            }
            Policed::None | Policed::NextTick => false,
        }
    }
}

/// The longest wait after so many deliveries. A consumer that asks for a delay gets no less, and is spread as well.
fn longest_ms(it: &Exponential, deliveries: u32, asked_ms: u64) -> u64 {
    let asked = asked_ms + asked_ms * u64::from(it.jitter_percent) / 100;
    it.delay_max_ms(deliveries).max(asked)
}

/// When the attempt was over: its settle, or the end of its lease.
fn end_of(attempt: &Attempt) -> u64 {
    attempt.end.as_ref().map_or(attempt.lease_until, |end| end.clock)
}

impl Backoff {
    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
        for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
            let Some(live) = seen.ledger.live(job) else {
                continue;
            };
            let Some(wait) = Wait::of(seen.ledger, live, it.clock) else {
                continue;
            };
            never_early(seen, &wait, &lease.job, it.clock, notes);
            if !wait.is_plain(seen.ledger, job) {
                continue;
            }
            if seen.ledger.calm.no_fault(seen.event.at) && !seen.ledger.processors.is_empty() {
                notes.exercised(NOT_LATE);
            }
            // A clock that was set back makes the wait longer by the player's time, not by the queue's.
            let by_the_queue = it.clock.saturating_sub(wait.latest());
            let (late, may) = wait.late_ms(seen.ledger, seen.event.at);
            if may < late.min(by_the_queue) {
                self.tell(seen.ledger, &wait, job, (seen.event.at, seen.line), notes);
            }
        }
    }

    /// The next attempt is overdue, or comes too late.
    fn tell(&mut self, ledger: &Ledger, wait: &Wait<'_>, job: Job, (at, line): (u64, u64), notes: &mut Notes) {
        if !self.told.insert((job, wait.live.attempts.len())) {
            return;
        }
        let (job, queue) = (ledger.job_name(job), ledger.queue_name(wait.live.queue));
        let (late, may) = wait.late_ms(ledger, at);
        notes.exercised(NOT_LATE);
        let says = format!(
            "delivery {} of {job} ({queue}) was due at clock {} at the latest, but at {at} it was {late} ms late, with no fault and \
             a free slot; {may} ms are allowed",
            wait.deliveries + 1,
            wait.latest(),
        );
        notes.broken(NOT_LATE, says, wait.live.lines_and(line));
        let told_by_the_queue = matches!(
            wait.live.attempts.last().and_then(|last| last.end.as_ref()).and_then(|end| end.then),
            Some(Then::RetryAt(due)) if wait.latest() < due
        );
        if wait.is_capped() && !told_by_the_queue {
            let says = format!(
                "the wait of {job} ({queue}) after attempt {} is capped and over at clock {}, but it went on for {late} ms",
                wait.deliveries,
                wait.latest(),
            );
            notes.broken(CAPPED, says, wait.live.lines_and(line));
        }
    }

    /// Retries that are due and have not come.
    fn overdue(&mut self, ledger: &Ledger, at: u64, line: u64, notes: &mut Notes) {
        let clock = ledger.clock;
        for (job, live) in ledger.all_live() {
            let Some(wait) = Wait::of(ledger, live, clock) else {
                continue;
            };
            // A lease that nobody has ended yet: the queue may take a timeout longer to notice.
            let unnoticed = live.leased().map_or(0, |_| wait.policy.timeout_ms);
            let (late, may) = wait.late_ms(ledger, at.saturating_sub(unnoticed));
            if may < late && wait.is_plain(ledger, job) {
                self.tell(ledger, &wait, job, (at, line), notes);
            }
        }
    }
}

fn never_early(seen: &Seen<'_>, wait: &Wait<'_>, job: &str, clock: u64, notes: &mut Notes) {
    let earliest = wait.earliest();
    if earliest == wait.ended {
        return; // There is nothing to wait for.
    }
    notes.exercised(NEVER_EARLY);
    if earliest <= clock + seen.ledger.slack().clock_error_ms {
        return;
    }
    let says = format!(
        "attempt {} of {job} ({}) ended at clock {}, so the next was not to start before {earliest}, but it was granted at \
         {clock}, {} ms early",
        wait.deliveries,
        seen.ledger.queue_name(wait.live.queue),
        wait.ended,
        earliest - clock,
    );
    notes.broken(NEVER_EARLY, says, wait.live.lines_and(seen.line));
}

/// What the queue itself says of the next attempt.
fn settle(seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
    let Some(Then::RetryAt(due)) = it.then else {
        return;
    };
    let Some(live) = seen.ledger.live(seen.named.job) else {
        return;
    };
    let Some(policy) = seen.ledger.policy(live.queue) else {
        return;
    };
    let Policed::Exponential(exponential) = &policy.backoff else {
        return;
    };
    let asked_ms = it.delay_asked_ms.unwrap_or(0);
    let deliveries = live.attempts.len() as u32;
    let wait = Wait { live, policy, deliveries, ended: it.clock, asked_ms };
    if wait.is_capped() {
        notes.exercised(CAPPED);
    }
    let cap = longest_ms(exponential, u32::MAX, asked_ms);
    let waits = due.saturating_sub(it.clock);
    if cap + seen.ledger.slack().clock_error_ms < waits {
        let says = format!(
            "after attempt {deliveries} of {} ({}) the queue waits {waits} ms, until clock {due}; the cap with its jitter \
             is {cap} ms",
            it.job,
            seen.ledger.queue_name(live.queue),
        );
        notes.broken(CAPPED, says, live.lines_and(seen.line));
    }
}

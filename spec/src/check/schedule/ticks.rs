//! `schedule/on-tick`: a delivery takes only what waited before the last tick. `schedule/every-tick`: a tick at which
//! events waited fires without delay, and takes no event twice.
//!
//! A tick is late only if it is on both clocks. The player's alone does not tell: over a restart the queue's may fall back,
//! and goes on from where it was.

use std::collections::BTreeMap;

use super::super::Seen;
use super::super::ledger::{Ledger, Live};
use super::super::number::Queue;
use super::{scheduled, tick_at, tick_from};
use crate::clause::Place;
use crate::history::{Granted, What};
use crate::queues::{Backoff, Policy};
use crate::verdict::Notes;

const ON_TICK: Place = Place::of("schedule/on-tick");
const EVERY_TICK: Place = Place::of("schedule/every-tick");

#[derive(Default)]
pub(super) struct Ticks {
    /// Per queue the newest tick that is dealt with: a delivery came at or after it, or its lack was told.
    fired: BTreeMap<Queue, u64>,
    at: u64,
    line: u64,
}

/// A tick at which events waited and that has not fired.
struct Due<'a> {
    tick: u64,
    /// Since when it could have fired, on the player's clock.
    since: u64,
    live: &'a Live,
}

impl Ticks {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        (self.at, self.line) = (seen.event.at, seen.line);
        match &seen.event.what {
            What::Granted(it) => {
                let Some((policy, every_ms)) = scheduled(seen.ledger, seen.named.queue) else {
                    return;
                };
                judge_on_tick(seen, it, policy, notes);
                judge_twice(seen, it, policy, every_ms, notes);
                self.fire(seen, it, every_ms, notes);
            }
            What::Drained(_) => self.finish(seen.ledger, notes),
            _ => {}
        }
    }

    /// Ticks that should have fired by now and did not.
    pub(super) fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        for (queue, _) in ledger.queues() {
            let Some((_, every_ms)) = scheduled(ledger, queue) else {
                continue;
            };
            let Some(due) = self.due(ledger, queue, every_ms) else {
                continue;
            };
            if self.judge_late(ledger, queue, &due, ledger.clock, notes) {
                self.fired.insert(queue, u64::MAX);
            }
        }
    }

    /// The oldest tick of `queue` that events waited at and that no delivery followed.
    fn due<'a>(&self, ledger: &'a Ledger, queue: Queue, every_ms: u64) -> Option<Due<'a>> {
        if ledger.is_paused(queue) || ledger.policy(queue)?.rate_limit.is_some() {
            return None;
        }
        let (ready_clock, job) = ledger.line(queue)?.jobs().next()?;
        let live = ledger.live(job)?;
        let after_fired = self.fired.get(&queue).map_or(0, |fired| fired.saturating_add(every_ms));
        let tick = tick_from(ready_clock, every_ms).max(after_fired);
        let since = ledger.calm.at(tick).max(ledger.deliverable_at(live));
        Some(Due { tick, since, live })
    }

    fn fire(&mut self, seen: &Seen<'_>, it: &Granted, every_ms: u64, notes: &mut Notes) {
        let (ledger, queue) = (seen.ledger, seen.named.queue);
        let tick = tick_at(it.clock, every_ms);
        let due = self.due(ledger, queue, every_ms).filter(|due| due.tick <= tick);
        if let Some(due) = due {
            notes.exercised(EVERY_TICK);
            self.judge_late(ledger, queue, &due, it.clock, notes);
        }
        let fired = self.fired.entry(queue).or_default();
        *fired = tick.max(*fired);
    }

    /// At `clock`, the queue's time.
    fn judge_late(&self, ledger: &Ledger, queue: Queue, due: &Due<'_>, clock: u64, notes: &mut Notes) -> bool {
        let by_the_queue = clock.saturating_sub(due.tick);
        let late_ms = ledger.calm.between(due.since, self.at.max(due.since)).min(by_the_queue);
        if late_ms <= ledger.slack().late_ms {
            return false;
        }
        let says = format!(
            "events of {} waited at the tick at clock {}, but no delivery followed it for {late_ms} ms with a slot \
             free",
            ledger.queue_name(queue),
            due.tick
        );
        notes.exercised(EVERY_TICK);
        notes.broken(EVERY_TICK, says, due.live.lines_and(self.line));
        true
    }
}

/// The clock since which `live` waits, where the schedule alone says when it is due.
fn waits_since(live: &Live, policy: &Policy) -> Option<u64> {
    match live.attempts.last() {
        None => Some(live.created_clock),
        Some(attempt) if policy.backoff == Backoff::NextTick => Some(attempt.end.as_ref()?.clock),
        Some(_) => None,
    }
}

/// At most one breach is told per delivery.
fn judge_on_tick(seen: &Seen<'_>, it: &Granted, policy: &Policy, notes: &mut Notes) {
    let error_ms = seen.ledger.slack().clock_error_ms;
    let mut early = None;
    let mut judged = false;
    for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
        let Some(live) = seen.ledger.live(job) else {
            continue;
        };
        let Some(since) = waits_since(live, policy) else {
            continue;
        };
        judged = true;
        let tick = policy.first_ready_at(since.saturating_sub(error_ms));
        if it.clock + error_ms < tick {
            early.get_or_insert((lease, live, since, tick));
        }
    }
    if judged {
        notes.exercised(ON_TICK);
    }
    if let Some((lease, live, since, tick)) = early {
        let says = format!(
            "{} of {} waits since clock {since}, so for the tick at {tick}, but was delivered at clock {}",
            lease.job, it.queue, it.clock
        );
        notes.broken(ON_TICK, says, live.lines_and(seen.line));
    }
}

/// No event is delivered twice for one tick.
fn judge_twice(seen: &Seen<'_>, it: &Granted, policy: &Policy, every_ms: u64, notes: &mut Notes) {
    let error_ms = seen.ledger.slack().clock_error_ms;
    let twice = it.jobs.iter().zip(seen.jobs).find_map(|(lease, &job)| {
        let live = seen.ledger.live(job)?;
        let before = live.attempts.last()?.granted_clock;
        let next = tick_at(before.saturating_sub(error_ms), every_ms) + every_ms;
        (it.clock + error_ms < next).then_some((lease, live, before))
    });
    if policy.backoff != Backoff::NextTick {
        return;
    }
    if let Some((lease, live, before)) = twice {
        let says = format!(
            "{} of {} was delivered at clock {before} and again at clock {}, with no tick between",
            lease.job, it.queue, it.clock
        );
        notes.exercised(EVERY_TICK);
        notes.broken(EVERY_TICK, says, live.lines_and(seen.line));
    }
}

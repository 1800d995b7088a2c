//! `batch/full` and `batch/wait`: a full batch goes at once, and the oldest job waits for others only so long.
//!
//! Both count calm time alone. A queue that is also limited in its starts is left out: its limit may excuse any wait.

use std::collections::BTreeMap;

use super::super::Seen;
use super::super::ledger::{Ledger, Live};
use super::super::number::Queue;
use crate::clause::Place;
use crate::history::{Granted, What};
use crate::queues::Policy;
use crate::verdict::Notes;

const FULL: Place = Place::of("batch/full");
const WAIT: Place = Place::of("batch/wait");

#[derive(Default)]
pub(super) struct Waiting {
    /// Per queue that has a full batch to give.
    full: BTreeMap<Queue, Full>,
    /// Whether jobs that are overdue at the end have been told.
    told_end: bool,
    at: u64,
    line: u64,
}

/// A queue has had a full batch to give for some time.
#[derive(Clone, Copy, Debug)]
struct Full {
    /// Since when on end, on the player's clock.
    since: u64,
    since_line: u64,
    /// Since when on end without a delivery.
    idle_since: u64,
    told: bool,
}

/// The two numbers of a queue that this is about: its batch's size and its wait.
fn bounds(policy: &Policy) -> Option<(usize, u64)> {
    let batch = policy.batch.as_ref().filter(|_| policy.rate_limit.is_none())?;
    Some((batch.size as usize, batch.wait_ms?))
}

impl Waiting {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.follow(seen.ledger, notes);
        match &seen.event.what {
            What::Granted(it) => self.grant(seen, it, notes),
            What::Drained(_) => {
                (self.at, self.line) = (seen.event.at, seen.line);
                self.finish(seen.ledger, notes);
            }
            _ => {}
        }
        (self.at, self.line) = (seen.event.at, seen.line);
    }

    pub(super) fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        for (queue, policy) in ledger.queues() {
            let Some((size, wait_ms)) = bounds(policy) else {
                continue;
            };
            self.judge_idle(ledger, queue, size, notes);
            self.judge_left_behind(ledger, queue, wait_ms, notes);
        }
        self.told_end = true;
    }

    /// The ledger stands as it stood from the last event to this one.
    fn follow(&mut self, ledger: &Ledger, notes: &mut Notes) {
        for (queue, policy) in ledger.queues() {
            let Some((size, _)) = bounds(policy) else {
                continue;
            };
            let due = ledger.count_due(queue, ledger.clock);
            if size <= due && !ledger.is_paused(queue) {
                let (at, line) = (self.at, self.line);
                let begin = Full { since: at, since_line: line, idle_since: at, told: false };
                self.full.entry(queue).or_insert(begin);
            } else if self.full.contains_key(&queue) {
                self.judge_idle(ledger, queue, size, notes);
                self.full.remove(&queue);
            }
        }
    }

    /// Up to the last event no delivery came since `idle_since`.
    fn judge_idle(&mut self, ledger: &Ledger, queue: Queue, size: usize, notes: &mut Notes) {
        let Some(full) = self.full.get_mut(&queue) else {
            return;
        };
        let idle_ms = ledger.calm.between(full.idle_since, self.at);
        if !full.told && ledger.slack().late_ms < idle_ms {
            full.told = true;
            let says = format!(
                "{} had a full batch of {size} to give from {} on, but gave none for {idle_ms} ms with a slot free",
                ledger.queue_name(queue),
                full.idle_since
            );
            notes.exercised(FULL);
            notes.broken(FULL, says, vec![full.since_line, self.line]);
        }
    }

    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
        let Some((size, wait_ms)) = seen.ledger.policy(seen.named.queue).and_then(bounds) else {
            return;
        };
        judge_wait(seen, it, wait_ms, notes);
        (self.at, self.line) = (seen.event.at, seen.line);
        self.judge_idle(seen.ledger, seen.named.queue, size, notes);
        let Some(full) = self.full.get_mut(&seen.named.queue) else {
            return;
        };
        full.idle_since = seen.event.at;
        notes.exercised(FULL);
        let full_ms = seen.event.at - full.since;
        let short = it.jobs.len() < size && !seen.ledger.repeats_batch(seen.named.batch, seen.jobs);
        let decided = seen.ledger.slack().late_ms < full_ms && seen.ledger.calm.no_fault(seen.event.at);
        if short && decided && !full.told {
            full.told = true;
            let says = format!(
                "{} had a full batch of {size} to give for {full_ms} ms, but delivery {} takes {} only",
                it.queue,
                it.delivery,
                it.jobs.len()
            );
            notes.broken(FULL, says, vec![full.since_line, seen.line]);
        }
    }

    /// Jobs that are overdue and were never delivered.
    fn judge_left_behind(&self, ledger: &Ledger, queue: Queue, wait_ms: u64, notes: &mut Notes) {
        if self.told_end || ledger.is_paused(queue) {
            return;
        }
        let Some((_, job)) = ledger.line(queue).and_then(|line| line.jobs().next()) else {
            return;
        };
        let Some(live) = ledger.live(job) else {
            return;
        };
        let waited = calm_wait(ledger, live, self.at);
        if wait_ms + ledger.slack().late_ms < waited {
            let (job, queue) = (ledger.job_name(job), ledger.queue_name(queue));
            let says = format!(
                "{job} of {queue} may wait for others {wait_ms} ms, but waits for {waited} ms with a slot free and was \
                 not delivered"
            );
            notes.exercised(WAIT);
            notes.broken(WAIT, says, live.lines_and(self.line));
        }
    }
}

/// How long `live` has waited until `at` with nothing but others of its batch to wait for.
fn calm_wait(ledger: &Ledger, live: &Live, at: u64) -> u64 {
    // When the job in its way ended is in the first of these.
    let since = ledger.deliverable_at(live) + ledger.unsure_retry_ms(live);
    ledger.calm.between(since, at)
}

/// At most one breach is told per delivery: that of the job that waited longest.
fn judge_wait(seen: &Seen<'_>, it: &Granted, wait_ms: u64, notes: &mut Notes) {
    let ledger = seen.ledger;
    let waits = it.jobs.iter().zip(seen.jobs).filter_map(|(lease, &job)| {
        let live = ledger.live(job)?;
        Some((calm_wait(ledger, live, seen.event.at), lease, live))
    });
    let Some((waited, lease, live)) = waits.max_by_key(|(waited, ..)| *waited) else {
        return;
    };
    notes.exercised(WAIT);
    if wait_ms + ledger.slack().late_ms < waited {
        let says = format!(
            "{} of {} may wait for others {wait_ms} ms, but was delivered after {waited} ms with a slot free",
            lease.job, it.queue
        );
        notes.broken(WAIT, says, live.lines_and(seen.line));
    }
}

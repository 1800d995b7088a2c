//! What of an entity is delivered when: one job at a time, with the newest payload, and its follow-up once it has ended.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::Seen;
use super::super::ledger::{Ledger, Live};
use super::super::number::{Job, Key, Queue};
use super::super::print::{Print, Table};
use super::{COALESCE, ONE_RUNNING, RELEASED};
use crate::history::{Accepted, Granted, How, Started, Then, What};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Running {
    /// What the leased job was granted with, of jobs that got more than one payload.
    payloads: Table<Job, Rc<str>>,
    /// The older payloads of live jobs that got more than one.
    older: Table<Job, Table<Print, ()>>,
    /// Jobs whose entity had others before, until they are first delivered, with the line that made them.
    follow_ups: Table<Job, u64>,
    /// When each queue last gave a delivery, on the player's clock.
    granted_at: BTreeMap<Queue, u64>,
}

impl Running {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Granted(it) => self.grant(seen, it, notes),
            What::Started(it) => self.start(seen, it, notes),
            What::Settled(it) if it.accepted => {
                judge_followed(seen, notes);
                self.payloads.remove(seen.named.job);
                // A dead letter may be put back: it keeps its id and its payload.
                if !matches!(it.then, Some(Then::RetryAt(_) | Then::DeadLetter)) {
                    self.forget(seen.named.job);
                }
            }
            What::Cancelled(_) | What::Purged(_) => self.forget(seen.named.job),
            What::Drained(_) => self.judge_left_behind(seen, notes),
            _ => {}
        }
    }

    /// An enqueue for an entity, which had a job before if it is `known`.
    pub(super) fn accept(&mut self, seen: &Seen<'_>, it: &Accepted, known: bool) {
        match it.how {
            How::Created if known => drop(self.follow_ups.insert(seen.named.job, seen.line)),
            How::Coalesced => {
                let Some(live) = seen.ledger.live(seen.named.job) else {
                    return;
                };
                self.older.at(seen.named.job).insert(Print::of(&live.payload), ());
            }
            _ => {}
        }
    }

    fn forget(&mut self, job: Job) {
        self.payloads.remove(job);
        self.older.remove(job);
        self.follow_ups.remove(job);
    }

    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
        self.granted_at.insert(seen.named.queue, seen.event.at);
        let mut granted = BTreeMap::new();
        for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
            self.follow_ups.remove(job);
            let Some(live) = seen.ledger.live(job) else {
                continue;
            };
            let Some(key) = seen.ledger.entity(live) else {
                continue;
            };
            judge_alone(seen, it, (job, &lease.job), live, key, notes);
            if let Some(other) = granted.insert(key, &lease.job) {
                let key = seen.ledger.known.keys.text(key);
                let says = format!("delivery {} holds two jobs for {key}: {other} and {}", it.delivery, lease.job);
                notes.broken(ONE_RUNNING, says, live.lines_and(seen.line));
            }
            if self.older.contains(job) {
                self.payloads.insert(job, live.payload.clone());
            }
        }
    }

    fn start(&mut self, seen: &Seen<'_>, it: &Started, notes: &mut Notes) {
        for (given, &job) in it.jobs.iter().zip(seen.jobs) {
            let Some(newest) = self.payloads.get(job) else {
                continue;
            };
            let Some(live) = seen.ledger.live(job) else {
                continue;
            };
            let current = live.leased().is_some_and(|attempt| attempt.number == given.attempt);
            if !current {
                continue;
            }
            notes.exercised(COALESCE);
            let older = self.older.get(job).is_some_and(|older| older.contains(Print::of(&given.payload)));
            if older && **newest != *given.payload {
                let says = format!(
                    "the newest payload that went to {} before its attempt {} is {newest}, but the handler was given {}",
                    given.job, given.attempt, given.payload
                );
                notes.broken(COALESCE, says, live.lines_and(seen.line));
            }
        }
    }

    /// A follow-up whose predecessors have all ended, and that still nobody got: its entity was never released.
    fn judge_left_behind(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        let follow_ups = std::mem::take(&mut self.follow_ups);
        for job in seen.ledger.known.jobs.in_order(follow_ups.keys()) {
            let (Some(&made), Some(live)) = (follow_ups.get(job), seen.ledger.live(job)) else {
                continue;
            };
            if let Some(waited) = self.left_behind(seen, job, live) {
                let key = live.key.map_or("", |key| seen.ledger.known.keys.text(key));
                let job = seen.ledger.job_name(job);
                let says = format!(
                    "all jobs for {key} before {job} have ended, but {job} waits for {waited} ms with a slot free and \
                     was never delivered"
                );
                notes.exercised(RELEASED);
                notes.broken(RELEASED, says, vec![made, seen.line]);
            }
        }
    }

    /// How long `job` has waited without excuse, if it is unblocked and its queue gave others since (or has no others).
    fn left_behind(&self, seen: &Seen<'_>, job: Job, live: &Live) -> Option<u64> {
        let ledger = seen.ledger;
        let line = ledger.line(live.queue)?;
        let unblocked = line.of_key(ledger.entity(live)?).next() == Some(job);
        if !unblocked || ledger.is_paused(live.queue) {
            return None;
        }
        let since = ledger.deliverable_at(live);
        let granted = self.granted_at.get(&live.queue).is_some_and(|&at| since <= at);
        if !granted && line.jobs().nth(1).is_some() {
            return None;
        }
        let waited = ledger.calm.between(since, seen.event.at);
        (bound_ms(ledger, live) < waited).then_some(waited)
    }
}

/// How long a deliverable job of this queue may be left to wait on purpose.
fn bound_ms(ledger: &Ledger, live: &Live) -> u64 {
    let policy = ledger.policy(live.queue);
    let batch_ms = policy.and_then(|policy| policy.batch.as_ref()?.wait_ms).unwrap_or(0);
    let rate_ms = policy.and_then(|policy| Some(policy.rate_limit.as_ref()?.per_ms)).unwrap_or(0);
    batch_ms + rate_ms + ledger.slack().late_ms
}

/// `job` is delivered: no other of its key may hold a live lease.
fn judge_alone(seen: &Seen<'_>, it: &Granted, (job, name): (Job, &str), live: &Live, key: Key, notes: &mut Notes) {
    let ledger = seen.ledger;
    let now = it.clock + ledger.slack().clock_error_ms;
    let others = ledger.line(live.queue).into_iter().flat_map(|line| line.of_key(key));
    for other in others.filter(|&other| other != job).filter_map(|other| Some((other, ledger.live(other)?))) {
        let (other, other_live) = other;
        notes.exercised(ONE_RUNNING);
        let Some(attempt) = other_live.leased().filter(|attempt| now < attempt.lease_until) else {
            continue;
        };
        let (key, other) = (ledger.known.keys.text(key), ledger.job_name(other));
        let says = format!(
            "{name} for {key} was delivered while {other} for {key} was processing on {} (lease until {})",
            ledger.known.processors.text(attempt.processor),
            attempt.lease_until
        );
        notes.broken(ONE_RUNNING, says, vec![attempt.granted_line, seen.line]);
    }
}

/// An attempt ends; a job of the same key that waited all the while shows that only one ran.
fn judge_followed(seen: &Seen<'_>, notes: &mut Notes) {
    let ledger = seen.ledger;
    let Some(live) = ledger.live(seen.named.job) else {
        return;
    };
    let Some(key) = ledger.entity(live) else {
        return;
    };
    let line = ledger.line(live.queue);
    if line.is_some_and(|line| line.of_key(key).nth(1).is_some()) {
        notes.exercised(ONE_RUNNING);
    }
}

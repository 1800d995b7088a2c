//! `job/no-loss`: once all has healed and drained, every acknowledged job has ended, or is retried without end.
//!
//! Judged by the last read of each job's status after `drained`. A job of infinite attempts may be on its way still, but
//! must not have been left lying for longer than the bound. A job that two enqueues were told of, although nothing makes
//! them one, is the job of one of them, and the other's is lost.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::enqueue_of;
use crate::check::Seen;
use crate::check::ledger::{EndHow, Ledger, Live};
use crate::history::{Drained, Enqueue, Reply, Sight, StatusRead, Told, What};
use crate::verdict::Notes;

const NO_LOSS: &str = "job/no-loss";

#[derive(Default)]
pub(super) struct Loss {
    acknowledged: BTreeMap<String, Acknowledged>,
    /// Dead letters that somebody asked to drop and was not refused.
    purges: BTreeSet<String>,
    drained: Option<(u64, Drained)>,
    /// The last read of each job after `drained`.
    reads: BTreeMap<String, Read>,
    told: BTreeSet<String>,
}

struct Acknowledged {
    queue: String,
    user: String,
    line: u64,
}

struct Read {
    line: u64,
    /// What the row said, if there was one.
    row: Option<(&'static str, bool)>,
}

impl Loss {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Reply(it) => self.answer(seen, it, notes),
            What::Purge(it) => drop(self.purges.insert(it.job.clone())),
            What::Drained(it) => self.drain(seen, it, notes),
            What::StatusRead(it) => self.read(seen, it),
            _ => {}
        }
    }

    pub(super) fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.judge(ledger, notes);
    }

    fn answer(&mut self, seen: &Seen<'_>, reply: &Reply, notes: &mut Notes) {
        if let Some((_, What::Purge(it))) = seen.ledger.open_ops.get(&reply.op)
            && reply.outcome == Told::Refused
        {
            self.purges.remove(&it.job);
        }
        let Some((_, enqueue)) = enqueue_of(seen, reply) else {
            return;
        };
        let (Told::Ok, Some(job)) = (reply.outcome, &reply.job) else {
            return;
        };
        match self.acknowledged.entry(job.clone()) {
            Entry::Vacant(vacant) => {
                let (queue, user) = (enqueue.queue.clone(), enqueue.user.clone());
                vacant.insert(Acknowledged { queue, user, line: seen.line });
            }
            Entry::Occupied(first) if is_plain(seen.ledger, enqueue) => {
                let says = format!(
                    "an enqueue of {} in {} was answered with {job}, which another enqueue had been told of; with neither \
                     an idempotency key nor an entity it has a job of its own, and that is nowhere",
                    enqueue.user, enqueue.queue,
                );
                notes.exercised(NO_LOSS);
                notes.broken(NO_LOSS, says, vec![first.get().line, seen.line]);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn drain(&mut self, seen: &Seen<'_>, drained: &Drained, notes: &mut Notes) {
        self.judge(seen.ledger, notes);
        self.drained = Some((seen.line, drained.clone()));
        for (job, live) in &seen.ledger.live {
            let acknowledged = self.acknowledged.contains_key(job);
            if acknowledged && is_endless(seen.ledger, &live.queue) && !self.told.contains(job) {
                self.told.extend(left_lying(seen, job, live, drained, notes));
            }
        }
    }

    fn read(&mut self, seen: &Seen<'_>, read: &StatusRead) {
        let Some((drained, _)) = self.drained else {
            return;
        };
        let Some(job) = self.acknowledged.get(&read.job) else {
            return;
        };
        if job.user != read.user || drained < job.line {
            return;
        }
        let row = read.row.as_ref().map(|row| (row.status.as_str(), row.is_final));
        self.reads.insert(read.job.clone(), Read { line: seen.line, row });
    }

    /// Judges each job by its last read since `drained`.
    fn judge(&mut self, ledger: &Ledger, notes: &mut Notes) {
        let Some((drained_line, drained)) = &self.drained else {
            return;
        };
        for (job, read) in std::mem::take(&mut self.reads) {
            let Some(acknowledged) = self.acknowledged.get(&job) else {
                continue;
            };
            if self.told.contains(&job) {
                continue;
            }
            let purged =
                self.purges.contains(&job) || ledger.ended.get(&job).is_some_and(|end| end.how == EndHow::Purged);
            match verdict(ledger, &job, acknowledged, &read, purged) {
                Verdict::Kept => notes.exercised(NO_LOSS),
                Verdict::Held => notes.inconclusive(NO_LOSS),
                Verdict::Lost(seen) => {
                    notes.exercised(NO_LOSS);
                    let when = if drained.ok {
                        "once the queue had drained".to_owned()
                    } else {
                        format!("in a queue that should have drained within {} ms", drained.bound_ms)
                    };
                    let says = format!("{job} ({}) was acknowledged, but {when} it was {seen}", acknowledged.queue);
                    notes.broken(NO_LOSS, says, vec![acknowledged.line, *drained_line, read.line]);
                    self.told.insert(job);
                }
            }
        }
    }
}

enum Verdict {
    Kept,
    /// Its queue is under a pause, so it may wait.
    Held,
    Lost(String),
}

fn verdict(ledger: &Ledger, job: &str, acknowledged: &Acknowledged, read: &Read, purged: bool) -> Verdict {
    let known = ledger.live.contains_key(job) || ledger.ended.contains_key(job);
    match read.row {
        None if purged => Verdict::Kept,
        None => Verdict::Lost("gone: there was no row".into()),
        Some((_, true)) => Verdict::Kept,
        Some(_) if ledger.paused.contains(&acknowledged.queue) => Verdict::Held,
        Some((status, false)) if is_endless(ledger, &acknowledged.queue) => {
            if known || !ledger.header.sees(Sight::Queue) {
                Verdict::Kept
            } else {
                Verdict::Lost(format!("{status}, and the queue had never accepted it"))
            }
        }
        Some((status, false)) => Verdict::Lost(format!("{status}, which is not its end")),
    }
}

/// Whether nothing can make `enqueue` one with another: it always has a job of its own.
fn is_plain(ledger: &Ledger, enqueue: &Enqueue) -> bool {
    let coalesces = ledger.policy(&enqueue.queue).is_none_or(|policy| policy.deduplication);
    enqueue.idempotency_key.is_none() && !coalesces
}

fn is_endless(ledger: &Ledger, queue: &str) -> bool {
    ledger.policy(queue).is_some_and(|policy| policy.attempts.max().is_none())
}

/// A job that is retried without end is lost all the same if nobody comes back to it. Answers it if that is so.
fn left_lying(seen: &Seen<'_>, job: &str, live: &Live, drained: &Drained, notes: &mut Notes) -> Option<String> {
    let ledger = seen.ledger;
    let (since, waits_for) = match live.leased() {
        Some(attempt) => (ledger.calm.at(attempt.lease_until), "its lease to be given up"),
        None => (ledger.deliverable_at(live), "a delivery"),
    };
    let blocked = ledger
        .entity(live)
        .zip(ledger.line(&live.queue))
        .is_some_and(|(key, line)| line.of_key(key).next() != Some(job));
    let waited = ledger.calm.between(since, seen.event.at);
    let may_wait = drained.bound_ms + ledger.slack().late_ms;
    if blocked || ledger.paused.contains(&live.queue) || waited <= may_wait {
        return None;
    }
    notes.exercised(NO_LOSS);
    let says = format!(
        "{job} ({}, infinite attempts) was acknowledged and must be retried without end, but has waited for \
         {waits_for} since {since}, for {waited} ms without a fault and with a slot free; the bound is {} ms",
        live.queue, drained.bound_ms,
    );
    notes.broken(NO_LOSS, says, live.lines_and(seen.line));
    Some(job.to_owned())
}

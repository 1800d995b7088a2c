//! `job/no-loss`: once all has healed and drained, every acknowledged job has ended, or is retried without end.
//!
//! Judged by the last read of each job's status after `drained`. A job of infinite attempts may be on its way still, but
//! must not have been left lying for longer than the bound. A job that two enqueues were told of, although nothing makes
//! them one, is the job of one of them, and the other's is lost. So is a job that the queue dropped before its end, or a dead
//! letter that it dropped, without being asked to.

use std::num::NonZeroU64;

use super::enqueue_of;
use crate::check::Seen;
use crate::check::ledger::{EndHow, Enqueue, Ledger, Live};
use crate::check::number::{Job, PerNumber, Queue, User};
use crate::check::print::Table;
use crate::clause::Place;
use crate::history::{Drained, Reply, Sight, StatusRead, Told, What};
use crate::lifecycle::Status;
use crate::verdict::Notes;

const NO_LOSS: Place = Place::of("job/no-loss");

#[derive(Default)]
pub(super) struct Loss {
    acknowledged: PerNumber<Option<Acknowledged>>,
    /// What the queue dropped that would else have stayed: how often, and the last line that says so.
    dropped: Table<Job, (u64, u64)>,
    drained: Option<(u64, Drained)>,
    /// The last read of each job after `drained`.
    reads: PerNumber<Option<Read>>,
    told: Table<Job, ()>,
}

#[derive(Clone, Copy)]
struct Acknowledged {
    queue: Queue,
    user: User,
    line: NonZeroU64,
}

struct Read {
    line: NonZeroU64,
    /// What the row said, if there was one.
    row: Option<(Status, bool)>,
}

impl Loss {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Reply(it) => self.answer(seen, it, notes),
            What::Purged(_) => self.purge(seen),
            What::Drained(it) => self.drain(seen, it, notes),
            What::StatusRead(it) => self.read(seen, it),
            _ => {}
        }
    }

    pub(super) fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.judge(ledger, notes);
    }

    fn answer(&mut self, seen: &Seen<'_>, reply: &Reply, notes: &mut Notes) {
        let Some((asked, enqueue)) = enqueue_of(seen) else {
            return;
        };
        let (Told::Ok, Some(job)) = (reply.outcome, &reply.job) else {
            return;
        };
        let acknowledged = self.acknowledged.at(seen.named.job);
        match acknowledged {
            None => {
                let line = NonZeroU64::new(seen.line);
                *acknowledged =
                    line.map(|line| Acknowledged { queue: asked.named.queue, user: asked.named.user, line });
            }
            Some(first) if is_plain(seen.ledger, asked.named.queue, enqueue) => {
                let says = format!(
                    "an enqueue of {} in {} was answered with {job}, which another enqueue had been told of; with neither \
                     an idempotency key nor an entity it has a job of its own, and that is nowhere",
                    seen.ledger.known.users.text(asked.named.user),
                    seen.ledger.queue_name(asked.named.queue),
                );
                notes.exercised(NO_LOSS);
                notes.broken(NO_LOSS, says, vec![first.line.get(), seen.line]);
            }
            Some(_) => {}
        }
    }

    /// That a queue does away with what has ended, other than as a dead letter, is no loss.
    fn purge(&mut self, seen: &Seen<'_>) {
        let job = seen.named.job;
        let is_dead = seen.ledger.ended(job).is_some_and(|end| end.how == EndHow::DeadLetter);
        if is_dead || seen.ledger.live(job).is_some() {
            let (times, line) = self.dropped.at(job);
            (*times, *line) = (*times + 1, seen.line);
        }
    }

    fn drain(&mut self, seen: &Seen<'_>, drained: &Drained, notes: &mut Notes) {
        self.judge(seen.ledger, notes);
        self.drained = Some((seen.line, drained.clone()));
        for (job, live) in seen.ledger.all_live() {
            let endless = is_endless(seen.ledger, live.queue) && self.acknowledged(job).is_some();
            if endless && !self.told.contains(job) && left_lying(seen, job, live, drained, notes) {
                self.told.insert(job, ());
            }
        }
    }

    fn read(&mut self, seen: &Seen<'_>, read: &StatusRead) {
        let Some((drained, _)) = self.drained else {
            return;
        };
        let Some(job) = self.acknowledged(seen.named.job) else {
            return;
        };
        if job.user != seen.named.user || drained < job.line.get() {
            return;
        }
        let row = read.row.as_ref().map(|row| (row.status, row.is_final));
        *self.reads.at(seen.named.job) = NonZeroU64::new(seen.line).map(|line| Read { line, row });
    }

    fn acknowledged(&self, job: Job) -> Option<Acknowledged> {
        *self.acknowledged.get(job)?
    }

    /// What was dropped must have been asked for.
    fn judge_dropped(&mut self, ledger: &Ledger, notes: &mut Notes) {
        let Some((drained, _)) = self.drained else {
            return;
        };
        for job in ledger.known.jobs.in_order(self.dropped.keys()) {
            let unasked = self.dropped.get(job).copied().filter(|(times, _)| ledger.purges_asked(job) < *times);
            let (Some((_, line)), Some(acknowledged)) = (unasked, self.acknowledged(job)) else {
                continue;
            };
            if self.told.insert(job, ()).is_some() {
                continue;
            }
            let says = format!(
                "{} ({}) was acknowledged, but the queue dropped it although nobody had asked for that, or all who did \
                 were refused",
                ledger.job_name(job),
                ledger.queue_name(acknowledged.queue),
            );
            let mut lines = vec![acknowledged.line.get(), line, drained];
            lines.sort_unstable();
            notes.exercised(NO_LOSS);
            notes.broken(NO_LOSS, says, lines);
        }
    }

    /// Judges each job by its last read since `drained`.
    fn judge(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.judge_dropped(ledger, notes);
        let Some((drained_line, drained)) = &self.drained else {
            return;
        };
        let mut lost = Vec::new();
        let reads = std::mem::take(&mut self.reads);
        for (job, read) in reads.iter() {
            let (Some(read), Some(acknowledged)) = (read, self.acknowledged(job)) else {
                continue;
            };
            if self.told.contains(job) {
                continue;
            }
            let purged = 0 < ledger.purges_asked(job) || ledger.ended(job).is_some_and(|end| end.how == EndHow::Purged);
            match verdict(ledger, job, &acknowledged, read, purged) {
                Verdict::Kept => notes.exercised(NO_LOSS),
                Verdict::Held => notes.inconclusive(NO_LOSS),
                Verdict::Lost => lost.push(job),
            }
        }
        for job in ledger.known.jobs.in_order(lost) {
            let (Some(Some(read)), Some(acknowledged)) = (reads.get(job), self.acknowledged(job)) else {
                continue;
            };
            let when = if drained.ok {
                "once the queue had drained".to_owned()
            } else {
                format!("in a queue that should have drained within {} ms", drained.bound_ms)
            };
            let (name, queue) = (ledger.job_name(job), ledger.queue_name(acknowledged.queue));
            let was = words(ledger, &acknowledged, read);
            let says = format!("{name} ({queue}) was acknowledged, but {when} it was {was}");
            notes.exercised(NO_LOSS);
            notes.broken(NO_LOSS, says, vec![acknowledged.line.get(), *drained_line, read.line.get()]);
            self.told.insert(job, ());
        }
    }
}

enum Verdict {
    Kept,
    /// Its queue is under a pause, so it may wait.
    Held,
    Lost,
}

fn verdict(ledger: &Ledger, job: Job, acknowledged: &Acknowledged, read: &Read, purged: bool) -> Verdict {
    let known = ledger.live(job).is_some() || ledger.ended(job).is_some();
    match read.row {
        None if purged => Verdict::Kept,
        None => Verdict::Lost,
        Some((_, true)) => Verdict::Kept,
        Some(_) if ledger.is_paused(acknowledged.queue) => Verdict::Held,
        Some(_) if is_endless(ledger, acknowledged.queue) && (known || !ledger.header.sees(Sight::Queue)) => {
            Verdict::Kept
        }
        Some(_) => Verdict::Lost,
    }
}

/// What a lost job was read as.
fn words(ledger: &Ledger, acknowledged: &Acknowledged, read: &Read) -> String {
    match read.row {
        None => "gone: there was no row".into(),
        Some((status, _)) if is_endless(ledger, acknowledged.queue) => {
            format!("{status}, and the queue had never accepted it")
        }
        Some((status, _)) => format!("{status}, which is not its end"),
    }
}

/// Whether nothing can make `enqueue` one with another: it always has a job of its own.
fn is_plain(ledger: &Ledger, queue: Queue, enqueue: &Enqueue) -> bool {
    let coalesces = ledger.policy(queue).is_none_or(|policy| policy.deduplication);
    enqueue.idempotency_key.is_none() && !coalesces
}

fn is_endless(ledger: &Ledger, queue: Queue) -> bool {
    ledger.policy(queue).is_some_and(|policy| policy.attempts.max().is_none())
}

/// A job that is retried without end is lost all the same if nobody comes back to it. Answers whether that is so.
fn left_lying(seen: &Seen<'_>, job: Job, live: &Live, drained: &Drained, notes: &mut Notes) -> bool {
    let ledger = seen.ledger;
    let (since, waits_for) = match live.leased() {
        Some(attempt) => (ledger.calm.at(attempt.lease_until), "its lease to be given up"),
        None => (ledger.deliverable_at(live), "a delivery"),
    };
    let waited = ledger.calm.between(since, seen.event.at);
    let may_wait = drained.bound_ms + ledger.slack().late_ms;
    if ledger.is_blocked(live, job) || ledger.is_paused(live.queue) || waited <= may_wait {
        return false;
    }
    notes.exercised(NO_LOSS);
    let says = format!(
        "{} ({}, infinite attempts) was acknowledged and must be retried without end, but has waited for \
         {waits_for} since {since}, for {waited} ms without a fault and with a slot free; the bound is {} ms",
        ledger.job_name(job),
        ledger.queue_name(live.queue),
        drained.bound_ms,
    );
    notes.broken(NO_LOSS, says, live.lines_and(seen.line));
    true
}

//! Clauses of the family `priority`: whenever a slot is given, it goes to the queue whose longest waiting job has the
//! highest effective priority, and within a queue to the jobs that wait longest.
//!
//! Judged at each grant by what the queue has said before that line, so only the clock's error is allowed for; where that is
//! inferred, what may be late as well. Where the history cannot tell whether another queue may deliver (its limit or its
//! batch is on the edge), it counts as not.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{Ledger, Live};
use super::number::{Job, Queue};
use super::rate::Window;
use super::{Family, Seen};
use crate::clause::Place;
use crate::history::{Granted, What};
use crate::queues::{AGING_MS, Policy};
use crate::verdict::Notes;

const ORDER: Place = Place::of("priority/order");
const AGING: Place = Place::of("priority/aging");

/// How many jobs that were tried before are passed over in search of one that was not.
const HEADS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Priority {
    /// The newest starts of each limited queue.
    windows: BTreeMap<Queue, Window>,
    /// Per queue the job that was last told to have been passed over.
    told: BTreeMap<Queue, Job>,
}

impl Family for Priority {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        let What::Granted(it) = &seen.event.what else {
            return;
        };
        let Some(policy) = seen.ledger.policy(seen.named.queue) else {
            return;
        };
        self.judge_queues(seen, it, policy, notes);
        self.judge_within(seen, it, policy, notes);
        if let Some(limit) = &policy.rate_limit {
            let window = self.windows.entry(seen.named.queue).or_default();
            for _ in &it.jobs {
                window.add(limit, it.clock, seen.line);
            }
        }
    }
}

/// A job as it stands in the comparison.
#[derive(Clone, Copy)]
struct Contender<'a> {
    queue: Queue,
    job: Job,
    live: &'a Live,
    base: crate::queues::Priority,
    level: u64,
}

impl Priority {
    /// At most one breach is told per grant: the one by the highest level.
    fn judge_queues(&mut self, seen: &Seen<'_>, it: &Granted, policy: &Policy, notes: &mut Notes) {
        let ledger = seen.ledger;
        let Some(granted) = granted_head(seen, it, policy) else {
            return;
        };
        let mut passed_over: Option<Contender<'_>> = None;
        let (mut contested, mut higher_base) = (false, false);
        for (queue, other) in ledger.queues().filter(|(queue, _)| *queue != seen.named.queue) {
            let Some(head) = self.deliverable_head(ledger, queue, other, it.clock) else {
                continue;
            };
            contested = true;
            higher_base |= policy.priority < other.priority;
            if granted.level < head.level && passed_over.is_none_or(|worst| worst.level < head.level) {
                passed_over = Some(head);
            }
        }
        if contested {
            notes.exercised(ORDER);
        }
        match passed_over {
            None if higher_base => notes.exercised(AGING),
            None => {}
            Some(head) if self.is_news(head.queue, head.job) => tell(seen, it, &granted, &head, notes),
            Some(_) => {}
        }
    }

    /// Within the queue the jobs that wait longest go first. A batch that is tried again goes as a whole, and its jobs wait
    /// for each other: with batches, jobs that were tried before are passed over.
    fn judge_within(&mut self, seen: &Seen<'_>, it: &Granted, policy: &Policy, notes: &mut Notes) {
        let ledger = seen.ledger;
        if ledger.repeats_batch(seen.named.batch, seen.jobs) {
            return;
        }
        let granted: BTreeSet<Job> = seen.jobs.iter().copied().collect();
        // A job that may not be delivered at all is no matter of order.
        let may = |live: &Live| live.leased().is_none() && live.ready_clock <= it.clock;
        let leases = it.jobs.iter().zip(seen.jobs);
        let lives = leases.filter_map(|(lease, &job)| Some((lease, ledger.live(job)?)));
        let Some((lease, newest)) = lives.filter(|(_, live)| may(live)).max_by_key(|(_, live)| live.ready_clock) else {
            return;
        };
        let Some(line) = ledger.line(seen.named.queue) else {
            return;
        };
        let error_ms = error_ms(ledger);
        let heads = line.jobs().take(granted.len() + HEADS_MAX);
        let heads = heads.take_while(|(due, _)| *due < newest.ready_clock);
        let left = heads.filter(|(_, job)| !granted.contains(job)).find_map(|(due, job)| {
            let live = ledger.live(job)?;
            let ordered = policy.batch.is_none() || live.attempts.is_empty();
            let passed_over = due + ledger.unsure_ms(live) + error_ms < newest.ready_clock;
            (ordered && passed_over).then_some((due, job, live))
        });
        let Some((due, job, live)) = left else { return };
        if self.is_news(seen.named.queue, job) {
            let job = ledger.job_name(job);
            let says = format!(
                "{} of {} waits since clock {}, {job} since clock {due}, but {} was delivered first",
                lease.job, it.queue, newest.ready_clock, lease.job
            );
            let mut lines = live.lines_and(seen.line);
            lines.extend(newest.lines.first());
            lines.sort_unstable();
            lines.dedup();
            notes.exercised(ORDER);
            notes.broken(ORDER, says, lines);
        }
    }

    /// Whether `job` was not told yet to be passed over: a job that nobody takes is one breach, not one per grant.
    fn is_news(&mut self, queue: Queue, job: Job) -> bool {
        self.told.insert(queue, job).is_none_or(|before| before != job)
    }

    /// The longest waiting job of `queue`, if the queue could surely deliver at `clock`. Its level is the least it may
    /// have by the clock's error.
    fn deliverable_head<'a>(
        &self,
        ledger: &'a Ledger,
        queue: Queue,
        policy: &'a Policy,
        clock: u64,
    ) -> Option<Contender<'a>> {
        let surely = clock.saturating_sub(error_ms(ledger));
        if ledger.is_paused(queue) {
            return None;
        }
        let (due, job, live) = ledger.surely_due(queue, surely).next()?;
        if let Some(limit) = &policy.rate_limit {
            let room = self.windows.get(&queue).is_none_or(|window| window.has_room(limit, surely));
            (room && policy.batch.is_none()).then_some(())?;
        }
        if let Some((batch, wait_ms)) = policy.batch.as_ref().and_then(|batch| Some((batch, batch.wait_ms?))) {
            // Counted one by one: the ledger's own count is as of its clock, which may be ahead of what is sure.
            let size = batch.size as usize;
            let full = ledger.surely_due(queue, surely).take(size).count() == size;
            (full || wait_ms <= surely - due).then_some(())?;
        }
        Some(Contender { queue, job, live, base: policy.priority, level: policy.priority.level_after(surely - due) })
    }
}

/// How far the clocks of this family may be off. Where the queue's word is inferred, what was said to it may have been under
/// way as long as anything may be late, so that a job has become due later than it looks.
fn error_ms(ledger: &Ledger) -> u64 {
    let slack = ledger.slack();
    slack.clock_error_ms + if ledger.header.inferred { slack.late_ms } else { 0 }
}

/// The longest waiting job of the grant, with the highest level that it may have by the clock's error.
fn granted_head<'a>(seen: &Seen<'a>, it: &Granted, policy: &Policy) -> Option<Contender<'a>> {
    let ledger = seen.ledger;
    let lives = seen.jobs.iter().filter_map(|&job| Some((job, ledger.live(job)?)));
    let (job, live) = lives.min_by_key(|(_, live)| live.ready_clock)?;
    let waited_ms = (it.clock + error_ms(ledger)).saturating_sub(live.ready_clock);
    let level = policy.priority.level_after(waited_ms);
    Some(Contender { queue: seen.named.queue, job, live, base: policy.priority, level })
}

/// A higher level was passed over: for want of aging, if its queue's own priority is the lower one.
fn tell(seen: &Seen<'_>, it: &Granted, granted: &Contender<'_>, head: &Contender<'_>, notes: &mut Notes) {
    let clause = if head.base < granted.base { AGING } else { ORDER };
    let waited = |contender: &Contender<'_>| it.clock.saturating_sub(contender.live.ready_clock);
    let says = format!(
        "{} of {} (level {} after {} ms) was delivered at clock {} while {} of {} (level {} after {} ms; one level up \
         every {AGING_MS} ms) was deliverable",
        seen.ledger.job_name(granted.job),
        seen.ledger.queue_name(granted.queue),
        granted.level,
        waited(granted),
        it.clock,
        seen.ledger.job_name(head.job),
        seen.ledger.queue_name(head.queue),
        head.level,
        waited(head),
    );
    let mut lines = head.live.lines_and(seen.line);
    lines.extend(granted.live.lines.first());
    lines.sort_unstable();
    lines.dedup();
    notes.exercised(clause);
    notes.broken(clause, says, lines);
}

//! Clauses of the family `priority`: whenever a slot is given, it goes to the queue whose longest waiting job has the
//! highest effective priority, and within a queue to the jobs that wait longest.
//!
//! Judged at each grant by what the queue has said before that line, so only the clock's error is allowed for. Where the
//! history cannot tell whether another queue may deliver (its limit or its batch is on the edge), it counts as not.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{Ledger, Live};
use super::rate::Window;
use super::{Family, Seen};
use crate::history::{Granted, What};
use crate::queues::{AGING_MS, Policy};
use crate::verdict::Notes;

const ORDER: &str = "priority/order";
const AGING: &str = "priority/aging";

/// How many jobs that were tried before are passed over in search of one that was not.
const HEADS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Priority {
    /// The newest starts of each limited queue.
    windows: BTreeMap<String, Window>,
    /// Per queue the job that was last told to have been passed over.
    told: BTreeMap<String, String>,
}

impl Family for Priority {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        let What::Granted(it) = &seen.event.what else {
            return;
        };
        let Some(policy) = seen.ledger.policy(&it.queue) else {
            return;
        };
        self.judge_queues(seen, it, policy, notes);
        self.judge_within(seen, it, policy, notes);
        if let Some(limit) = &policy.rate_limit {
            let window = self.windows.entry(it.queue.clone()).or_default();
            for _ in &it.jobs {
                window.add(limit, it.clock, seen.line);
            }
        }
    }
}

/// A job as it stands in the comparison.
#[derive(Clone, Copy)]
struct Contender<'a> {
    queue: &'a str,
    job: &'a str,
    live: &'a Live,
    base: crate::queues::Priority,
    level: u64,
}

impl Priority {
    /// At most one breach is told per grant: the one by the highest level.
    fn judge_queues(&mut self, seen: &Seen<'_>, it: &Granted, policy: &Policy, notes: &mut Notes) {
        let ledger = seen.ledger;
        let Some(granted) = granted_head(ledger, it, policy) else {
            return;
        };
        let mut passed_over: Option<Contender<'_>> = None;
        let (mut contested, mut higher_base) = (false, false);
        for (queue, other) in ledger.queues().iter().filter(|(queue, _)| *queue != it.queue) {
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
        if ledger.repeats_batch(it) {
            return;
        }
        let granted: BTreeSet<&str> = it.jobs.iter().map(|lease| lease.job.as_str()).collect();
        // A job that may not be delivered at all is no matter of order.
        let may = |live: &Live| live.leased().is_none() && live.ready_clock <= it.clock;
        let lives = it.jobs.iter().filter_map(|lease| Some((lease, ledger.live.get(&lease.job)?)));
        let Some((lease, newest)) = lives.filter(|(_, live)| may(live)).max_by_key(|(_, live)| live.ready_clock) else {
            return;
        };
        let Some(line) = ledger.line(&it.queue) else {
            return;
        };
        let heads = line.jobs().take(granted.len() + HEADS_MAX);
        let error_ms = ledger.slack().clock_error_ms;
        let left = heads.filter(|(_, job)| !granted.contains(job)).find_map(|(due, job)| {
            let live = ledger.live.get(job)?;
            let ordered = policy.batch.is_none() || live.attempts.is_empty();
            let passed_over = due + ledger.unsure_ms(live) + error_ms < newest.ready_clock;
            (ordered && passed_over).then_some((due, job, live))
        });
        let Some((due, job, live)) = left else { return };
        if self.is_news(&it.queue, job) {
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
    fn is_news(&mut self, queue: &str, job: &str) -> bool {
        self.told.insert(queue.to_owned(), job.to_owned()).is_none_or(|before| before != job)
    }

    /// The longest waiting job of `queue`, if the queue could surely deliver at `clock`. Its level is the least it may
    /// have by the clock's error.
    fn deliverable_head<'a>(
        &self,
        ledger: &'a Ledger,
        queue: &'a str,
        policy: &'a Policy,
        clock: u64,
    ) -> Option<Contender<'a>> {
        let surely = clock.saturating_sub(ledger.slack().clock_error_ms);
        if ledger.paused.contains(queue) {
            return None;
        }
        let (due, job, live) = ledger.surely_due(queue, surely).next()?;
        if let Some(limit) = &policy.rate_limit {
            let room = self.windows.get(queue).is_none_or(|window| window.has_room(limit, surely));
            (room && policy.batch.is_none()).then_some(())?;
        }
        if let Some((batch, wait_ms)) = policy.batch.as_ref().and_then(|batch| Some((batch, batch.wait_ms?))) {
            let full = batch.size as usize <= ledger.count_due(queue, surely);
            (full || wait_ms <= surely - due).then_some(())?;
        }
        Some(Contender { queue, job, live, base: policy.priority, level: policy.priority.level_after(surely - due) })
    }
}

/// The longest waiting job of the grant, with the highest level that it may have by the clock's error.
fn granted_head<'a>(ledger: &'a Ledger, it: &'a Granted, policy: &Policy) -> Option<Contender<'a>> {
    let lives = it.jobs.iter().filter_map(|lease| Some((lease, ledger.live.get(&lease.job)?)));
    let (lease, live) = lives.min_by_key(|(_, live)| live.ready_clock)?;
    let waited_ms = (it.clock + ledger.slack().clock_error_ms).saturating_sub(live.ready_clock);
    let level = policy.priority.level_after(waited_ms);
    Some(Contender { queue: &it.queue, job: &lease.job, live, base: policy.priority, level })
}

/// A higher level was passed over: for want of aging, if its queue's own priority is the lower one.
fn tell(seen: &Seen<'_>, it: &Granted, granted: &Contender<'_>, head: &Contender<'_>, notes: &mut Notes) {
    let clause = if head.base < granted.base { AGING } else { ORDER };
    let waited = |contender: &Contender<'_>| it.clock.saturating_sub(contender.live.ready_clock);
    let says = format!(
        "{} of {} (level {} after {} ms) was delivered at clock {} while {} of {} (level {} after {} ms; one level up \
         every {AGING_MS} ms) was deliverable",
        granted.job,
        granted.queue,
        granted.level,
        waited(granted),
        it.clock,
        head.job,
        head.queue,
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

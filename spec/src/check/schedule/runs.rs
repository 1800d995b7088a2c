//! `schedule/catch-up` and `schedule/drains`: the deliveries between two ticks are one run. It takes all that waited, in
//! full batches but for the last one, whether it became due at this tick or at several that were missed.
//!
//! A batch that is tried again as a whole keeps its jobs and its size, and is not counted.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Seen;
use super::super::ledger::{Ledger, Live};
use super::super::number::Queue;
use super::{scheduled, tick_at};
use crate::clause::Place;
use crate::history::{Granted, What};
use crate::verdict::Notes;

const CATCH_UP: Place = Place::of("schedule/catch-up");
const DRAINS: Place = Place::of("schedule/drains");

#[derive(Default)]
pub(super) struct Runs {
    runs: BTreeMap<Queue, Run>,
    at: u64,
    line: u64,
}

/// The deliveries of one queue since a tick.
#[derive(Debug, Default)]
struct Run {
    tick: u64,
    first_line: u64,
    /// When the newest delivery was given, on the player's clock.
    granted_at: u64,
    /// The clocks at which the jobs taken so far became due, the first two.
    dues: BTreeSet<u64>,
    /// The newest delivery that was not full.
    short: Option<Short>,
    /// Deliveries that left jobs to a later one although they had room.
    left: u32,
    /// Batches that were tried again.
    repeats: u32,
    told: bool,
}

/// A delivery that had room for more.
#[derive(Clone, Copy, Debug)]
struct Short {
    at: u64,
    clock: u64,
    line: u64,
    jobs: usize,
}

impl Short {
    /// Whether `live` was deliverable then, and is not delivered twice.
    fn could_take(&self, live: &Live, error_ms: u64) -> bool {
        let was_due = live.ready_clock.saturating_add(error_ms) <= self.clock;
        let taken = live.attempts.last().is_some_and(|attempt| self.line <= attempt.granted_line);
        was_due && live.waits_from <= self.at && !taken
    }
}

impl Runs {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        (self.at, self.line) = (seen.event.at, seen.line);
        match &seen.event.what {
            What::Granted(it) => self.grant(seen, it, notes),
            What::Drained(_) => self.finish(seen.ledger, notes),
            _ => {}
        }
    }

    pub(super) fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        for (queue, run) in std::mem::take(&mut self.runs) {
            self.judge_end(ledger, queue, &run, notes);
        }
    }

    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
        let Some((policy, every_ms)) = scheduled(seen.ledger, seen.named.queue) else {
            return;
        };
        let tick = tick_at(it.clock, every_ms);
        let queue = seen.named.queue;
        if self.runs.get(&queue).is_none_or(|run| run.tick != tick) {
            if let Some(run) = self.runs.remove(&queue) {
                self.judge_end(seen.ledger, queue, &run, notes);
            }
            let run = Run { tick, first_line: seen.line, ..Run::default() };
            self.runs.insert(queue, run);
        }
        let Some(run) = self.runs.get_mut(&queue) else {
            return;
        };
        run.granted_at = seen.event.at;
        if seen.ledger.repeats_batch(seen.named.batch, seen.jobs) {
            run.repeats += 1;
        } else {
            run.grant(seen, it, policy.batch_size_max(), notes);
        }
    }

    /// By the next tick nothing may be left of what waited at this one, unless no slot was free for it.
    fn judge_end(&self, ledger: &Ledger, queue: Queue, run: &Run, notes: &mut Notes) {
        let Some((policy, every_ms)) = scheduled(ledger, queue) else {
            return;
        };
        let head = ledger.line(queue).and_then(|line| line.jobs().next());
        let left = head.filter(|(due, _)| *due <= run.tick).and_then(|(_, job)| Some((job, ledger.live(job)?)));
        let Some((job, live)) = left else {
            return notes.exercised(DRAINS);
        };
        let until = ledger.calm.at(run.tick + every_ms);
        let since = ledger.deliverable_at(live).max(run.granted_at);
        if self.at < until || until <= since || ledger.is_paused(queue) || policy.rate_limit.is_some() {
            return;
        }
        notes.exercised(DRAINS);
        let idle_ms = ledger.calm.between(since, until);
        if ledger.slack().late_ms < idle_ms {
            let (job, queue) = (ledger.job_name(job), ledger.queue_name(queue));
            let says = format!(
                "{job} of {queue} waited at the tick at clock {}, whose run had begun, but was not delivered before the \
                 next tick; the run stood still for {idle_ms} ms with a slot free",
                run.tick
            );
            let mut lines = live.lines_and(run.first_line);
            lines.push(self.line);
            lines.sort_unstable();
            lines.dedup();
            notes.broken(DRAINS, says, lines);
        }
    }
}

impl Run {
    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, size: u32, notes: &mut Notes) {
        let leases = it.jobs.iter().zip(seen.jobs);
        let lives = leases.filter_map(|(lease, &job)| Some((lease, seen.ledger.live(job)?)));
        let one_due = self.dues.len() < 2;
        let dues = lives.clone().map(|(_, live)| live.ready_clock);
        for due in dues {
            if self.dues.len() < 2 {
                self.dues.insert(due);
            }
        }
        if one_due && 1 < self.dues.len() {
            notes.exercised(CATCH_UP);
        }
        let error_ms = seen.ledger.slack().clock_error_ms;
        let waited = self.short.and_then(|short| {
            let mut lives = lives;
            let job = lives.find(|(_, live)| short.could_take(live, error_ms));
            job.map(|(lease, _)| (short, lease.job.as_str()))
        });
        if let Some((short, job)) = waited {
            self.left += 1;
            self.judge_left(seen, it, size, short, job, notes);
        }
        if it.jobs.len() < size as usize {
            self.short = Some(Short { at: seen.event.at, clock: it.clock, line: seen.line, jobs: it.jobs.len() });
        }
    }

    /// Each batch that is tried again may stand between two parts of what waits.
    fn judge_left(&mut self, seen: &Seen<'_>, it: &Granted, size: u32, short: Short, job: &str, notes: &mut Notes) {
        if self.told || self.left <= self.repeats {
            return;
        }
        self.told = true;
        let clause = if 1 < self.dues.len() { CATCH_UP } else { DRAINS };
        let says = format!(
            "a delivery of {} after the tick at clock {} took {} of at most {size} jobs and left {job}, which waited too, \
             to delivery {}",
            it.queue, self.tick, short.jobs, it.delivery
        );
        notes.exercised(clause);
        notes.broken(clause, says, vec![short.line, seen.line]);
    }
}

//! Clauses of the family `rate`: a limited queue never starts more jobs in a window than it may, and under backlog it
//! uses what it may.
//!
//! A start is the queue's grant of one job, on the queue's clock.

use std::collections::{BTreeMap, VecDeque};

use super::ledger::Ledger;
use super::number::Queue;
use super::{Family, Seen};
use crate::clause::Place;
use crate::history::{Granted, What};
use crate::queues::{Policy, RateLimit};
use crate::verdict::Notes;

const CEILING: Place = Place::of("rate/ceiling");
const USED: Place = Place::of("rate/used");

/// A stretch of backlog is judged after so many windows, so that a lull within a long one is not averaged away.
const STRETCH_WINDOWS_MAX: u64 = 20;

#[derive(Default)]
pub(super) struct Rate {
    windows: BTreeMap<Queue, Window>,
    stretches: BTreeMap<Queue, Stretch>,
    /// The player's time of the last event.
    at: u64,
    line: u64,
}

impl Family for Rate {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.follow_backlog(seen, notes);
        match &seen.event.what {
            What::Granted(it) => self.start(seen, it, notes),
            What::Drained(_) => self.end_stretches(seen.ledger, notes),
            _ => {}
        }
        (self.at, self.line) = (seen.event.at, seen.line);
    }

    fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.end_stretches(ledger, notes);
    }
}

impl Rate {
    fn start(&mut self, seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
        let policy = seen.ledger.policy(seen.named.queue);
        let Some(limit) = policy.and_then(|policy| policy.rate_limit.as_ref()) else {
            return;
        };
        let slack = slack_ms(seen.ledger);
        let window = self.windows.entry(seen.named.queue).or_default();
        for lease in &it.jobs {
            window.judge(&it.queue, limit, slack, Start { clock: it.clock, line: seen.line }, &lease.job, notes);
            window.add(limit, it.clock, seen.line);
            if let Some(stretch) = self.stretches.get_mut(&seen.named.queue) {
                stretch.starts += 1;
            }
        }
    }

    /// The ledger stands as it stood from the last event to this one: if a queue had a backlog that it could have
    /// worked on at the last event, it had it all that time.
    fn follow_backlog(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        let ledger = seen.ledger;
        if seen.event.at == self.at {
            return; // What lasts no time interrupts nothing.
        }
        for (queue, policy) in ledger.queues() {
            let Some(limit) = &policy.rate_limit else {
                continue;
            };
            if self.line != 0 && ledger.calm.now(self.at) && has_backlog(ledger, queue, policy) {
                let begin = Stretch::begin(self.at, self.line, false);
                let stretch = self.stretches.entry(queue).or_insert(begin);
                (stretch.to, stretch.last) = (seen.event.at, seen.line);
                if limit.per_ms.saturating_mul(STRETCH_WINDOWS_MAX) <= stretch.to - stretch.from {
                    let told = self.end_stretch(ledger, queue, policy, notes);
                    let next = Stretch::begin(seen.event.at, seen.line, told);
                    self.stretches.insert(queue, next);
                }
            } else {
                self.end_stretch(ledger, queue, policy, notes);
            }
        }
    }

    fn end_stretches(&mut self, ledger: &Ledger, notes: &mut Notes) {
        for (queue, policy) in ledger.queues() {
            self.end_stretch(ledger, queue, policy, notes);
        }
    }

    /// Whether a breach was told of the stretch that ends.
    fn end_stretch(&mut self, ledger: &Ledger, queue: Queue, policy: &Policy, notes: &mut Notes) -> bool {
        let Some(stretch) = self.stretches.remove(&queue) else {
            return false;
        };
        let Some(limit) = &policy.rate_limit else {
            return false;
        };
        stretch.judge(ledger, ledger.queue_name(queue), limit, policy.batch_size_max(), notes)
    }
}

/// How much shorter than stated a window may look to this player: seen from outside, a handler's start stands for its grant.
fn slack_ms(ledger: &Ledger) -> u64 {
    let slack = ledger.slack();
    slack.clock_error_ms + if ledger.header.inferred { slack.late_ms } else { 0 }
}

/// Whether the next delivery waits for nothing but its allowance. With batches that is sure only of a full one; on a
/// schedule it never is.
fn has_backlog(ledger: &Ledger, queue: Queue, policy: &Policy) -> bool {
    let waiting = ledger.count_due(queue, ledger.clock);
    let enough = policy.batch_size_max() as usize <= waiting;
    enough && policy.schedule.is_none() && !ledger.is_paused(queue)
}

/// One job that was started.
#[derive(Clone, Copy, Debug)]
struct Start {
    clock: u64,
    line: u64,
}

/// The newest starts of a limited queue, as many as one window may hold.
#[derive(Debug, Default)]
pub(super) struct Window {
    starts: VecDeque<Start>,
    /// Until when further starts belong to a breach that has been told.
    told_until: u64,
}

impl Window {
    /// A job was started.
    pub(super) fn add(&mut self, limit: &RateLimit, clock: u64, line: u64) {
        self.starts.push_back(Start { clock, line });
        if (limit.starts as usize) < self.starts.len() {
            self.starts.pop_front();
        }
    }

    /// Whether one more start at `clock` is surely within the limit.
    pub(super) fn has_room(&self, limit: &RateLimit, clock: u64) -> bool {
        self.oldest(limit).is_none_or(|oldest| oldest.clock.saturating_add(limit.per_ms) <= clock)
    }

    /// The start that must be a whole window back when the next comes.
    fn oldest(&self, limit: &RateLimit) -> Option<Start> {
        let full = limit.starts as usize <= self.starts.len();
        self.starts.front().copied().filter(|_| full)
    }

    fn judge(&mut self, queue: &str, limit: &RateLimit, slack: u64, start: Start, job: &str, notes: &mut Notes) {
        let Some(oldest) = self.oldest(limit) else {
            return;
        };
        if limit.per_ms <= slack {
            return; // A window that short this player cannot tell from none.
        }
        notes.exercised(CEILING);
        let passed = start.clock.saturating_sub(oldest.clock);
        if limit.per_ms <= passed + slack || start.clock < self.told_until {
            return;
        }
        self.told_until = start.clock.saturating_add(limit.per_ms);
        let says = format!(
            "{queue} may start {} jobs in {} ms, but {} started within {passed} ms (clock {} to {}); {job} is one too \
             many",
            limit.starts,
            limit.per_ms,
            limit.starts + 1,
            oldest.clock,
            start.clock,
        );
        let mut lines: Vec<u64> = self.starts.iter().map(|start| start.line).chain([start.line]).collect();
        lines.dedup();
        notes.broken(CEILING, says, lines);
    }
}

/// Time on end in which a limited queue had jobs to deliver and nothing but the limit to hold it.
#[derive(Debug)]
struct Stretch {
    /// From when to when, on the player's clock.
    from: u64,
    to: u64,
    starts: u64,
    first: u64,
    last: u64,
    /// Whether a breach was told of its part before `from`.
    told: bool,
}

impl Stretch {
    fn begin(at: u64, line: u64, told: bool) -> Self {
        Self { from: at, to: at, starts: 0, first: line, last: line, told }
    }

    /// Starts may come in bursts, one a window. So one window is left out of the account: the stretch may begin just
    /// after a burst and end just before one. And each further burst may be late.
    fn judge(&self, ledger: &Ledger, queue: &str, limit: &RateLimit, batch: u32, notes: &mut Notes) -> bool {
        let length = self.to - self.from;
        if length < limit.per_ms.saturating_mul(2) {
            return self.told;
        }
        notes.exercised(USED);
        let slack = ledger.slack();
        let counted = length.saturating_sub(limit.per_ms + slack.late_ms + slack.clock_error_ms);
        // A full batch may not fit into what is left of a window.
        let usable = u128::from(limit.starts.saturating_sub(batch - 1));
        let least = usable * u128::from(counted) * 95 / (u128::from(limit.per_ms + slack.late_ms) * 100);
        let broken = u128::from(self.starts) < least;
        if broken && !self.told {
            let says = format!(
                "{queue} had jobs to deliver for {length} ms from {} to {} and may start {} in {} ms, but started {}; \
                 95 % of its allowance is at least {least}",
                self.from, self.to, limit.starts, limit.per_ms, self.starts,
            );
            notes.broken(USED, says, vec![self.first, self.last]);
        }
        broken || self.told
    }
}

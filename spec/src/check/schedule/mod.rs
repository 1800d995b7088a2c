//! Clauses of the family `schedule`: a scheduled queue delivers at the clock's marks, all that waited, each event once.
//!
//! `ticks` checks when deliveries begin, `runs` what the deliveries of one tick take together, `storing` what reaches
//! the world outside. Ticks are on the queue's clock; lateness is calm time on the player's.

mod runs;
mod storing;
mod ticks;

use super::ledger::Ledger;
use super::number::Queue;
use super::{Family, Seen};
use crate::queues::Policy;
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Schedule {
    ticks: ticks::Ticks,
    runs: runs::Runs,
    storing: storing::Storing,
}

impl Family for Schedule {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.ticks.see(seen, notes);
        self.runs.see(seen, notes);
        self.storing.see(seen, notes);
    }

    fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.ticks.finish(ledger, notes);
        self.runs.finish(ledger, notes);
    }
}

/// A scheduled queue's policy and the distance of its ticks.
fn scheduled(ledger: &Ledger, queue: Queue) -> Option<(&Policy, u64)> {
    let policy = ledger.policy(queue)?;
    Some((policy, policy.schedule.as_ref()?.every_ms))
}

/// The last tick at or before `clock`.
fn tick_at(clock: u64, every_ms: u64) -> u64 {
    clock - clock % every_ms
}

/// The first tick at or after `clock`.
fn tick_from(clock: u64, every_ms: u64) -> u64 {
    tick_at(clock.saturating_add(every_ms - 1), every_ms)
}

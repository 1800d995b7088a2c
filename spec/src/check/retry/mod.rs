//! Clauses of the family `retry`: how often a job is delivered, when it is given up, and who may say so.
//!
//! Deliveries are counted by the grants seen, whatever number the queue gives them.

mod caused;
mod count;
mod limits;
mod owner;
mod reach;

use std::collections::BTreeSet;

use super::ledger::{Ledger, Live};
use super::number::{Job, Queue};
use super::{Family, Seen};
use crate::clause::Place;
use crate::verdict::Notes;

/// The clause that redeliveries are counted for.
pub(super) const CAUSED: Place = Place::of("retry/caused");

#[derive(Default)]
pub(super) struct Retry {
    limits: limits::Limits,
    count: count::Count,
    owner: owner::Owner,
    caused: caused::Caused,
}

impl Family for Retry {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.limits.see(seen, notes);
        self.count.see(seen, notes);
        self.owner.see(seen, notes);
        self.caused.see(seen, notes);
    }
}

/// Breaches that have been told of, so that each is told once.
#[derive(Default)]
struct ToldOnce(BTreeSet<(Place, Job)>);

impl ToldOnce {
    /// Notes that `clause` is broken for `job`, unless that was noted before.
    fn broken(&mut self, clause: Place, job: Job, says: String, lines: Vec<u64>, notes: &mut Notes) {
        if self.0.insert((clause, job)) {
            notes.broken(clause, says, lines);
        }
    }
}

/// How many deliveries the policy of `queue` allows; `None` if there is no end, or no such queue.
fn attempts_max(ledger: &Ledger, queue: Queue) -> Option<u32> {
    ledger.policy(queue)?.attempts.max()
}

/// Deliveries since the job was created or redriven.
fn deliveries(live: &Live) -> u32 {
    live.attempts.len() as u32
}

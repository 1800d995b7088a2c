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
use super::{Family, Seen};
use crate::verdict::Notes;

/// The clause that redeliveries are counted for.
pub(super) const CAUSED: &str = "retry/caused";

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
struct ToldOnce(BTreeSet<(&'static str, String)>);

impl ToldOnce {
    /// Notes that `clause` is broken for `job`, unless that was noted before.
    fn broken(&mut self, clause: &'static str, job: &str, says: String, lines: Vec<u64>, notes: &mut Notes) {
        if self.0.insert((clause, job.to_owned())) {
            notes.broken(clause, says, lines);
        }
    }
}

/// How many deliveries the policy of `queue` allows; `None` if there is no end, or no such queue.
fn attempts_max(ledger: &Ledger, queue: &str) -> Option<u32> {
    ledger.policy(queue)?.attempts.max()
}

/// Deliveries since the job was created or redriven.
fn deliveries(live: &Live) -> u32 {
    live.attempts.len() as u32
}

//! Clauses of the family `dead-letter`: which jobs are in a dead letter queue, with what, and how they come back.
//!
//! That a job's attempts are spent follows from the policy and the deliveries counted, not from the queue's word alone.

mod intact;
mod reads;
mod redrive;
mod spent;

use super::ledger::Ledger;
use super::{Family, Seen};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct DeadLetter {
    spent: spent::Spent,
    reads: reads::Reads,
    redrive: redrive::Redrives,
}

impl Family for DeadLetter {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.redrive.see(seen, &self.spent, notes);
        self.reads.see(seen, &mut self.spent, notes);
        self.spent.see(seen, notes);
    }

    fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.redrive.finish(ledger, notes);
    }
}

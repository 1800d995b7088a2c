//! Clauses of the family `batch`: what one delivery may hold, when it must go, and what of it is tried again.
//!
//! `holding` checks each delivery by itself, `waiting` the two bounds on time, `partial` what follows a delivery whose
//! jobs ended differently.

mod holding;
mod partial;
mod waiting;

use super::ledger::Ledger;
use super::{Family, Seen};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Batch {
    waiting: waiting::Waiting,
    partial: partial::Partial,
}

impl Family for Batch {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        holding::see(seen, notes);
        self.waiting.see(seen, notes);
        self.partial.see(seen, notes);
    }

    fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.waiting.finish(ledger, notes);
    }
}

//! Clauses of the family `timeout`: a handler is stopped at its timeout, and an answer that comes too late changes nothing.

mod enforced;
mod late_result;

use super::{Family, Seen};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Timeout {
    enforced: enforced::Enforced,
    late_result: late_result::LateResult,
}

impl Family for Timeout {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.enforced.see(seen, notes);
        self.late_result.see(seen, notes);
    }
}

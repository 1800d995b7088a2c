//! Clauses of the family `job`: what clients were told is compared with what the queue took in and handed out.
//!
//! An enqueue whose reply was lost may have made its job or not; whatever hangs on that accepts both.

mod demand;
mod loss;
mod made;
mod payload;

use super::ledger::{Asked, Enqueue, Ledger, Question};
use super::number::Job as JobNumber;
use super::{Family, Seen};
use crate::history::{Then, What};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Job {
    loss: loss::Loss,
    made: made::Made,
    payload: payload::Payload,
}

impl Family for Job {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.loss.see(seen, notes);
        self.made.see(seen, notes);
        self.payload.see(seen, &self.made, notes);
    }

    fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.loss.finish(ledger, notes);
    }
}

/// The enqueue that is answered, if one is.
fn enqueue_of<'a>(seen: &Seen<'a>) -> Option<(&'a Asked, &'a Enqueue)> {
    let asked = seen.asked?;
    match &asked.what {
        Question::Enqueue(enqueue) => Some((asked, enqueue)),
        _ => None,
    }
}

/// The job that ends with this event, by the queue's word.
fn ends(seen: &Seen<'_>) -> Option<JobNumber> {
    match &seen.event.what {
        What::Settled(it) if it.accepted => match it.then {
            Some(Then::Completed | Then::Failed | Then::DeadLetter) => Some(seen.named.job),
            Some(Then::RetryAt(_)) | None => None,
        },
        What::Cancelled(_) => Some(seen.named.job),
        _ => None,
    }
}

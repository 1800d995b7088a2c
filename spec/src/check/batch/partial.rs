//! `batch/partial`: of a delivery whose jobs ended differently, only those that failed are tried again.
//!
//! The handler's word on each job (`finished`) is compared with how the queue settled it, and with what it grants later.

use super::super::Seen;
use super::super::ledger::Live;
use super::super::number::Job;
use super::super::print::Table;
use crate::clause::Place;
use crate::history::{AttemptOutcome, Ended, Finished, Granted, Settled, Then, What};
use crate::verdict::Notes;

const PARTIAL: Place = Place::of("batch/partial");

#[derive(Default)]
pub(super) struct Partial {
    /// Jobs that their handler completed beside others that it did not, until the queue has settled them.
    said: Table<Job, Said>,
    /// Of those, the ones that the queue has settled as completed, with the lines that say so.
    done: Table<Job, [u64; 2]>,
}

/// The handler completed one job of a delivery, and others not.
#[derive(Clone, Copy, Debug)]
struct Said {
    attempt: u32,
    line: u64,
}

impl Partial {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Finished(it) => self.finish(seen, it, notes),
            What::Settled(it) if it.accepted => self.settle(seen, it, notes),
            What::Granted(it) => self.grant(seen, it, notes),
            What::Cancelled(_) => drop(self.said.remove(seen.named.job)),
            _ => {}
        }
    }

    fn finish(&mut self, seen: &Seen<'_>, it: &Finished, notes: &mut Notes) {
        let completed = |ended: &Ended| ended.outcome == AttemptOutcome::Completed;
        if !it.jobs.iter().any(completed) || it.jobs.iter().all(completed) {
            return;
        }
        notes.exercised(PARTIAL);
        for (ended, &job) in it.jobs.iter().zip(seen.jobs).filter(|(ended, _)| completed(ended)) {
            let attempt = seen.ledger.live(job).and_then(Live::leased);
            if attempt.is_some_and(|attempt| attempt.number == ended.attempt) {
                self.said.insert(job, Said { attempt: ended.attempt, line: seen.line });
            }
        }
    }

    fn settle(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        let Some(said) = self.said.get(seen.named.job).copied().filter(|said| said.attempt == it.attempt) else {
            return;
        };
        self.said.remove(seen.named.job);
        match (it.outcome, it.then) {
            (AttemptOutcome::Completed, Some(Then::Completed)) => {
                self.done.insert(seen.named.job, [said.line, seen.line]);
            }
            // The answer never came, or came for a job that nobody wants any more.
            (AttemptOutcome::Lost | AttemptOutcome::Cancelled, _) => {}
            _ => {
                let says = format!(
                    "the handler completed {} (attempt {}) and not others of its batch, but the queue did not settle \
                     it as completed",
                    it.job, it.attempt
                );
                notes.broken(PARTIAL, says, vec![said.line, seen.line]);
            }
        }
    }

    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
        let again = seen.jobs.iter().copied().filter(|job| self.done.contains(*job)).collect();
        for job in seen.ledger.known.jobs.in_order(again) {
            if let Some([said, settled]) = self.done.remove(job) {
                let job = seen.ledger.job_name(job);
                let says = format!(
                    "{job} was completed while others of its batch failed, and is delivered again in {}",
                    it.delivery
                );
                notes.broken(PARTIAL, says, vec![said, settled, seen.line]);
            }
        }
    }
}

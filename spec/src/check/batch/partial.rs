//! `batch/partial`: of a delivery whose jobs ended differently, only those that failed are tried again.
//!
//! The handler's word on each job (`finished`) is compared with how the queue settled it, and with what it grants later.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Seen;
use super::super::ledger::Live;
use crate::history::{AttemptOutcome, Ended, Finished, Granted, Settled, Then, What};
use crate::verdict::Notes;

const PARTIAL: &str = "batch/partial";

#[derive(Default)]
pub(super) struct Partial {
    /// Jobs that their handler completed beside others that it did not, until the queue has settled them.
    said: BTreeMap<String, Said>,
    /// Of those, the ones that the queue has settled as completed, with the lines that say so.
    done: BTreeMap<String, [u64; 2]>,
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
            What::Cancelled(it) => drop(self.said.remove(&it.job)),
            _ => {}
        }
    }

    fn finish(&mut self, seen: &Seen<'_>, it: &Finished, notes: &mut Notes) {
        let (completed, others): (Vec<&Ended>, Vec<&Ended>) =
            it.jobs.iter().partition(|ended| ended.outcome == AttemptOutcome::Completed);
        if completed.is_empty() || others.is_empty() {
            return;
        }
        notes.exercised(PARTIAL);
        let leased = |ended: &&Ended| {
            let attempt = seen.ledger.live.get(&ended.job).and_then(Live::leased);
            attempt.is_some_and(|attempt| attempt.number == ended.attempt)
        };
        for ended in completed.into_iter().filter(leased) {
            self.said.insert(ended.job.clone(), Said { attempt: ended.attempt, line: seen.line });
        }
    }

    fn settle(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        let Some(said) = self.said.get(&it.job).copied().filter(|said| said.attempt == it.attempt) else {
            return;
        };
        self.said.remove(&it.job);
        match (it.outcome, it.then) {
            (AttemptOutcome::Completed, Some(Then::Completed)) => {
                self.done.insert(it.job.clone(), [said.line, seen.line]);
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
        let again: BTreeSet<&str> = it.jobs.iter().map(|lease| lease.job.as_str()).collect();
        for job in again {
            if let Some([said, settled]) = self.done.remove(job) {
                let says = format!(
                    "{job} was completed while others of its batch failed, and is delivered again in {}",
                    it.delivery
                );
                notes.broken(PARTIAL, says, vec![said, settled, seen.line]);
            }
        }
    }
}

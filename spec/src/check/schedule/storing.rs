//! `schedule/stored-once`: each event of a scheduled queue is stored once, however often its batch is sent.
//!
//! A queue of which nothing is ever stored is taken to have handlers that store nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Seen;
use super::scheduled;
use crate::history::{Settled, Stored, Then, What};
use crate::verdict::Notes;

const STORED_ONCE: &str = "schedule/stored-once";

#[derive(Default)]
pub(super) struct Storing {
    /// Where each event was stored.
    stored: BTreeMap<String, u64>,
    /// Events that were completed and not stored, with the line that completed them, per queue.
    missing: BTreeMap<String, BTreeMap<String, u64>>,
    /// Queues of which something was stored.
    storing: BTreeSet<String>,
}

impl Storing {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Stored(it) => self.store(seen, it, notes),
            What::Settled(it) if it.accepted && it.then == Some(Then::Completed) => self.complete(seen, it),
            What::Drained(_) => self.drain(seen, notes),
            _ => {}
        }
    }

    fn store(&mut self, seen: &Seen<'_>, it: &Stored, notes: &mut Notes) {
        if scheduled(seen.ledger, &it.queue).is_none() {
            return;
        }
        notes.exercised(STORED_ONCE);
        if !it.applied {
            return;
        }
        self.storing.insert(it.queue.clone());
        let mut again = None;
        for job in &it.jobs {
            if let Some(missing) = self.missing.get_mut(&it.queue) {
                missing.remove(job);
            }
            if let Some(&before) = self.stored.get(job) {
                again.get_or_insert((job, before));
            } else {
                self.stored.insert(job.clone(), seen.line);
            }
        }
        if let Some((job, before)) = again {
            let batch = it.batch.as_deref().unwrap_or("no batch id");
            let says = format!("{job} of {} was stored already, and is stored again (under {batch})", it.queue);
            notes.broken(STORED_ONCE, says, vec![before, seen.line]);
        }
    }

    fn complete(&mut self, seen: &Seen<'_>, it: &Settled) {
        let Some(live) = seen.ledger.live.get(&it.job) else {
            return;
        };
        if scheduled(seen.ledger, &live.queue).is_some() && !self.stored.contains_key(&it.job) {
            let missing = self.missing.entry(live.queue.clone()).or_default();
            missing.insert(it.job.clone(), seen.line);
        }
    }

    fn drain(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        for (queue, missing) in std::mem::take(&mut self.missing) {
            if !self.storing.contains(&queue) {
                continue;
            }
            for (job, completed) in missing {
                let says = format!("{job} of {queue} was completed, but never stored");
                notes.broken(STORED_ONCE, says, vec![completed, seen.line]);
            }
        }
    }
}

//! `schedule/stored-once`: each event of a scheduled queue is stored once, however often its batch is sent.
//!
//! A queue of which nothing is ever stored is taken to have handlers that store nothing.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::super::Seen;
use super::super::number::{Job, Queue};
use super::super::print::Table;
use super::scheduled;
use crate::clause::Place;
use crate::history::{Stored, Then, What};
use crate::verdict::Notes;

const STORED_ONCE: Place = Place::of("schedule/stored-once");

#[derive(Default)]
pub(super) struct Storing {
    /// Where each event was stored.
    stored: Table<Job, u64>,
    /// Events that were completed and not stored, with the line that completed them, per queue.
    missing: BTreeMap<Queue, Table<Job, u64>>,
    /// Queues of which something was stored.
    storing: BTreeSet<Queue>,
}

impl Storing {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Stored(it) => self.store(seen, it, notes),
            What::Settled(it) if it.accepted && it.then == Some(Then::Completed) => self.complete(seen),
            What::Drained(_) => self.drain(seen, notes),
            _ => {}
        }
    }

    fn store(&mut self, seen: &Seen<'_>, it: &Stored, notes: &mut Notes) {
        let queue = seen.named.queue;
        if scheduled(seen.ledger, queue).is_none() {
            return;
        }
        notes.exercised(STORED_ONCE);
        if !it.applied {
            return;
        }
        self.storing.insert(queue);
        let mut again = None;
        for (name, &job) in it.jobs.iter().zip(seen.jobs) {
            if let Some(missing) = self.missing.get_mut(&queue) {
                missing.remove(job);
            }
            match self.stored.entry(job) {
                Entry::Occupied(before) => drop(again.get_or_insert((name, *before.get()))),
                Entry::Vacant(first) => drop(first.insert(seen.line)),
            }
        }
        if let Some((job, before)) = again {
            let batch = it.batch.as_deref().unwrap_or("no batch id");
            let says = format!("{job} of {} was stored already, and is stored again (under {batch})", it.queue);
            notes.broken(STORED_ONCE, says, vec![before, seen.line]);
        }
    }

    fn complete(&mut self, seen: &Seen<'_>) {
        let Some(live) = seen.ledger.live(seen.named.job) else {
            return;
        };
        if scheduled(seen.ledger, live.queue).is_some() && !self.stored.contains(seen.named.job) {
            let missing = self.missing.entry(live.queue).or_default();
            missing.insert(seen.named.job, seen.line);
        }
    }

    fn drain(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        for (queue, missing) in std::mem::take(&mut self.missing) {
            if !self.storing.contains(&queue) {
                continue;
            }
            let queue = seen.ledger.queue_name(queue);
            for job in seen.ledger.known.jobs.in_order(missing.keys()) {
                let completed = missing.get(job).copied().unwrap_or_default();
                let job = seen.ledger.job_name(job);
                let says = format!("{job} of {queue} was completed, but never stored");
                notes.broken(STORED_ONCE, says, vec![completed, seen.line]);
            }
        }
    }
}

//! What the client of an enqueue is told: the id of the job that its payload went to (`dedup/coalesce`), never that of a
//! job for another entity (`dedup/distinct`).
//!
//! The queue's word may be recorded after the reply, so a reply is only judged at the end. Requests with an idempotency
//! key are passed over: they may be answered with the job that an earlier request made.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Seen;
use super::{COALESCE, DISTINCT, Entity, entity};
use crate::history::{Accepted, Enqueue, Reply, Told, What};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Replies {
    /// Open enqueues and, in `told`, answered ones that the queue's word does not bear out yet.
    open: BTreeMap<Entity, BTreeMap<u64, Ask>>,
    told: BTreeMap<Entity, Vec<(Ask, String, u64)>>,
}

/// An enqueue for an entity.
#[derive(Debug)]
struct Ask {
    payload: String,
    line: u64,
    /// The jobs that the queue says it gave this payload to since, with the first line that says so.
    went_to: BTreeSet<(String, u64)>,
}

impl Ask {
    fn went_to(&self, job: &str) -> bool {
        self.went_to.iter().any(|(candidate, _)| candidate == job)
    }

    fn note(&mut self, it: &Accepted, line: u64) {
        if self.payload == it.payload && !self.went_to(&it.job) {
            self.went_to.insert((it.job.clone(), line));
        }
    }
}

impl Replies {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Enqueue(it) if it.idempotency_key.is_none() => self.ask(seen, it),
            What::Accepted(it) => self.accept(seen, it),
            What::Reply(it) => self.reply(seen, it, notes),
            _ => {}
        }
    }

    pub(super) fn finish(&mut self, notes: &mut Notes) {
        for ((_, key), told) in std::mem::take(&mut self.told) {
            for (ask, job, line) in told {
                // A payload that the queue never spoke of is lost, which is another clause's business.
                let Some((went_to, accepted)) = ask.went_to.first() else {
                    continue;
                };
                let says =
                    format!("the client's enqueue for {key} went to {went_to}, but it was told that its job is {job}");
                let mut lines = vec![ask.line, *accepted, line];
                lines.sort_unstable();
                notes.broken(COALESCE, says, lines);
            }
        }
    }

    fn ask(&mut self, seen: &Seen<'_>, it: &Enqueue) {
        let Some(entity) = entity(seen.ledger, &it.queue, it.key.as_deref()) else {
            return;
        };
        let ask = Ask { payload: it.payload.clone(), line: seen.line, went_to: BTreeSet::new() };
        self.open.entry(entity).or_default().insert(it.op, ask);
    }

    fn accept(&mut self, seen: &Seen<'_>, it: &Accepted) {
        let Some(entity) = entity(seen.ledger, &it.queue, it.key.as_deref()) else {
            return;
        };
        for ask in self.open.get_mut(&entity).into_iter().flat_map(BTreeMap::values_mut) {
            ask.note(it, seen.line);
        }
        let Some(told) = self.told.get_mut(&entity) else {
            return;
        };
        for (ask, ..) in told.iter_mut() {
            ask.note(it, seen.line);
        }
        told.retain(|(ask, job, _)| !ask.went_to(job));
        if told.is_empty() {
            self.told.remove(&entity);
        }
    }

    fn reply(&mut self, seen: &Seen<'_>, it: &Reply, notes: &mut Notes) {
        let Some((_, What::Enqueue(asked))) = seen.ledger.open_ops.get(&it.op) else {
            return;
        };
        let Some(entity) = entity(seen.ledger, &asked.queue, asked.key.as_deref()) else {
            return;
        };
        let Some(open) = self.open.get_mut(&entity) else {
            return;
        };
        let ask = open.remove(&it.op);
        if open.is_empty() {
            self.open.remove(&entity);
        }
        let (Some(ask), Told::Ok, Some(job)) = (ask, it.outcome, &it.job) else {
            return;
        };
        if ask.went_to(job) {
            return; // If that was wrong, the queue's own line was judged.
        }
        match seen.ledger.live.get(job) {
            Some(live) if live.key != asked.key => {
                let theirs = live.key.as_deref().unwrap_or("no entity");
                let says = format!("an enqueue for {} was answered with {job}, a job for {theirs}", entity.1);
                notes.broken(DISTINCT, says, live.lines_and(seen.line));
            }
            _ => self.told.entry(entity).or_default().push((ask, job.clone(), seen.line)),
        }
    }
}

//! What the client of an enqueue is told: the id of the job that its payload went to (`dedup/coalesce`), never that of a
//! job for another entity (`dedup/distinct`).
//!
//! The queue's word may be recorded after the reply, so a reply is only judged at the end. Requests with an idempotency
//! key are passed over: they may be answered with the job that an earlier request made.

use super::super::Seen;
use super::super::ledger::{Ledger, Question};
use super::super::number::Job;
use super::super::print::{Print, Table};
use super::{COALESCE, DISTINCT, Entity, entity};
use crate::history::{Reply, Told, What};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Replies {
    /// Open enqueues and, in `told`, answered ones that the queue's word does not bear out yet.
    open: Table<Entity, Vec<Ask>>,
    told: Table<Entity, Vec<(Ask, Job, u64)>>,
}

/// An enqueue for an entity.
#[derive(Debug)]
struct Ask {
    op: u64,
    payload: Print,
    line: u64,
    /// The jobs that the queue says it gave this payload to since, with the first line that says so.
    went_to: Vec<(Job, u64)>,
}

impl Ask {
    fn went_to(&self, job: Job) -> bool {
        self.went_to.iter().any(|(candidate, _)| *candidate == job)
    }

    /// The queue says on this line that a payload of the entity went to a job.
    fn note(&mut self, seen: &Seen<'_>) {
        if self.payload == seen.named.payload && !self.went_to(seen.named.job) {
            self.went_to.push((seen.named.job, seen.line));
        }
    }
}

impl Replies {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Enqueue(it) if it.idempotency_key.is_none() => self.ask(seen, it.op),
            What::Accepted(_) => self.accept(seen),
            What::Reply(it) => self.reply(seen, it, notes),
            _ => {}
        }
    }

    pub(super) fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        let mut told = std::mem::take(&mut self.told);
        let mut entities = told.keys();
        entities.sort_by_key(|(queue, key)| (ledger.queue_name(*queue), ledger.known.keys.text(*key)));
        for entity in entities {
            let key = ledger.known.keys.text(entity.1);
            for (ask, job, line) in told.remove(entity).unwrap_or_default() {
                // A payload that the queue never spoke of is lost, which is another clause's business.
                let first = ask.went_to.iter().min_by_key(|(job, _)| ledger.job_name(*job));
                let Some((went_to, accepted)) = first else {
                    continue;
                };
                let (went_to, job) = (ledger.job_name(*went_to), ledger.job_name(job));
                let says =
                    format!("the client's enqueue for {key} went to {went_to}, but it was told that its job is {job}");
                let mut lines = vec![ask.line, *accepted, line];
                lines.sort_unstable();
                notes.broken(COALESCE, says, lines);
            }
        }
    }

    fn ask(&mut self, seen: &Seen<'_>, op: u64) {
        let Some(entity) = entity(seen.ledger, &seen.named) else {
            return;
        };
        let open = self.open.at(entity);
        open.retain(|ask| ask.op != op);
        open.push(Ask { op, payload: seen.named.payload, line: seen.line, went_to: Vec::new() });
    }

    fn accept(&mut self, seen: &Seen<'_>) {
        let Some(entity) = entity(seen.ledger, &seen.named) else {
            return;
        };
        self.open.get_mut(entity).into_iter().flatten().for_each(|ask| ask.note(seen));
        let Some(told) = self.told.get_mut(entity) else {
            return;
        };
        told.iter_mut().for_each(|(ask, ..)| ask.note(seen));
        told.retain(|(ask, job, _)| !ask.went_to(*job));
        if told.is_empty() {
            self.told.remove(entity);
        }
    }

    fn reply(&mut self, seen: &Seen<'_>, it: &Reply, notes: &mut Notes) {
        let Some(asked) = seen.asked.filter(|asked| matches!(asked.what, Question::Enqueue(_))) else {
            return;
        };
        let Some(entity) = entity(seen.ledger, &asked.named) else {
            return;
        };
        let Some(open) = self.open.get_mut(entity) else {
            return;
        };
        let ask = open.iter().position(|ask| ask.op == it.op).map(|place| open.swap_remove(place));
        if open.is_empty() {
            self.open.remove(entity);
        }
        let (Some(ask), Told::Ok, Some(name)) = (ask, it.outcome, &it.job) else {
            return;
        };
        let job = seen.named.job;
        if ask.went_to(job) {
            return; // If that was wrong, the queue's own line was judged.
        }
        match seen.ledger.live(job) {
            Some(live) if live.key != asked.named.key => {
                let keys = &seen.ledger.known.keys;
                let (mine, theirs) = (keys.text(entity.1), live.key.map_or("no entity", |key| keys.text(key)));
                let says = format!("an enqueue for {mine} was answered with {name}, a job for {theirs}");
                notes.broken(DISTINCT, says, live.lines_and(seen.line));
            }
            _ => self.told.at(entity).push((ask, job, seen.line)),
        }
    }
}

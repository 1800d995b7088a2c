//! What the client of an enqueue is told: the id of the job that its payload went to (`dedup/coalesce`), never that of a
//! job for another entity (`dedup/distinct`); and that the payload which was acknowledged went to a job at all
//! (`job/no-loss`).
//!
//! The queue's word may be recorded after the reply, so a reply is only judged at the end, and a loss once all has drained.
//! Requests with an idempotency key are passed over: they may be answered with the job that an earlier request made.

use super::super::Seen;
use super::super::ledger::{Ledger, Question};
use super::super::number::Job;
use super::super::print::{Print, Table};
use super::{COALESCE, DISTINCT, Entity, entity};
use crate::clause::Place;
use crate::history::{Accepted, Enqueue, How, Reply, Sight, Told, What};
use crate::verdict::Notes;

const NO_LOSS: Place = Place::of("job/no-loss");

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
    /// Whether a job of the entity surely got this payload, or held it when it was asked.
    taken: bool,
}

impl Ask {
    fn went_to(&self, job: Job) -> bool {
        self.went_to.iter().any(|(candidate, _)| *candidate == job)
    }

    /// The queue says on this line that a payload of the entity went to a job.
    fn note(&mut self, seen: &Seen<'_>, it: &Accepted) {
        if self.payload != seen.named.payload {
            return;
        }
        if !self.went_to(seen.named.job) {
            self.went_to.push((seen.named.job, seen.line));
        }
        // What is only replayed gives no job anything. The request that it repeats has a line of its own.
        let holds = || seen.ledger.live(seen.named.job).is_some_and(|live| *live.payload == *it.payload);
        self.taken |= it.how != How::Replayed || holds();
    }
}

/// Answered asks that nothing is left to be said of need not be kept.
fn is_open(ask: &Ask, job: Job) -> bool {
    !(ask.taken && ask.went_to(job))
}

impl Replies {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Enqueue(it) if it.idempotency_key.is_none() => self.ask(seen, it),
            What::Accepted(it) => self.accept(seen, it),
            What::Reply(it) => self.reply(seen, it, notes),
            What::Drained(_) => self.drain(seen, notes),
            _ => {}
        }
    }

    pub(super) fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        let mut told = std::mem::take(&mut self.told);
        for entity in in_order(&told, ledger) {
            let key = ledger.known.keys.text(entity.1);
            for (ask, job, line) in told.remove(entity).unwrap_or_default() {
                if ask.went_to(job) {
                    continue;
                }
                // A payload that the queue never spoke of is lost, which is told once the queue has drained.
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

    /// Every payload that was acknowledged must have gone to a job by now. Only the queue's own word tells that it did not.
    fn drain(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        let ledger = seen.ledger;
        if ledger.header.inferred || !ledger.header.sees(Sight::Queue) {
            return;
        }
        for entity in in_order(&self.told, ledger) {
            let key = ledger.known.keys.text(entity.1);
            for (ask, job, line) in self.told.get_mut(entity).into_iter().flatten().filter(|(ask, ..)| !ask.taken) {
                let queue = ledger.queue_name(entity.0);
                let says = format!(
                    "an enqueue for {key} of {queue} was answered with {}, but its payload never went to any job",
                    ledger.job_name(*job),
                );
                ask.taken = true; // It is told of once.
                let replayed = ask.went_to.iter().filter(|(went_to, _)| went_to == job).map(|(_, line)| *line);
                let mut lines: Vec<u64> = [ask.line, *line].into_iter().chain(replayed).collect();
                lines.sort_unstable();
                lines.push(seen.line);
                notes.exercised(NO_LOSS);
                notes.broken(NO_LOSS, says, lines);
            }
        }
    }

    fn ask(&mut self, seen: &Seen<'_>, it: &Enqueue) {
        let Some(entity) = entity(seen.ledger, &seen.named) else {
            return;
        };
        // Whoever asks for what a job of the entity holds already loses nothing if that stays as it is.
        let mut live = seen.ledger.line(entity.0).into_iter().flat_map(|line| line.of_key(entity.1));
        let taken = live.any(|job| seen.ledger.live(job).is_some_and(|live| *live.payload == *it.payload));
        let open = self.open.at(entity);
        open.retain(|ask| ask.op != it.op);
        open.push(Ask { op: it.op, payload: seen.named.payload, line: seen.line, went_to: Vec::new(), taken });
    }

    fn accept(&mut self, seen: &Seen<'_>, it: &Accepted) {
        let Some(entity) = entity(seen.ledger, &seen.named) else {
            return;
        };
        self.open.get_mut(entity).into_iter().flatten().for_each(|ask| ask.note(seen, it));
        let Some(told) = self.told.get_mut(entity) else {
            return;
        };
        told.iter_mut().for_each(|(ask, ..)| ask.note(seen, it));
        told.retain(|(ask, job, _)| is_open(ask, *job));
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
        if !is_open(&ask, job) {
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

/// The entities of `told`, in the order of their names.
fn in_order(told: &Table<Entity, Vec<(Ask, Job, u64)>>, ledger: &Ledger) -> Vec<Entity> {
    let mut entities = told.keys();
    entities.sort_by_key(|(queue, key)| (ledger.queue_name(*queue), ledger.known.keys.text(*key)));
    entities
}

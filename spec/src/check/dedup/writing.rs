//! `dedup/last-write`: what reaches the other system for an entity never goes back from a newer payload to an older one,
//! and in the end it is the newest.
//!
//! The order of payloads is the order in which the queue accepted them.

use std::rc::Rc;

use super::super::Seen;
use super::super::ledger::{EndHow, Ledger};
use super::super::number::Job;
use super::super::print::{Print, Table};
use super::{Entity, LAST_WRITE, entity};
use crate::history::{Accepted, Drained, How, Stored, What};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Writing {
    entities: Table<Entity, Payloads>,
}

/// What was accepted for one entity and what of it was written.
#[derive(Debug, Default)]
struct Payloads {
    accepted: Table<Print, Order>,
    count: u64,
    /// The newest accepted payload, the job that it went to, and the line.
    newest: Option<(Rc<str>, Job, u64)>,
    /// The newest payload that was written.
    high: Option<Written>,
    /// The last payload that was written, and whether all lines so far told their payload.
    last: Option<Written>,
}

/// When a payload was accepted. The same payload may be accepted again after others: then it is old and new.
#[derive(Clone, Copy, Debug)]
struct Order {
    first: u64,
    last: u64,
    line: u64,
}

/// A payload as it was written.
#[derive(Clone, Debug)]
struct Written {
    payload: Rc<str>,
    order: Order,
    line: u64,
}

impl Writing {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Accepted(it) => self.accept(seen, it),
            What::Stored(it) if it.applied => self.write(seen, it, notes),
            What::Drained(it) => self.drain(seen, it, notes),
            _ => {}
        }
    }

    /// Whether `entity` had a job before.
    pub(super) fn knows(&self, entity: Entity) -> bool {
        self.entities.contains(entity)
    }

    fn accept(&mut self, seen: &Seen<'_>, it: &Accepted) {
        let Some(entity) = entity(seen.ledger, &seen.named) else {
            return;
        };
        if it.how == How::Replayed {
            return;
        }
        let payloads = self.entities.at(entity);
        payloads.count += 1;
        let now = Order { first: payloads.count, last: payloads.count, line: seen.line };
        let order = payloads.accepted.entry(seen.named.payload).or_insert(now);
        order.last = now.last;
        payloads.newest = Some((it.payload.as_str().into(), seen.named.job, seen.line));
    }

    fn write(&mut self, seen: &Seen<'_>, it: &Stored, notes: &mut Notes) {
        let Some(entity) = entity(seen.ledger, &seen.named) else {
            return;
        };
        let Some(payload) = &it.payload else { return };
        let Some(payloads) = self.entities.get_mut(entity) else {
            return;
        };
        // A payload that was never accepted is no older and no newer; other clauses tell of it.
        let Some(&order) = payloads.accepted.get(seen.named.payload) else {
            return;
        };
        let written = Written { payload: payload.as_str().into(), order, line: seen.line };
        payloads.write(seen.ledger.known.keys.text(entity.1), written, notes);
    }

    fn drain(&self, seen: &Seen<'_>, it: &Drained, notes: &mut Notes) {
        if it.ok {
            let mut entities = self.entities.keys();
            let known = &seen.ledger.known;
            entities.sort_by_key(|(queue, key)| (known.queues.text(*queue), known.keys.text(*key)));
            for entity in entities {
                let payloads = self.entities.get(entity).into_iter();
                payloads.for_each(|payloads| payloads.judge_end(seen.ledger, entity, seen.line, notes));
            }
        }
    }
}

impl Payloads {
    fn write(&mut self, key: &str, written: Written, notes: &mut Notes) {
        if let Some(high) = self.high.as_ref().filter(|high| high.payload != written.payload) {
            notes.exercised(LAST_WRITE);
            if written.order.last < high.order.first {
                let says = format!(
                    "payload {} of {key} was written over {}, which was accepted after it",
                    written.payload, high.payload
                );
                let mut lines = vec![written.order.line, high.order.line, high.line, written.line];
                lines.sort_unstable();
                notes.broken(LAST_WRITE, says, lines);
            }
        }
        if self.high.as_ref().is_none_or(|high| high.order.first <= written.order.first) {
            self.high = Some(written.clone());
        }
        self.last = Some(written);
    }

    /// All is done: the entity must hold its newest payload, if the job that carried it was completed.
    fn judge_end(&self, ledger: &Ledger, (queue, key): Entity, line: u64, notes: &mut Notes) {
        let (Some(last), Some((newest, job, accepted))) = (&self.last, &self.newest) else {
            return;
        };
        let idle = ledger.line(queue).is_none_or(|line| line.of_key(key).next().is_none());
        let completed = ledger.ended(*job).is_some_and(|end| end.how == EndHow::Completed);
        if !idle || !completed || self.count < 2 {
            return;
        }
        notes.exercised(LAST_WRITE);
        if last.payload != *newest {
            let (key, job) = (ledger.known.keys.text(key), ledger.job_name(*job));
            let says = format!(
                "the newest payload of {key} is {newest}, and {job}, which carried it, was completed, but the last one \
                 written is {}",
                last.payload
            );
            let mut lines = vec![*accepted, last.line];
            lines.sort_unstable();
            lines.push(line);
            notes.broken(LAST_WRITE, says, lines);
        }
    }
}

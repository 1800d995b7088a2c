//! Clauses of the family `dedup`: of one entity at most one job waits and one runs, and the newest payload wins.
//!
//! `accepting` checks what an enqueue becomes, `replies` what its client is told, `running` what is delivered when, and
//! `writing` what reaches the other system. Jobs without a key, and queues that do not deduplicate, are passed over.

mod accepting;
mod replies;
mod running;
mod writing;

use super::ledger::Ledger;
use super::named::Named;
use super::number::{Key, Queue};
use super::{Family, Seen};
use crate::clause::Place;
use crate::history::What;
use crate::verdict::Notes;

const COALESCE: Place = Place::of("dedup/coalesce");
const DISTINCT: Place = Place::of("dedup/distinct");
const FOLLOW_UP: Place = Place::of("dedup/follow-up");
const LAST_WRITE: Place = Place::of("dedup/last-write");
const ONE_RUNNING: Place = Place::of("dedup/one-running");
const RELEASED: Place = Place::of("dedup/released");

#[derive(Default)]
pub(super) struct Dedup {
    replies: replies::Replies,
    running: running::Running,
    writing: writing::Writing,
}

impl Family for Dedup {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        if let What::Accepted(it) = &seen.event.what
            && let Some(entity) = entity(seen.ledger, &seen.named)
        {
            let known = self.writing.knows(entity);
            accepting::see(seen, it, entity.1, known, notes);
            self.running.accept(seen, it, known);
        }
        self.replies.see(seen, notes);
        self.running.see(seen, notes);
        self.writing.see(seen, notes);
    }

    fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.replies.finish(ledger, notes);
    }
}

/// An entity: queue and key.
type Entity = (Queue, Key);

/// The entity that a line with this queue and key speaks of, if the queue deduplicates.
fn entity(ledger: &Ledger, named: &Named) -> Option<Entity> {
    let policy = ledger.policy(named.queue)?;
    let key = named.key.filter(|_| policy.deduplication)?;
    Some((named.queue, key))
}

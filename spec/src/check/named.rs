//! What an event names, by number. An event is looked through once, before the checkers see it.

use super::number::{Job, Key, Names, Processor, Queue, User};
use super::print::Print;
use crate::history::What;
use crate::queues::Queues;

/// All names that a history has mentioned so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) jobs: Names<Job>,
    pub(super) queues: Names<Queue>,
    pub(super) users: Names<User>,
    pub(super) keys: Names<Key>,
    pub(super) processors: Names<Processor>,
}

impl Known {
    /// The queues with a policy have the first numbers, in the order of their names.
    pub(super) fn new(queues: &Queues) -> Self {
        let mut known = Self::default();
        for (name, _) in queues.iter() {
            known.queues.number(name);
        }
        known
    }
}

/// What one event names. A field stands at none where the event has no such thing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Named {
    pub(super) job: Job,
    pub(super) queue: Queue,
    pub(super) user: User,
    pub(super) key: Option<Key>,
    pub(super) processor: Processor,
    pub(super) delivery: Option<Print>,
    pub(super) batch: Option<Print>,
    pub(super) session: Option<Print>,
    pub(super) payload: Print,
}

impl Named {
    /// Looks `what` through; `jobs` becomes the jobs of a delivery or of another list, in its order.
    pub(super) fn of(what: &What, known: &mut Known, jobs: &mut Vec<Job>) -> Self {
        jobs.clear();
        let mut named = Self::default();
        named.read(what, known, jobs);
        named
    }

    fn read(&mut self, what: &What, known: &mut Known, jobs: &mut Vec<Job>) {
        match what {
            What::Enqueue(it) => {
                self.user = known.users.number(&it.user);
                self.queue = known.queues.number(&it.queue);
                self.key = it.key.as_deref().map(|key| known.keys.number(key));
                self.payload = Print::of(&it.payload);
            }
            What::Accepted(it) => {
                self.job = known.jobs.number(&it.job);
                self.user = known.users.number(&it.user);
                self.queue = known.queues.number(&it.queue);
                self.key = it.key.as_deref().map(|key| known.keys.number(key));
                self.payload = Print::of(&it.payload);
            }
            What::Granted(it) => {
                self.queue = known.queues.number(&it.queue);
                self.processor = known.processors.number(&it.processor);
                self.delivery = Some(Print::of(&it.delivery));
                self.batch = it.batch.as_deref().map(Print::of);
                jobs.extend(it.jobs.iter().map(|lease| known.jobs.number(&lease.job)));
            }
            What::Started(it) => {
                self.queue = known.queues.number(&it.queue);
                self.processor = known.processors.number(&it.processor);
                self.delivery = it.delivery.as_deref().map(Print::of);
                jobs.extend(it.jobs.iter().map(|given| known.jobs.number(&given.job)));
            }
            What::Finished(it) => {
                self.processor = known.processors.number(&it.processor);
                self.delivery = it.delivery.as_deref().map(Print::of);
                jobs.extend(it.jobs.iter().map(|ended| known.jobs.number(&ended.job)));
            }
            What::Stored(it) => {
                self.queue = known.queues.number(&it.queue);
                self.key = it.key.as_deref().map(|key| known.keys.number(key));
                self.payload = it.payload.as_deref().map(Print::of).unwrap_or_default();
                jobs.extend(it.jobs.iter().map(|job| known.jobs.number(job)));
            }
            other => self.read_short(other, known, jobs),
        }
    }

    /// Reads what names few things.
    fn read_short(&mut self, what: &What, known: &mut Known, jobs: &mut Vec<Job>) {
        match what {
            What::Settled(it) => self.job = known.jobs.number(&it.job),
            What::StatusRead(it) => {
                self.job = known.jobs.number(&it.job);
                self.user = known.users.number(&it.user);
            }
            What::Notified(it) => {
                self.job = known.jobs.number(&it.job);
                self.user = known.users.number(&it.user);
                self.session = it.session.as_deref().map(Print::of);
            }
            What::Session(it) => {
                self.user = known.users.number(&it.user);
                self.session = Some(Print::of(&it.session));
            }
            What::Reply(it) => self.job = it.job.as_deref().map(|job| known.jobs.number(job)).unwrap_or_default(),
            What::Processor(it) => self.processor = known.processors.number(&it.processor),
            What::Cancel(it) => self.job = known.jobs.number(&it.job),
            What::Cancelled(it) => self.job = known.jobs.number(&it.job),
            What::Redrive(it) => self.job = known.jobs.number(&it.job),
            What::Redriven(it) => self.job = known.jobs.number(&it.job),
            What::Purge(it) => self.job = known.jobs.number(&it.job),
            What::Purged(it) => self.job = known.jobs.number(&it.job),
            What::Pause(it) => self.queue = known.queues.number(&it.queue),
            What::Resume(it) => self.queue = known.queues.number(&it.queue),
            What::Paused(it) => self.queue = known.queues.number(&it.queue),
            What::DeadLetters(it) => jobs.extend(it.entries.iter().map(|entry| known.jobs.number(&entry.job))),
            _ => {}
        }
    }
}

//! Planted bugs: each a small wrapper at a seam of the runtime, each breaking one clause on purpose. The checkers must
//! name them; the runtime itself has no flag for any of them.
//!
//! One file per clause family, `worlds` for what cheats around the runtime, and what it withstands there. Those named
//! after an issue of another queue are listed in `docs/planted.md`.

mod alter;
mod backoff;
mod batch;
mod cause;
mod dead_letter;
mod dedup;
mod giving_up;
mod job;
mod lease;
mod notify;
mod plant;
mod priority;
mod rate;
mod retry;
mod schedule;
mod status;
mod timeout;
mod worlds;

use std::sync::Arc;

use kew_runtime::broker::Queue;
use kew_runtime::clock::Clock;
use kew_runtime::processor::Handler;
use kew_runtime::store::{Reader, Store, Synchronous};
use kew_spec::queues::{Policy, Queues};

use crate::Error;
use crate::disk::{Disk, Faults};

/// A planted bug.
pub struct Bug {
    /// Its name on the command line.
    pub name: &'static str,
    /// The clause that it breaks; of what is withstood, the clause that would break.
    pub clause: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Where it is planted, and how.
    pub plant: Plant,
}

/// The seams, and what a bug puts there. Wrappers are made anew when their host restarts.
pub enum Plant {
    /// The broker goes by other policies than were agreed.
    Policies(fn(&mut Policy)),
    /// Between the broker and the recorder: the queue decides otherwise, and says so.
    Decision(fn(Box<dyn Store>) -> Box<dyn Store>),
    /// Between the recorder and the store: the store does otherwise than it says.
    Store(fn(Box<dyn Store>) -> Box<dyn Store>),
    /// Between the broker and its reads.
    Reader(fn(Box<dyn Reader>) -> Box<dyn Reader>),
    /// Between the api and the broker.
    Api(fn(Arc<dyn Queue>) -> Arc<dyn Queue>),
    /// Between a processor and the broker.
    Processor(fn(Arc<dyn Queue>) -> Arc<dyn Queue>),
    /// Between the notifier and the broker.
    Notifier(fn(Arc<dyn Queue>) -> Arc<dyn Queue>),
    /// Between a processor and its handlers.
    Handler(fn(Arc<dyn Handler>) -> Arc<dyn Handler>),
    /// The broker's clock.
    Clock(fn(Arc<dyn Clock>) -> Arc<dyn Clock>),
    /// The broker's disk has these faults.
    Disk(Faults),
    /// Commits are not synced.
    Unsynced,
}

/// All planted bugs.
pub fn list() -> impl Iterator<Item = &'static Bug> {
    let families = [
        job::BUGS,
        lease::BUGS,
        retry::BUGS,
        cause::BUGS,
        giving_up::BUGS,
        backoff::BUGS,
        timeout::BUGS,
        dead_letter::BUGS,
        rate::BUGS,
        batch::BUGS,
        dedup::BUGS,
        schedule::BUGS,
        priority::BUGS,
        status::BUGS,
        notify::BUGS,
        worlds::BUGS,
    ];
    families.into_iter().flatten()
}

/// What cheats around the runtime, and must break nothing: the runtime withstands it.
pub fn withstood() -> impl Iterator<Item = &'static Bug> {
    worlds::WITHSTOOD.iter()
}

/// Where bugs are planted. Without one, everything passes as it is.
#[derive(Clone, Default)]
pub struct Seams {
    bug: Option<&'static Bug>,
}

impl Seams {
    /// Seams with the bug of this name.
    pub fn of(name: Option<&str>) -> Result<Self, Error> {
        let Some(name) = name else { return Ok(Self::default()) };
        let bug = list().chain(withstood()).find(|bug| bug.name == name);
        bug.map(|bug| Self { bug: Some(bug) }).ok_or_else(|| Error::NoSuchBug(name.to_owned()))
    }

    fn plant(&self) -> Option<&'static Plant> {
        self.bug.map(|bug| &bug.plant)
    }

    /// The policies that the broker goes by.
    pub fn policies(&self, queues: Queues) -> Queues {
        let Some(Plant::Policies(alter)) = self.plant() else { return queues };
        let altered = queues.iter().map(|(name, policy)| {
            let mut policy = policy.clone();
            alter(&mut policy);
            (name.to_owned(), policy)
        });
        altered.collect()
    }

    /// The recorded store, as the broker sees it.
    pub fn decision(&self, store: Box<dyn Store>) -> Box<dyn Store> {
        match self.plant() {
            Some(Plant::Decision(plant)) => plant(store),
            _ => store,
        }
    }

    /// How durable a commit is.
    pub fn synchronous(&self) -> Synchronous {
        match self.plant() {
            Some(Plant::Unsynced) => Synchronous::Normal,
            _ => Synchronous::Full,
        }
    }

    /// Gives the broker's disk its faults. It keeps them until it is asked again.
    pub fn disk(&self, disk: &Disk) {
        if let Some(Plant::Disk(faults)) = self.plant() {
            disk.set_faults(*faults);
        }
    }

    /// The store, as the recorder sees it.
    pub fn store(&self, store: Box<dyn Store>) -> Box<dyn Store> {
        match self.plant() {
            Some(Plant::Store(plant)) => plant(store),
            _ => store,
        }
    }

    /// The broker's reads.
    pub fn reader(&self, reader: Box<dyn Reader>) -> Box<dyn Reader> {
        match self.plant() {
            Some(Plant::Reader(plant)) => plant(reader),
            _ => reader,
        }
    }

    /// The broker's clock.
    pub fn clock(&self, clock: Arc<dyn Clock>) -> Arc<dyn Clock> {
        match self.plant() {
            Some(Plant::Clock(plant)) => plant(clock),
            _ => clock,
        }
    }

    /// The broker as the api reaches it.
    pub fn api_queue(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        match self.plant() {
            Some(Plant::Api(plant)) => plant(queue),
            _ => queue,
        }
    }

    /// The broker as a processor reaches it.
    pub fn processor_queue(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        match self.plant() {
            Some(Plant::Processor(plant)) => plant(queue),
            _ => queue,
        }
    }

    /// The broker as the notifier reaches it.
    pub fn notifier_queue(&self, queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
        match self.plant() {
            Some(Plant::Notifier(plant)) => plant(queue),
            _ => queue,
        }
    }

    /// A processor's handler.
    pub fn handler(&self, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
        match self.plant() {
            Some(Plant::Handler(plant)) => plant(handler),
            _ => handler,
        }
    }
}

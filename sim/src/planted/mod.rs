//! Planted bugs: each a small wrapper at a seam of the runtime, each breaking one clause on purpose. The checkers must
//! name them; the runtime itself has no flag for any of them.

mod alter;
mod decisions;
mod policies;
mod roles;
mod stores;

use std::sync::Arc;

use kew_runtime::broker::Queue;
use kew_runtime::processor::Handler;
use kew_runtime::store::{Reader, Store, Synchronous};
use kew_spec::queues::{Policy, Queues};

use crate::Error;

/// A planted bug.
pub struct Bug {
    /// Its name on the command line.
    pub name: &'static str,
    /// The clause that it breaks.
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
    /// Between a processor and the broker.
    Processor(fn(Arc<dyn Queue>) -> Arc<dyn Queue>),
    /// Between the notifier and the broker.
    Notifier(fn(Arc<dyn Queue>) -> Arc<dyn Queue>),
    /// Between a processor and its handlers.
    Handler(fn(Arc<dyn Handler>) -> Arc<dyn Handler>),
    /// Commits are not synced.
    Unsynced,
}

/// All planted bugs.
pub fn list() -> impl Iterator<Item = &'static Bug> {
    [policies::BUGS, decisions::BUGS, stores::BUGS, roles::BUGS].into_iter().flatten()
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
        let bug = list().find(|bug| bug.name == name);
        bug.map(|bug| Self { bug: Some(bug) }).ok_or_else(|| Error::NoSuchBug(name.to_owned()))
    }

    fn plant(&self) -> Option<&'static Plant> {
        self.bug.map(|bug| &bug.plant)
    }

    /// The policies that the broker goes by.
    pub fn policies(&self, queues: Queues) -> Queues {
        match self.plant() {
            Some(Plant::Policies(alter)) => policies::alter(queues, *alter),
            _ => queues,
        }
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

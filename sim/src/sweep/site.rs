//! The site that loses power: the runtime's own broker, processors and notifier, all on one machine, as `kew serve` has
//! them. They reach each other as values, without a network; users and the world outside are elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{self as role, Handle, Queue};
use kew_runtime::ids::Ids;
use kew_runtime::notify::Notifier;
use kew_runtime::processor::{Failure, Handler, Processor};
use kew_runtime::store::{Sqlite, SqliteOptions, Store, Synchronous};
use kew_spec::history;
use tokio::task::JoinSet;

use super::commits::Commits;
use super::workload::Workload;
use crate::clock::Clocks;
use crate::disk::{self, Disk};
use crate::hazards::Hazards;
use crate::hosts::outside::Outside;
use crate::hosts::{broker, processor};
use crate::record::{Recorder, RecordingStore};
use crate::script::{Scripted, Way};

/// The store's file.
const FILE: &str = "kew.sqlite";

/// A tenth of what the runtime does by itself, so that a short run moves its log into the database many times: power
/// cuts in the middle of that are the ones that could hurt what was acknowledged long before.
const CHECKPOINT_PAGES: u32 = 100;

/// What the site is made of.
pub(super) struct Site {
    pub(super) workload: Arc<Workload>,
    pub(super) synchronous: Synchronous,
    pub(super) disk: Disk,
    pub(super) recorder: Recorder,
    pub(super) outside: Outside,
    pub(super) commits: Commits,
    pub(super) hazards: Hazards,
    /// Where its ids and jitters begin.
    pub(super) seed: u64,
}

/// Where SQLite finds the store.
pub(super) fn path() -> String {
    Disk::path(broker::HOST, FILE)
}

/// The hosts that go down with the site.
pub(super) fn hosts(workload: &Workload) -> Vec<String> {
    [broker::HOST.to_owned()].into_iter().chain(processors(workload)).collect()
}

/// Its processors.
pub(super) fn processors(workload: &Workload) -> impl Iterator<Item = String> {
    (1..=workload.scenario.processors).map(processor::host)
}

impl Site {
    /// Opens the store with the runtime's own code.
    pub(super) fn open(&self) -> Result<Sqlite, kew_runtime::store::Error> {
        self.disk.restart();
        let (vfs, synchronous) = (Some(disk::VFS.into()), self.synchronous);
        Sqlite::open(path(), &SqliteOptions { vfs, synchronous, checkpoint_pages: CHECKPOINT_PAGES })
    }

    /// Starts all roles on `tasks`, on an open store.
    pub(super) fn start(&self, store: Sqlite, tasks: &mut JoinSet<()>) -> Result<Handle, kew_runtime::store::Error> {
        let clock = Clocks::default().of(broker::HOST);
        let ids = Ids::from_seed(self.seed);
        let reader = Box::new(store.reader()?);
        let store: Box<dyn Store> = Box::new(RecordingStore::new(Box::new(store), self.recorder.clone()));
        let store = self.commits.number(store, self.recorder.clone(), self.disk.clone());
        let queues = self.workload.queues.clone();
        let (handle, writer) = role::new(store, reader, queues.clone(), clock.clone(), ids.clone());
        tasks.spawn(async move {
            // It ends when the store cannot say what time it is at: the disk is down.
            let _ = writer.run().await;
        });
        let queue: Arc<dyn Queue> = Arc::new(handle.clone());
        tasks.spawn(Notifier::new(queue.clone(), queues, Ids::from_seed(self.seed ^ 1), clock).run());
        for name in processors(&self.workload) {
            self.processor(name, queue.clone(), tasks);
        }
        Ok(handle)
    }

    /// Lets the processors' handlers die without a word, as they do when the power goes.
    pub(super) fn processors_fall(&self) {
        processors(&self.workload).for_each(|name| self.hazards.fall(&name));
    }

    fn processor(&self, name: String, queue: Arc<dyn Queue>, tasks: &mut JoinSet<()>) {
        let slots = self.workload.scenario.slots;
        self.recorder.see(history::Processor { processor: name.clone(), up: true, slots });
        let handlers = self.workload.queues.iter().map(|(queue, policy)| {
            let scripted = Scripted {
                processor: name.clone(),
                policy: policy.clone(),
                script: self.workload.script.clone(),
                recorder: self.recorder.clone(),
                outside: Arc::new(Near(self.outside.clone())),
                hazards: self.hazards.clone(),
            };
            (queue.to_owned(), Arc::new(scripted) as Arc<dyn Handler>)
        });
        let handlers: BTreeMap<_, _> = handlers.collect();
        let processor = Processor { name, queue, handlers, slots };
        tasks.spawn(async move {
            let (_stop, stopped) = tokio::sync::watch::channel(false);
            processor.run(stopped).await;
        });
    }
}

/// The world outside, one step away.
struct Near(Outside);

impl Way for Near {
    fn bring<'a>(&'a self, path: &'static str, body: Vec<u8>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match self.0.take(path, &body) {
                true => Ok(()),
                false => Err(Failure::new("the world outside does not understand it")),
            }
        }
        .boxed()
    }
}

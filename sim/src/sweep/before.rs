//! The run before the power goes: the reference run, which it never does, and the run up to a cut.

use std::sync::{Arc, Mutex, PoisonError};

use kew_runtime::ids::Ids;
use kew_spec::history::Event;
use tokio::task::JoinSet;

use super::commits::{Commit, Commits, Progress};
use super::site::{self, Site};
use super::users::{Known, Users};
use super::{Sweep, number, runtime, sealed};
use crate::disk::Disk;
use crate::hazards::Hazards;
use crate::hosts::broker;
use crate::hosts::outside::Outside;
use crate::record::Recorder;
use crate::{Error, clock};

/// The moment at which the power goes: all that is left then.
#[derive(Debug)]
pub struct Cut {
    /// At which operation, from 1.
    pub(super) operation: u64,
    pub(super) at_ms: u64,
    /// What was seen so far.
    pub(super) events: Vec<Event>,
    /// The number of the last operation of a client.
    pub(super) ops: u64,
    pub(super) known: Known,
    pub(super) outside: Outside,
    /// The disk with all that is unsynced, down.
    pub(super) disk: Disk,
    pub(super) progress: Progress,
}

/// A world before its power goes.
struct World {
    site: Site,
    known: Arc<Mutex<Known>>,
}

impl Sweep {
    /// Plays without a cut: what each commit made, and how many disk operations it took.
    pub(super) fn reference(&self) -> Result<(Vec<Commit>, u64), Error> {
        sealed(self.seed, || {
            let world = self.world();
            let store = world.site.open().map_err(host)?;
            let watching = Disk::open(&site::path()).map_err(host)?;
            world.site.commits.watch(watching).map_err(host)?;
            let (_, commits) = self.play(&world, store)?;
            Ok((commits, world.site.disk.stats().operations))
        })
    }

    /// Plays until the power goes, at disk operation `operation`.
    ///
    /// # Errors
    ///
    /// If the run has fewer operations.
    pub fn cut(&self, operation: u64) -> Result<Cut, Error> {
        sealed(self.seed, || {
            let world = self.world();
            world.site.disk.cut_at(operation);
            let at_ms = match world.site.open() {
                Ok(store) => self.play(&world, store)?.0,
                Err(_) if world.site.disk.is_down() => 0,
                Err(error) => return Err(host(error)),
            };
            if !world.site.disk.is_down() {
                return Err(host(format!("it is over before disk operation {operation}")));
            }
            let (events, ops) = world.site.recorder.seen(0);
            let known = world.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let progress = world.site.commits.progress();
            let Site { disk, outside, .. } = world.site;
            Ok(Cut { operation, at_ms, events, ops, known, outside, disk, progress })
        })
    }

    fn world(&self) -> World {
        let disk = Disk::new(broker::HOST, number(self.seed, "disk"));
        disk.set_faults(self.faults);
        let recorder = Recorder::resume(Vec::new(), 0);
        let site = Site {
            workload: self.workload.clone(),
            synchronous: self.synchronous,
            disk,
            outside: Outside::new(recorder.clone()),
            recorder,
            commits: Commits::default(),
            hazards: Hazards::default(),
            seed: number(self.seed, "broker ids"),
        };
        World { site, known: Arc::default() }
    }

    /// Plays until the disk is down or everything is done, and returns when that was, and what the commits made if they
    /// are watched. When it is done, the site shuts down gracefully.
    fn play(&self, world: &World, store: kew_runtime::store::Sqlite) -> Result<(u64, Vec<Commit>), Error> {
        let runtime = runtime(self.seed)?;
        let played = runtime.block_on(async {
            clock::begin(0);
            let mut tasks = JoinSet::new();
            let Ok(handle) = world.site.start(store, &mut tasks) else { return Ok((0, Vec::new())) };
            let users = Users {
                workload: self.workload.clone(),
                queue: Arc::new(handle),
                recorder: world.site.recorder.clone(),
                known: world.known.clone(),
                ids: Ids::from_seed(number(self.seed, "users")),
            };
            users.open_sessions();
            let done = tokio::select! {
                biased;
                () = world.site.commits.dark() => true,
                done = users.play_all(&mut tasks, self.end_ms()) => done,
            };
            if !done {
                return Err(Error::Stuck { simulated_ms: clock::now_ms() });
            }
            world.site.processors_fall();
            Ok((clock::now_ms(), world.site.commits.seen()))
        });
        drop(runtime);
        played
    }

    /// When a run must be over, with a cut or without.
    pub(super) fn end_ms(&self) -> u64 {
        self.workload.scenario.length_ms() + self.workload.bound_ms
    }
}

/// Why the run's own machinery failed.
pub(super) fn host(reason: impl ToString) -> Error {
    Error::Host { reason: reason.to_string() }
}

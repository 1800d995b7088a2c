//! A queue in memory that keeps every clause which can be kept in one process: the harness's own control. It follows
//! docs/clauses.md alone, knows neither Kew's runtime nor the checkers, and is no queue to use: what it holds is gone with
//! the process.
//!
//! `room` holds the queues of one play, which share their slots. `accept` takes jobs in, `offer` tells what may be
//! delivered, `deliver` delivers it, `settle` works out what follows, `operate` is what clients read and operators do.
//! Every way in which it can be made to break a promise is a [`Lie`], told at one place each.

mod accept;
mod clock;
mod deliver;
mod lies;
mod offer;
mod operate;
mod room;
mod settle;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::task::AbortHandle;

pub use lies::Lie;

use crate::capability::{Capabilities, Feature};
use crate::local::{Handler, Queue, Setup};
use crate::protocol::{About, Applied, DeadJob, Enqueued, Job, Standing, Which};
use clock::Clock;
use deliver::Group;

/// The queue, honest or with one lie.
pub struct Memory {
    lie: Option<Lie>,
    clock: OnceLock<Clock>,
    open: Mutex<Open>,
}

/// The group that each queue is in, and the tasks that give their deliveries.
#[derive(Default)]
struct Open {
    groups: BTreeMap<String, Arc<Group>>,
    dispatching: Vec<AbortHandle>,
}

impl Memory {
    /// The honest queue.
    pub fn new() -> Self {
        Self::of(None)
    }

    /// A queue that lies in one way.
    pub fn lying(lie: Lie) -> Self {
        Self::of(Some(lie))
    }

    fn of(lie: Option<Lie>) -> Self {
        Self { lie, clock: OnceLock::new(), open: Mutex::default() }
    }

    /// The group that a queue is in.
    fn group(&self, queue: &str) -> Result<Arc<Group>, String> {
        let open = self.open.lock().expect("nobody panics with it");
        open.groups.get(queue).cloned().ok_or_else(|| format!("there is no queue {queue}"))
    }

    /// The group that a new queue shares its slots with: that of the queues beside it, or one of its own.
    fn enter(&self, setup: &Setup) -> Arc<Group> {
        let mut open = self.open.lock().expect("nobody panics with it");
        let there = setup.beside.iter().find_map(|other| open.groups.get(other)).cloned();
        let group = there.unwrap_or_else(|| {
            let group = Arc::new(Group::new(self.lie, *self.clock.get().expect("it is set before there is a queue")));
            open.dispatching.push(tokio::spawn(deliver::dispatch(Arc::clone(&group))).abort_handle());
            group
        });
        open.groups.insert(setup.queue.clone(), Arc::clone(&group));
        group
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.open.lock().expect("nobody panics with it").dispatching.iter().for_each(AbortHandle::abort);
    }
}

impl Queue for Memory {
    fn about(&self) -> About {
        let capabilities = Capabilities {
            attempts: Feature::NATIVE,
            infinite_attempts: Feature::NATIVE,
            exponential_backoff: Feature::NATIVE,
            // Like a queue whose timeout is the lease's alone.
            timeout: if self.lie == Some(Lie::LateResultWins) {
                Feature::NATIVE.without("stops")
            } else {
                Feature::NATIVE
            },
            dead_letters: Feature::NATIVE,
            redrive: Feature::NATIVE,
            rate_limit: Feature::NATIVE,
            batch: Feature::NATIVE,
            deduplication: Feature::NATIVE,
            idempotency_key: Feature::NATIVE,
            priority: Feature::NATIVE,
            schedule: Feature::NATIVE,
            cancel: Feature::NATIVE,
            pause: Feature::NATIVE,
            status: Feature::NATIVE,
            attempt_number: Feature::NATIVE,
            ..Capabilities::default()
        };
        About { quantum_ms: 1, ..About::new("memory", env!("CARGO_PKG_VERSION"), capabilities) }
    }

    fn set_clock(&self, now_ms: u64) {
        let _ = self.clock.set(Clock::set(now_ms)); // It goes on by itself.
    }

    async fn configure(&self, setup: Setup, handler: Handler) -> Result<Applied, String> {
        self.enter(&setup).change(|room, _| room.open(setup, handler));
        Ok(Applied::default())
    }

    async fn enqueue(&self, job: Job) -> Result<Enqueued, String> {
        let group = self.group(&job.queue)?;
        group.change(|room, now| room.accept(job, now)).map(|job| Enqueued { job })
    }

    async fn dead_letters(&self, queue: String) -> Result<Vec<DeadJob>, String> {
        self.group(&queue)?.change(|room, _| room.dead_letters(&queue))
    }

    async fn status(&self, job: Which) -> Result<Standing, String> {
        self.group(&job.queue)?.change(|room, now| room.status(&job, now))
    }

    async fn redrive(&self, job: Which) -> Result<(), String> {
        self.group(&job.queue)?.change(|room, now| room.redrive(&job, now))
    }

    async fn cancel(&self, job: Which) -> Result<(), String> {
        self.group(&job.queue)?.change(|room, now| room.cancel(&job, now))
    }

    async fn pause(&self, queue: String) -> Result<(), String> {
        self.group(&queue)?.change(|room, _| room.pause(&queue, true))
    }

    async fn resume(&self, queue: String) -> Result<(), String> {
        self.group(&queue)?.change(|room, _| room.pause(&queue, false))
    }
}

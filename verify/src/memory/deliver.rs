//! Gives deliveries: calls handlers, waits for how they end, and stops those that run into their timeout.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::Lie;
use super::clock::Clock;
use super::offer::Next;
use super::room::{Attempt, Delivery, Room, Stage};
use crate::local::{Handler, Running};
use crate::protocol::{Delivered, Why};

/// The queues of one play, shared by those who change them.
pub(super) struct Group {
    room: Mutex<Room>,
    clock: Clock,
    /// Something has changed, so that there may be more to deliver.
    changed: Notify,
}

/// A delivery whose handler is at work.
struct Given {
    delivery: u64,
    running: Running,
    timeout_ms: u64,
    stop: oneshot::Receiver<()>,
}

impl Group {
    pub(super) fn new(lie: Option<Lie>, clock: Clock) -> Self {
        Self { room: Mutex::new(Room::new(lie)), clock, changed: Notify::new() }
    }

    /// Changes the room, or reads it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Room, u64) -> T) -> T {
        let mut room = self.room.lock().expect("nobody panics with it");
        let changed = change(&mut room, self.clock.now_ms());
        drop(room);
        self.changed.notify_one();
        changed
    }

    /// Gives all that can be given now. Answers with what was given, and with when there may be more.
    fn give(&self) -> (Vec<Given>, Option<u64>) {
        let mut room = self.room.lock().expect("nobody panics with it");
        let mut given = Vec::new();
        loop {
            let now = self.clock.now_ms();
            match room.next(now) {
                Next::Deliver { queue, jobs } => given.extend(room.begin(&queue, jobs, now)),
                Next::Wait { until_ms } => return (given, until_ms),
            }
        }
    }
}

/// Gives deliveries without end.
pub(super) async fn dispatch(group: Arc<Group>) {
    loop {
        let (given, until_ms) = group.give();
        for given in given {
            tokio::spawn(attend(Arc::clone(&group), given));
        }
        match until_ms {
            Some(ms) => {
                let _ = tokio::time::timeout_at(group.clock.moment(ms), group.changed.notified()).await;
            }
            None => group.changed.notified().await,
        }
    }
}

/// Waits for the end of a delivery.
async fn attend(group: Arc<Group>, given: Given) {
    let Given { delivery, mut running, timeout_ms, mut stop } = given;
    tokio::select! {
        biased; // Of two that are ready the same one is taken in every run.
        results = running.ended() => return group.change(|room, now| room.finish(delivery, &results, now)),
        () = tokio::time::sleep(Duration::from_millis(timeout_ms)) => {
            running.stopped(Why::Timeout);
            group.change(|room, now| room.time_out(delivery, timeout_ms, now));
        }
        Ok(()) = &mut stop => running.stopped(Why::Cancelled),
    }
    // It goes on although it was stopped: what it says then comes too late.
    let results = running.ended().await;
    if !group.change(|room, now| room.finish_late(&results, now)) {
        running.rejected("the delivery was over");
    }
}

impl Room {
    /// Hands jobs to a handler; under some lies to several.
    fn begin(&mut self, queue: &str, mut jobs: Vec<String>, now: u64) -> Vec<Given> {
        self.take_stranger(queue, &mut jobs);
        let Some(lane) = self.lanes.get_mut(queue) else { return Vec::new() };
        lane.starts.extend(lane.policy.rate_limit.iter().flat_map(|_| std::iter::repeat_n(now, jobs.len())));
        let (handler, timeout_ms) = (lane.handler.clone(), lane.policy.timeout_ms);
        let batches = lane.policy.batch.is_some();
        let timeout_ms = match self.lie {
            Some(Lie::TimeoutIgnored) => 4 * timeout_ms + 2_500,
            Some(Lie::LateResultWins) => timeout_ms + 60_000, // Longer than any handler that ends by itself.
            _ => timeout_ms,
        };
        let delivered: Vec<_> = jobs.iter().filter_map(|job| self.hand_over(job, now)).collect();
        let mut given = Vec::new();
        if self.lies(Lie::EmptyBatch) && batches {
            given.push(self.call(&handler, Vec::new(), timeout_ms));
        }
        if self.lies(Lie::ClaimedTwice) {
            given.push(self.call(&handler, delivered.clone(), timeout_ms));
        }
        given.push(self.call(&handler, delivered, timeout_ms));
        self.leave_rest(queue, now);
        given
    }

    /// A delivery begins.
    fn call(&mut self, handler: &Handler, jobs: Vec<Delivered>, timeout_ms: u64) -> Given {
        let (delivery, (stop, stopped)) = (self.number(), oneshot::channel());
        let names = jobs.iter().map(|it| it.job.clone()).collect();
        self.running.insert(delivery, Delivery { jobs: names, stop: Some(stop) });
        Given { delivery, running: handler.start(jobs), timeout_ms, stop: stopped }
    }

    /// A job begins an attempt.
    fn hand_over(&mut self, name: &str, now: u64) -> Option<Delivered> {
        let lie = self.lie;
        let job = self.lanes.values_mut().find_map(|lane| lane.jobs.get_mut(name))?;
        job.stage = Stage::Running;
        job.attempts.push(Attempt::default());
        job.updated_ms = now;
        let attempt = job.attempts.len() as u32;
        let attempt = if lie == Some(Lie::ToldFromZero) { attempt - 1 } else { attempt };
        Some(Delivered { job: name.to_owned(), attempt: Some(attempt), payload: job.payload.clone() })
    }

    /// Under one lie a run ends with its first batch, and leaves the rest to the next tick.
    fn leave_rest(&mut self, queue: &str, now: u64) {
        let tick = self.ready_ms(queue, now);
        let Some(lane) = self.lanes.get_mut(queue).filter(|lane| lane.policy.schedule.is_some()) else { return };
        if self.lie != Some(Lie::TickLeavesSome) {
            return;
        }
        for job in lane.jobs.values_mut().filter(|job| job.waits()) {
            job.stage = Stage::Waiting { due_ms: tick };
        }
    }

    /// Under one lie a batch takes a job of another queue along.
    fn take_stranger(&self, queue: &str, jobs: &mut Vec<String>) {
        let batches = self.lanes.get(queue).is_some_and(|lane| lane.policy.batch.is_some());
        if !self.lies(Lie::MixedBatch) || !batches {
            return;
        }
        let others = self.lanes.iter().filter(|(other, _)| *other != queue).flat_map(|(_, lane)| &lane.jobs);
        jobs.extend(others.filter(|(_, job)| job.waits()).map(|(name, _)| name.clone()).next());
    }
}

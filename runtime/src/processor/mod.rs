//! The processor: it pulls deliveries, runs their handlers with the timeout, and settles each job.
//!
//! It asks with one pull at a time, which waits at the broker until there is work. A pull that could be granted
//! something is never given up half-way: what it was granted would be lost until the leases end.

mod handler;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

pub use handler::{Delivery, Failure, Handler, Job, Outcome, Report};
pub(crate) use run::kept_of;

use crate::broker::{Granted, Pull, Pulled, Queue, Refusal, Request, Response};

/// How long a pull waits at the broker for work.
const PULL_WAIT: Duration = Duration::from_secs(5);

/// How long to leave a broker alone that could not be reached.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A processor.
pub struct Processor {
    /// Its name, as it stands in leases and logs.
    pub name: String,
    /// The broker.
    pub queue: Arc<dyn Queue>,
    /// What runs the jobs of each queue. Only these queues are pulled from.
    pub handlers: BTreeMap<String, Arc<dyn Handler>>,
    /// How many deliveries it runs side by side.
    pub slots: u32,
}

/// What the processor is doing.
#[derive(Default)]
struct Running {
    tasks: JoinSet<String>,
    handles: BTreeMap<String, AbortHandle>,
}

impl Processor {
    /// Works until `stop` turns true; then it pulls no more, and returns when its running deliveries are settled.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        if self.handlers.is_empty() {
            // A pull that names no queue is one from all of them, and nothing here could run what it is granted.
            let _ = stop.wait_for(|stop| *stop).await; // The sender goes only with the whole process.
            return;
        }
        let mut running = Running::default();
        while !*stop.borrow() {
            // All that have ended, so that one pull asks for as many.
            while let Some(done) = running.tasks.try_join_next() {
                running.finished(done);
            }
            let sent = Instant::now();
            let pull = self.pull(&running);
            let must_finish = 0 < pull.slots;
            let mut answer = self.queue.call(Request::Pull(pull));
            let pulled = loop {
                tokio::select! {
                    biased;
                    pulled = &mut answer => break Some(pulled),
                    Some(done) = running.tasks.join_next(), if !running.tasks.is_empty() => {
                        running.finished(done);
                        if !must_finish { break None }
                    }
                    changed = stop.changed(), if !must_finish => { let _ = changed; break None }
                }
            };
            match pulled {
                Some(Ok(Response::Pulled(pulled))) => self.take(&mut running, pulled, sent),
                Some(Ok(_)) | None => {}
                Some(Err(refusal)) => self.pause_after(&refusal).await,
            }
        }
        while let Some(done) = running.tasks.join_next().await {
            running.finished(done);
        }
    }

    fn pull(&self, running: &Running) -> Pull {
        Pull {
            processor: self.name.clone(),
            queues: self.handlers.keys().cloned().collect(),
            slots: self.slots - (running.handles.len() as u32).min(self.slots),
            wait_ms: PULL_WAIT.as_millis() as u64,
            holding: running.handles.keys().cloned().collect(),
            ..Pull::default()
        }
    }

    async fn pause_after(&self, refusal: &Refusal) {
        tracing::warn!(processor = self.name, %refusal, "pull");
        tokio::time::sleep(RETRY_AFTER).await;
    }

    /// Starts what was granted and stops what was revoked. The leases began after `sent` plus the time that the broker
    /// kept the pull waiting, so they hold at least until that plus their length.
    fn take(&self, running: &mut Running, pulled: Pulled, sent: Instant) {
        for delivery in &pulled.revoked {
            if let Some(handle) = running.handles.remove(delivery) {
                handle.abort();
            }
        }
        let granted = sent + Duration::from_millis(pulled.waited_ms);
        for it in pulled.deliveries {
            let deadline = granted + Duration::from_millis(it.lease_ms);
            let enough = Duration::from_millis(it.delivery.timeout_ms);
            if deadline < Instant::now() + enough {
                tracing::warn!(delivery = it.delivery.id, "came too late to be run within its lease; left to its end");
                continue;
            }
            self.start(running, it, deadline);
        }
    }

    fn start(&self, running: &mut Running, it: Granted, deadline: Instant) {
        let Some(handler) = self.handlers.get(&it.delivery.queue).cloned() else {
            tracing::error!(queue = it.delivery.queue, "a delivery of a queue that was not asked for; left to its end");
            return;
        };
        let (id, queue) = (it.delivery.id.clone(), self.queue.clone());
        let task = running.tasks.spawn(async move {
            let id = it.delivery.id.clone();
            let settlements = run::run(handler.as_ref(), it).await;
            run::settle(queue.as_ref(), settlements, deadline).await;
            id
        });
        running.handles.insert(id, task);
    }
}

impl Running {
    fn finished(&mut self, done: Result<String, tokio::task::JoinError>) {
        match done {
            Ok(delivery) => drop(self.handles.remove(&delivery)),
            Err(error) => {
                // Revoked, and its handle went with that. A handler may have panicked as it was stopped; whatever else did,
                // its slot is free again.
                if error.is_panic() {
                    tracing::error!(%error, "a delivery ended without being settled; left to its lease's end");
                }
                self.handles.retain(|_, handle| handle.id() != error.id());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_delivery_whose_task_panics_leaves_its_slot() {
        let mut running = Running::default();
        for id in ["panics", "goes on"] {
            let task = running.tasks.spawn(async move {
                if id == "panics" {
                    panic!("as its handler was stopped")
                }
                std::future::pending().await
            });
            running.handles.insert(id.into(), task);
        }
        let done = running.tasks.join_next().await.expect("there are two");
        running.finished(done);
        assert_eq!(running.handles.keys().collect::<Vec<_>>(), ["goes on"]);
    }
}

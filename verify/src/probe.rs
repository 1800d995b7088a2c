//! How long this system takes on this machine, while the plays go on, to hand a job to a handler that waits for it:
//! what every "not late" bound gets on top.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kew_spec::queues::{Attempts, Backoff, Policy, Priority};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use crate::fleet::{Fleet, Heard};
use crate::lag::Lag;
use crate::link::Error;
use crate::protocol::{About, Ask, Delivered, Ending, Event, Job, JobResult};
use crate::stalls::Stalls;

/// How far apart the probes are.
const EVERY: Duration = Duration::from_millis(300);

/// What a busy machine may add at any time, probes or not.
const LATE_MS_MIN: u64 = 250;

/// How many attempts a probe has: more than the one that it needs, so that a queue which miscounts them hands it over too.
const ATTEMPTS: u32 = 3;

/// A probe that takes longer than this is given up and counts as so long.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// How many probes tell what is usual before the plays begin.
const USUAL_OF: u32 = 3;

/// Probes all the while. Ends when it is told to.
pub(crate) struct Probe {
    worst_ms: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Probe {
    /// Begins to probe a queue of its own.
    pub(crate) async fn begin(fleet: Arc<Fleet>, about: &About, stalls: Stalls) -> Result<Self, Error> {
        let queue = format!("k{}probe", std::process::id() % 100_000);
        let (sender, heard) = unbounded_channel();
        fleet.route(&queue, sender);
        let policy = Policy {
            priority: Priority::High,
            attempts: Attempts::Limited(ATTEMPTS),
            backoff: Backoff::None,
            timeout_ms: if about.capabilities.timeout.is_there() { 30_000 } else { 3_600_000 },
            dead_letter_queue: None,
            rate_limit: None,
            batch: None,
            deduplication: false,
            schedule: None,
        };
        let ask =
            Ask::Configure { queue: queue.clone(), policy: Box::new(policy), slots: 1, beside: vec![queue.clone()] };
        fleet.configure(ask, 1).await?;
        let mut prober = Prober { fleet, queue, heard, number: 0, took: Vec::new() };
        // What is usual here is known before the first play, so that a slow system is not taken for a machine that stood still.
        for _ in 0..USUAL_OF {
            if prober.probe().await.is_none_or(|took| PROBE_MAX <= took) {
                break; // It is lost, or the adapter is: the plays will tell.
            }
        }
        let worst_ms = Arc::new(AtomicU64::new(prober.worst().as_millis() as u64));
        let (worst, due) = (Arc::clone(&worst_ms), Duration::from_millis(about.quantum_ms));
        let task = tokio::spawn(async move {
            loop {
                let (began, usual) = (Instant::now(), prober.usual());
                let Some(took) = prober.probe().await else { return };
                stalls.note(began, due.max(2 * usual));
                worst.fetch_max(took.as_millis() as u64, Ordering::Relaxed);
                tokio::time::sleep(EVERY).await;
            }
        });
        Ok(Self { worst_ms, task })
    }

    /// What "not late" bounds get on top, by what was measured so far.
    pub(crate) fn late_ms(&self, about: &About, lag: &Lag) -> u64 {
        let measured = self.worst_ms.load(Ordering::Relaxed).max(lag.worst_ms());
        LATE_MS_MIN + 2 * measured + 2 * about.quantum_ms
    }

    pub(crate) fn end(self) {
        self.task.abort();
    }
}

/// Sends jobs to a queue of its own, one at a time.
struct Prober {
    fleet: Arc<Fleet>,
    queue: String,
    heard: UnboundedReceiver<Heard>,
    number: u64,
    /// How long each took so far, the shortest first.
    took: Vec<Duration>,
}

impl Prober {
    /// One job, from its enqueue to the answer of its handler; nothing if the adapter is gone.
    async fn probe(&mut self) -> Option<Duration> {
        let began = Instant::now();
        let job = Job {
            queue: self.queue.clone(),
            job: format!("{}-{}", self.queue, self.number),
            payload: "{}".to_owned(),
            user: "probe".into(),
            key: None,
            idempotency_key: None,
        };
        self.number += 1;
        self.fleet.client().ask(Ask::Enqueue(job)).await.ok()?;
        let heard = tokio::time::timeout(PROBE_MAX, self.heard.recv()).await;
        if let Ok(Some(heard)) = heard
            && let Event::Invoke { invocation, jobs, .. } = heard.event
        {
            let done = |it: Delivered| JobResult { job: it.job, result: Ending::Completed, error: None };
            self.fleet.tell(heard.worker, Ask::Outcome { invocation, jobs: jobs.into_iter().map(done).collect() });
        }
        let took = began.elapsed();
        self.took.insert(self.took.partition_point(|other| *other < took), took);
        Some(took)
    }

    /// What half of them took at most.
    fn usual(&self) -> Duration {
        self.took.get(self.took.len() / 2).copied().unwrap_or_default()
    }

    fn worst(&self) -> Duration {
        self.took.last().copied().unwrap_or_default()
    }
}

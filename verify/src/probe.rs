//! How long this system takes on this machine, while the plays go on, to hand a job to a handler that waits for it:
//! what every "not late" bound gets on top.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kew_spec::queues::{Attempts, Backoff, Policy, Priority};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use crate::fleet::Fleet;
use crate::lag::Lag;
use crate::link::Error;
use crate::protocol::{About, Ask, Ending, Event, Job, JobResult};
use crate::stalls::Stalls;

/// How far apart the probes are.
const EVERY: Duration = Duration::from_millis(300);

/// What a busy machine may add at any time, probes or not.
const LATE_MS_MIN: u64 = 250;

/// A probe that takes longer than this is given up and counts as so long.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// Probes all the while. Ends when it is told to.
pub(crate) struct Probe {
    worst_ms: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Probe {
    /// Begins to probe a queue of its own.
    pub(crate) async fn begin(fleet: Arc<Fleet>, about: &About, stalls: Stalls) -> Result<Self, Error> {
        let queue = format!("k{}probe", std::process::id() % 100_000);
        let (sender, mut heard) = unbounded_channel();
        fleet.route(&queue, sender);
        let policy = Policy {
            priority: Priority::High,
            attempts: Attempts::Limited(1),
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
        let worst_ms = Arc::new(AtomicU64::new(0));
        let (worst, due) = (Arc::clone(&worst_ms), Duration::from_millis(about.quantum_ms));
        let task = tokio::spawn(async move {
            for number in 0.. {
                let began = Instant::now();
                let name = format!("{queue}-{number}");
                let payload = "{}".to_owned();
                let job = Job {
                    queue: queue.clone(),
                    job: name,
                    payload,
                    user: "probe".into(),
                    key: None,
                    idempotency_key: None,
                };
                if fleet.client().ask(Ask::Enqueue(job)).await.is_err() {
                    return;
                }
                let heard = tokio::time::timeout(PROBE_MAX, heard.recv()).await;
                if let Ok(Some(heard)) = heard
                    && let Event::Invoke { invocation, jobs, .. } = heard.event
                {
                    let done = |it: crate::protocol::Delivered| JobResult {
                        job: it.job,
                        result: Ending::Completed,
                        error: None,
                    };
                    fleet.tell(heard.worker, Ask::Outcome { invocation, jobs: jobs.into_iter().map(done).collect() });
                }
                stalls.note(began, due);
                worst.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
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

//! Backoffs, timeouts and moments to run at are cut to whole seconds: a retry that was to come after 500 ms comes at
//! once, and anything else up to a second early.
//!
//! effectum = "=0.7.0"
//! tempfile = "=3.27.0"
//! time = "=0.3.55"
//! tokio = { version = "=1.54.1", features = ["macros", "rt-multi-thread", "time"] }

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use effectum::{Error, Job, JobRunner, Queue, RunningJob, Worker};
use time::OffsetDateTime;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    /// From the first delivery, which fails, to the second.
    Backoff,
    /// From the first delivery, which hangs, to the second.
    Timeout,
    /// From adding the job to the first delivery.
    RunAt,
}

#[derive(Debug)]
struct Seen {
    wait: Wait,
    /// Two moments of each job, by its name.
    moments: Mutex<BTreeMap<String, Vec<Instant>>>,
}

impl Seen {
    fn note(&self, job: &str) -> usize {
        let mut moments = self.moments.lock().unwrap();
        let of = moments.entry(job.to_owned()).or_default();
        of.push(Instant::now());
        of.len()
    }
}

async fn handle(job: RunningJob, seen: Arc<Seen>) -> Result<(), String> {
    let moment = seen.note(job.name.as_deref().expect("each has a name"));
    match (seen.wait, moment) {
        (Wait::Backoff, 1) => Err("failed as planned".to_owned()),
        (Wait::Timeout, 1) => std::future::pending().await,
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let jobs = std::env::var("JOBS").map_or(20, |it| it.parse().expect("JOBS is a number"));
    println!("{jobs} jobs, added 50 ms apart:");
    for (wait, ms) in
        [(Wait::Backoff, 500), (Wait::Backoff, 1000), (Wait::Backoff, 2000), (Wait::Timeout, 2000), (Wait::RunAt, 2000)]
    {
        let asked = Duration::from_millis(ms);
        let dir = tempfile::tempdir().expect("a directory can be made");
        // Never dropped: effectum closes itself on a runtime, which may be gone by then.
        let queue = &*Box::leak(Box::new(Queue::new(&dir.path().join("effectum.db")).await?));
        let seen = Arc::new(Seen { wait, moments: Mutex::default() });
        let runner = JobRunner::builder("work", handle).build();
        let _worker = Worker::builder(queue, Arc::clone(&seen)).max_concurrency(1000).jobs([runner]).build().await?;

        for n in 0..jobs {
            let name = format!("job-{n}");
            let job =
                Job::builder("work").name(&name).max_retries(1000).backoff_multiplier(1.0).backoff_randomization(0.0);
            let job = match wait {
                Wait::Backoff => job.backoff_initial_interval(asked),
                Wait::Timeout => job.timeout(asked).backoff_initial_interval(Duration::ZERO),
                Wait::RunAt => {
                    seen.note(&name);
                    job.run_at(OffsetDateTime::now_utc() + asked)
                }
            };
            job.add_to(queue).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(asked + Duration::from_secs(3)).await;

        let moments = seen.moments.lock().unwrap();
        let twice = moments.values().filter(|it| it.len() > 1);
        let waits: Vec<_> = twice.map(|it| (it[1] - it[0]).as_millis()).collect();
        println!(
            "{:7} {ms:4} ms: shortest {:4} ms, longest {:4} ms, too early {} of {}",
            format!("{wait:?}"),
            waits.iter().min().unwrap_or(&0),
            waits.iter().max().unwrap_or(&0),
            waits.iter().filter(|it| **it < asked.as_millis()).count(),
            waits.len(),
        );
    }
    Ok(())
}

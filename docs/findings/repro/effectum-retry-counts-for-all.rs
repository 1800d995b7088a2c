//! One job's retry counts for every job: `quiet` may be retried twice, and is given up after its first attempt, because
//! `noisy` was retried nine times.
//!
//! effectum = "=0.7.0"
//! tempfile = "=3.27.0"
//! time = "=0.3.55"
//! tokio = { version = "=1.54.1", features = ["macros", "rt-multi-thread", "time"] }

use std::sync::{Arc, Mutex};
use std::time::Duration;

use effectum::{Error, Job, JobRunner, JobState, Queue, RunningJob, Worker};
use time::OffsetDateTime;

/// The try as which each delivery began, with its job's type.
type Tries = Arc<Mutex<Vec<(String, i32)>>>;

async fn fail(job: RunningJob, tries: Tries) -> Result<(), String> {
    tries.lock().unwrap().push((job.job_type.clone(), job.current_try));
    Err(format!("{} failed as planned", job.job_type))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let runs = std::env::var("RUNS").map_or(3, |it| it.parse().expect("RUNS is a number"));
    let mut wrong = 0;
    for _ in 0..runs {
        let dir = tempfile::tempdir().expect("a directory can be made");
        // Never dropped: effectum closes itself on a runtime, which may be gone by then.
        let queue = &*Box::leak(Box::new(Queue::new(&dir.path().join("effectum.db")).await?));
        let tries = Tries::default();
        let runners = ["noisy", "quiet"].map(|it| JobRunner::builder(it, fail).build());
        let _worker = Worker::builder(queue, Arc::clone(&tries)).jobs(runners).build().await?;

        let job = |of, retries| Job::builder(of).max_retries(retries).backoff_initial_interval(Duration::ZERO);
        let quiet = job("quiet", 2).run_at(OffsetDateTime::now_utc() + Duration::from_secs(2)).add_to(queue).await?;
        let noisy = job("noisy", 9).add_to(queue).await?;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if queue.get_job_status(quiet).await?.state == JobState::Failed {
                break;
            }
        }

        let tries = tries.lock().unwrap().clone();
        for (of, id, retries) in [("noisy", noisy, 9), ("quiet", quiet, 2)] {
            let begun: Vec<_> = tries.iter().filter(|(it, _)| it == of).map(|(_, begun)| begun).collect();
            let it = queue.get_job_status(id).await?;
            let (tried, infos) = (it.current_try.unwrap_or_default(), it.run_info.len());
            println!("{of}, max_retries {retries}: begun as try {begun:?}, then {}", it.state);
            println!("    its status: current_try {tried}, run_info with {infos} entries");
            wrong += usize::from(of == "quiet" && begun.len() < 3);
        }
    }
    println!("quiet was given up before its three attempts in {wrong} of {runs} runs");
    Ok(())
}

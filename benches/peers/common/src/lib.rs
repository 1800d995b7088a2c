//! What the load programs written in Rust share: their arguments, the payload, the window of jobs in flight and the
//! line that they print. It knows no queue.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// How many producers create jobs at once, in `enqueue`.
pub const PRODUCERS: usize = 64;

/// How many jobs are created and not yet completed, in `mixed`.
pub const IN_FLIGHT: usize = 1000;

/// The job's payload: 102 bytes of JSON, the same for every system.
pub const PAYLOAD: &str =
    r#"{"resume_id":"5f0c7e8a-1b2d-4c3e-9f40-a1b2c3d4e5f6","template":"modern","format":"pdf","pages":[1,20]}"#;

/// What goes wrong ends the program.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a program is asked to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Single creates, each acknowledged, from [`PRODUCERS`] producers.
    Enqueue,
    /// From claim to completion, of jobs that were created before.
    Process,
    /// Both at once, [`IN_FLIGHT`] jobs in flight.
    Mixed,
}

/// `PROGRAM WORK JOBS CONFIGURATION PLACE`, as `run` calls it. The place is a folder, or a server's address.
pub struct Arguments {
    /// What is measured.
    pub work: Work,
    /// How many jobs are timed.
    pub jobs: usize,
    /// Which of the system's configurations.
    pub configuration: String,
    /// A folder for its files, or the address of its server.
    pub place: String,
}

impl Arguments {
    /// Those of this process.
    pub fn read() -> Result<Self> {
        let given: Vec<String> = std::env::args().skip(1).collect();
        let [work, jobs, configuration, place] = given.as_slice() else {
            return Err("usage: PROGRAM enqueue|process|mixed JOBS CONFIGURATION PLACE".into());
        };
        let work = match work.as_str() {
            "enqueue" => Work::Enqueue,
            "process" => Work::Process,
            "mixed" => Work::Mixed,
            other => return Err(format!("no such work: {other}").into()),
        };
        Ok(Self { work, jobs: jobs.parse()?, configuration: configuration.clone(), place: place.clone() })
    }

    /// How many jobs warm the system up, untimed.
    pub fn warm_up(&self) -> usize {
        (self.jobs / 10).max(PRODUCERS)
    }

    fn work_name(&self) -> &'static str {
        match self.work {
            Work::Enqueue => "enqueue",
            Work::Process => "process",
            Work::Mixed => "mixed",
        }
    }
}

/// What was measured: how long it took, and how many of the timed jobs the system's own store says are done.
pub struct Measured {
    /// From the first create, or from the start of the worker, to the last job.
    pub elapsed: Duration,
    /// Counted by the system itself, after the clock was stopped.
    pub completed: usize,
}

/// Prints the one line that `run` reads.
pub fn print_line(arguments: &Arguments, system: &str, version: &str, durability: &str, measured: &Measured) {
    let line = serde_json::json!({
        "system": system,
        "version": version,
        "configuration": arguments.configuration,
        "durability": durability,
        "work": arguments.work_name(),
        "jobs": arguments.jobs,
        "seconds": measured.elapsed.as_secs_f64(),
        "completed": measured.completed,
    });
    println!("{line}");
}

/// The version of a package that a Cargo.lock pins.
pub fn locked_version<'a>(lock: &'a str, package: &str) -> &'a str {
    let head = format!("name = \"{package}\"\nversion = \"");
    lock.split_once(&head).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown")
}

/// Hands out the jobs that are still to be created, to any number of producers.
#[derive(Clone)]
pub struct ToCreate(Arc<AtomicUsize>);

impl ToCreate {
    /// So many jobs.
    pub fn new(jobs: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(jobs)))
    }

    /// Takes one, while there are any.
    pub fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// The window of `mixed`: a job enters before it is created and leaves when its handler has run.
#[derive(Debug)]
pub struct Window {
    free: Semaphore,
    left: AtomicUsize,
}

impl Window {
    /// Room for [`IN_FLIGHT`] jobs.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { free: Semaphore::new(IN_FLIGHT), left: AtomicUsize::new(0) })
    }

    /// Waits for room for one more.
    pub async fn enter(&self) {
        self.free.acquire().await.expect("the semaphore is never closed").forget();
    }

    /// One job's handler has run.
    pub fn leave(&self) {
        self.left.fetch_add(1, Relaxed);
        self.free.add_permits(1);
    }

    /// How many handlers have run.
    pub fn handled(&self) -> usize {
        self.left.load(Relaxed)
    }
}

/// Fails when a measurement takes far longer than any should.
pub fn within_two_minutes(since: Instant) -> Result<()> {
    if Duration::from_secs(120) < since.elapsed() {
        return Err("not done within two minutes".into());
    }
    Ok(())
}

//! What a backlog costs: the same work with little and with much in the store. And what the store costs while it runs:
//! memory, start-up, and the size of its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kew_runtime::broker::{Handle, JobRequest, Queue, Request};
use kew_runtime::store::{Sqlite, SqliteOptions, Synchronous};
use kew_spec::queues::Queues;
use serde::Serialize;

use crate::kew::{self, Kind, Requests, Run, now};
use crate::work::IN_FLIGHT;

/// How many jobs are created and processed on top of a backlog.
pub const JOBS_ON_TOP: u32 = 20_000;

/// How many jobs one request makes while a backlog is built.
const BULK: u32 = 1_000;

/// What lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Backlog {
    /// Jobs that are ready, of one user.
    Ready,
    /// Jobs that are ready, each of another user.
    Users,
    /// Jobs of the scheduled queue, which wait for its tick.
    Delayed,
    /// Jobs of the deduplicated queue, each for another entity.
    Entities,
}

impl Backlog {
    fn job(self, requests: &mut Requests, number: u32) -> JobRequest {
        let job = requests.request();
        match self {
            // Of another queue than what is done on top: a queue is first in, first out.
            Self::Ready => JobRequest { queue: "email_notification".into(), ..job },
            Self::Users => JobRequest { queue: "email_notification".into(), user: format!("user-{number}"), ..job },
            Self::Delayed => JobRequest { queue: "analytics_processing".into(), ..job },
            Self::Entities => JobRequest { queue: "data_sync".into(), key: Some(format!("resume-{number}")), ..job },
        }
    }
}

/// What a backlog of one size cost.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// What lay in the store: a name of [`Backlog`].
    pub backlog: String,
    /// How many jobs.
    pub size: u32,
    /// Jobs a second that were created, processed and settled on top of it.
    pub per_second: f64,
    /// How long it took to open the store, with the backlog in it.
    pub open_ms: f64,
    /// How much memory the process took for each job of the backlog, in bytes.
    pub bytes_per_job: f64,
    /// How large the file is, for each job of the backlog, in bytes.
    pub file_bytes_per_job: f64,
}

/// Measures the cost of `size` jobs in a new store in `folder`.
///
/// # Panics
///
/// If the queue refuses what it is asked.
pub async fn cost(folder: &Path, backlog: Backlog, size: u32) -> Cost {
    let before = resident_bytes();
    let broker = kew::open(folder, Queues::default(), Synchronous::Full).expect("the store opens");
    fill(&broker, backlog, size).await;
    let resident = resident_bytes().saturating_sub(before) as f64;
    let per_second = f64::from(JOBS_ON_TOP) / on_top(&broker).await.as_secs_f64();
    drop(broker);
    let open_ms = reopen(folder).await.as_secs_f64() * 1_000.0;
    let file = std::fs::metadata(folder.join("kew.db")).map_or(0, |file| file.len()) as f64;
    let jobs = f64::from(size);
    let name = format!("{backlog:?}").to_lowercase();
    let (bytes_per_job, file_bytes_per_job) = (resident / jobs, file / jobs);
    Cost { backlog: name, size, per_second, open_ms, bytes_per_job, file_bytes_per_job }
}

/// How long [`JOBS_ON_TOP`] jobs take on top of `size` in a new store in `folder`.
///
/// # Panics
///
/// If the queue refuses what it is asked.
pub async fn on_top_of(folder: &Path, backlog: Backlog, size: u32, synchronous: Synchronous) -> Duration {
    let broker = kew::open(folder, Queues::default(), synchronous).expect("the store opens");
    fill(&broker, backlog, size).await;
    on_top(&broker).await
}

async fn fill(broker: &Handle, backlog: Backlog, size: u32) {
    let mut requests = Requests::new(11, Kind::default());
    let mut made = 0;
    while made < size {
        let bulk = BULK.min(size - made);
        let jobs = (made..made + bulk).map(|number| backlog.job(&mut requests, number)).collect();
        broker.call(Request::Enqueue(jobs)).await.expect("the jobs are created");
        made += bulk;
    }
}

async fn on_top(broker: &Handle) -> Duration {
    let run = Arc::new(Run::new(broker.clone(), Kind::default(), JOBS_ON_TOP, IN_FLIGHT));
    let begun = now();
    tokio::join!(kew::produce(&run, JOBS_ON_TOP, IN_FLIGHT, true), kew::process(&run, IN_FLIGHT));
    begun.elapsed()
}

/// Opens the store again as soon as the writer has let go of it, and says how long that took.
async fn reopen(folder: &Path) -> Duration {
    loop {
        let begun = now();
        match Sqlite::open(folder.join("kew.db"), &SqliteOptions::default()) {
            Ok(_) => return begun.elapsed(),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The size of a store's files, by the ends of their names.
pub fn files(folder: &Path) -> BTreeMap<&'static str, u64> {
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    BTreeMap::from([("db", size("kew.db")), ("wal", size("kew.db-wal"))])
}

/// How much memory this process holds; 0 where the system does not tell (it is Linux that does).
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

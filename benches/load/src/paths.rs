//! Each queue of the five on its own path: rate limit, batch, deduplication, schedule. Where a policy makes jobs wait its
//! times are cut to milliseconds, so that what is measured is the bookkeeping and not the wait.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kew_runtime::store::Synchronous;
use kew_spec::queues::Queues;

use crate::kew::{self, Kind, Run};
use crate::work::IN_FLIGHT;

/// The queues.
pub const ALL: [&str; 5] =
    ["pdf_generation", "ai_enhancement", "email_notification", "data_sync", "analytics_processing"];

/// The queues' policies with their waits cut.
fn policies() -> Queues {
    let text = kew_spec::queues::DEFAULT_TOML
        .replace("starts = 10, per_ms = 1_000", "starts = 100_000, per_ms = 1_000")
        .replace("wait_ms = 5_000", "wait_ms = 1")
        .replace("every_ms = 300_000", "every_ms = 1_000");
    Queues::parse(&text).expect("only numbers have changed")
}

/// Creates, processes and settles `jobs` jobs of `queue` at synchronous=NORMAL and says how long it took, in a new store
/// in `folder`.
///
/// # Panics
///
/// If the queue refuses a job.
pub async fn run(folder: &Path, queue: &str, jobs: u32) -> Duration {
    let queues = policies();
    let is_keyed = queues.get(queue).is_some_and(|policy| policy.deduplication);
    let broker = kew::open(folder, queues, Synchronous::Normal).expect("the store opens");
    let run = Arc::new(Run::new(broker, Kind::new(queue, is_keyed), jobs, IN_FLIGHT));
    let begun = kew::now();
    tokio::join!(kew::produce(&run, jobs, IN_FLIGHT, false), kew::process(&run, IN_FLIGHT));
    begun.elapsed()
}

//! The time from a create to its start: an idle queue is asked for one job at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{Queue, Request};
use kew_runtime::processor::{Delivery, Failure, Handler, Processor, Report};
use kew_runtime::store::Synchronous;
use kew_spec::queues::Queues;
use tokio::sync::{mpsc, watch};

use crate::kew::{self, Kind, QUEUE, Requests, now};

/// Says when a handler was started.
struct Telling(mpsc::UnboundedSender<Instant>);

impl Handler for Telling {
    fn handle<'a>(&'a self, _: &'a Delivery, _: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        // Nobody listens any more only when the measurement is over.
        let _ = self.0.send(now());
        std::future::ready(Ok(())).boxed()
    }
}

/// The times of `jobs` jobs from the call that creates one to the start of its handler, the shortest first.
///
/// # Panics
///
/// If the queue refuses a job.
pub async fn create_to_start(folder: &Path, jobs: u32, synchronous: Synchronous) -> Vec<Duration> {
    let broker = kew::open(folder, Queues::default(), synchronous).expect("the store opens");
    let (sender, mut started) = mpsc::unbounded_channel();
    let handlers = BTreeMap::from([(QUEUE.to_owned(), Arc::new(Telling(sender)) as Arc<dyn Handler>)]);
    let processor = Processor { name: "latency".into(), queue: Arc::new(broker.clone()), handlers, slots: 8 };
    let (_stop, stopped) = watch::channel(false);
    let running = tokio::spawn(processor.run(stopped));
    let mut requests = Requests::new(3, Kind::default());
    let mut took = Vec::with_capacity(jobs as usize);
    for _ in 0..jobs {
        let begun = now();
        broker.call(Request::Enqueue(vec![requests.request()])).await.expect("the job is created");
        let started = started.recv().await.expect("the processor runs");
        took.push(started - begun);
        // Long enough for its end to be settled: the next one finds the queue idle.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.abort();
    took.sort();
    took
}

/// The value below which `share` of the sorted times lie.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len() as f64 * share) as usize;
    sorted[place.min(sorted.len() - 1)]
}

//! The time from a create to its start: on an idle queue, which is asked for one job at a time, and on one that is asked
//! for so many a second.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{Handle, Queue, Request};
use kew_runtime::processor::{Delivery, Failure, Handler, Processor, Report};
use kew_runtime::store::Synchronous;
use kew_spec::queues::Queues;
use tokio::sync::{mpsc, watch};

use crate::kew::{self, Kind, QUEUE, Requests, now};

/// How many jobs the processor runs side by side.
const SLOTS: u32 = 64;

/// Says which job was started when.
struct Telling(mpsc::UnboundedSender<(String, Instant)>);

impl Handler for Telling {
    fn handle<'a>(&'a self, delivery: &'a Delivery, _: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        for job in &delivery.jobs {
            // Nobody listens any more only when the measurement is over.
            let _ = self.0.send((job.id.clone(), now()));
        }
        std::future::ready(Ok(())).boxed()
    }
}

/// A queue with a processor that tells of starts.
struct Bench {
    broker: Handle,
    started: mpsc::UnboundedReceiver<(String, Instant)>,
    processor: tokio::task::JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Bench {
    fn open(folder: &Path, synchronous: Synchronous) -> Self {
        let broker = kew::open(folder, Queues::default(), synchronous).expect("the store opens");
        let (sender, started) = mpsc::unbounded_channel();
        let handlers = BTreeMap::from([(QUEUE.to_owned(), Arc::new(Telling(sender)) as Arc<dyn Handler>)]);
        let processor = Processor { name: "latency".into(), queue: Arc::new(broker.clone()), handlers, slots: SLOTS };
        let (_stop, stopped) = watch::channel(false);
        let processor = tokio::spawn(processor.run(stopped));
        Self { broker, started, processor, _stop }
    }

    async fn started(&mut self) -> (String, Instant) {
        self.started.recv().await.expect("the processor runs")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.processor.abort();
    }
}

/// The times of `jobs` jobs from the call that creates one to the start of its handler, the shortest first. Each finds the
/// queue idle.
///
/// # Panics
///
/// If the queue refuses a job.
pub async fn when_idle(folder: &Path, jobs: u32, synchronous: Synchronous) -> Vec<Duration> {
    let mut bench = Bench::open(folder, synchronous);
    let mut requests = Requests::new(3, Kind::default());
    let mut took = Vec::with_capacity(jobs as usize);
    for _ in 0..jobs {
        let begun = now();
        bench.broker.call(Request::Enqueue(vec![requests.request()])).await.expect("the job is created");
        let (_, started) = bench.started().await;
        took.push(started - begun);
        // Long enough for its end to be settled: the next one finds the queue idle.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort();
    took
}

/// The same of a queue that is asked for `per_second` jobs a second, whether or not those before have been answered: what
/// makes one wait, as moving the log into the file does, makes all wait that come meanwhile, and all of them count.
///
/// # Panics
///
/// If the queue refuses a job.
pub async fn at_a_rate(folder: &Path, jobs: u32, per_second: u32, synchronous: Synchronous) -> Vec<Duration> {
    let mut bench = Bench::open(folder, synchronous);
    let broker = bench.broker.clone();
    let producing = tokio::spawn(async move {
        let mut requests = Requests::new(3, Kind::default());
        let mut begun = HashMap::with_capacity(jobs as usize);
        let first = now();
        for number in 0..jobs {
            tokio::time::sleep_until((first + Duration::from_secs(1) * number / per_second).into()).await;
            let request = requests.request();
            begun.insert(request.id.clone(), now());
            let broker = broker.clone();
            tokio::spawn(async move {
                broker.call(Request::Enqueue(vec![request])).await.expect("the job is created");
            });
        }
        begun
    });
    let mut started = Vec::with_capacity(jobs as usize);
    for _ in 0..jobs {
        started.push(bench.started().await);
    }
    let begun = producing.await.expect("no producer panics");
    let mut took: Vec<_> = started.into_iter().map(|(job, started)| started - begun[&job]).collect();
    took.sort();
    took
}

/// The value below which `share` of the sorted times lie.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len() as f64 * share) as usize;
    sorted[place.min(sorted.len() - 1)]
}

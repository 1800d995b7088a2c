//! The reference queue under load: its own broker, store and processor in this process, as `kew serve` puts them
//! together, with a handler that does nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{self, Handle, JobRequest, Queue, Refusal, Request, Response};
use kew_runtime::clock::{Clock, SystemClock};
use kew_runtime::ids::Ids;
use kew_runtime::processor::{Delivery, Failure, Handler, Processor, Report};
use kew_runtime::store::{Sqlite, SqliteOptions, Store, Synchronous};
use kew_spec::queues::Queues;
use serde_json::value::RawValue;
use tokio::sync::{Notify, Semaphore, watch};

use crate::work::{Load, PAYLOAD, Work};

/// The queue that is loaded: no batch, no rate limit, no deduplication.
pub const QUEUE: &str = "pdf_generation";

/// How many jobs one request makes while a backlog is built.
const BULK: u32 = 1_000;

/// Opens a broker on a new store in `folder`. Its writer has a thread of its own.
///
/// # Errors
///
/// If the store cannot be opened.
pub fn open(folder: &Path, queues: Queues, synchronous: Synchronous) -> Result<Handle, kew_runtime::store::Error> {
    open_keeping(folder, queues, synchronous, broker::RETENTION_MS)
}

/// Opens a broker that keeps jobs for `keep_ended_ms` after their end.
///
/// # Errors
///
/// If the store cannot be opened.
pub fn open_keeping(
    folder: &Path,
    queues: Queues,
    synchronous: Synchronous,
    keep_ended_ms: u64,
) -> Result<Handle, kew_runtime::store::Error> {
    open_seen(folder, queues, synchronous, keep_ended_ms, |store| store)
}

/// Opens a broker whose store `see` has put something around.
///
/// # Errors
///
/// If the store cannot be opened.
pub fn open_seen(
    folder: &Path,
    queues: Queues,
    synchronous: Synchronous,
    keep_ended_ms: u64,
    see: impl FnOnce(Box<dyn Store>) -> Box<dyn Store>,
) -> Result<Handle, kew_runtime::store::Error> {
    let options = SqliteOptions { synchronous, ..SqliteOptions::default() };
    let store = Sqlite::open(folder.join("kew.db"), &options)?;
    let reader = store.reader()?;
    let (handle, writer) = broker::new(
        see(Box::new(store)),
        Box::new(reader),
        Arc::new(queues),
        Arc::new(SystemClock::new()),
        Ids::from_entropy(),
    );
    let writer = writer.keep_ended(keep_ended_ms);
    let write = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime without I/O needs nothing").block_on(writer.run()).expect("the store works");
    };
    // Named, so that a profile tells it from the others.
    std::thread::Builder::new().name("writer".into()).spawn(write).expect("the system gives threads");
    Ok(handle)
}

/// What kind of jobs are made.
#[derive(Clone, Debug)]
pub struct Kind {
    queue: String,
    is_keyed: bool,
}

impl Kind {
    /// Jobs of `queue`; each for an entity of its own, if the queue deduplicates.
    pub fn new(queue: &str, is_keyed: bool) -> Self {
        Self { queue: queue.to_owned(), is_keyed }
    }
}

impl Default for Kind {
    /// Jobs of [`QUEUE`].
    fn default() -> Self {
        Self::new(QUEUE, false)
    }
}

/// Makes requests for jobs.
pub struct Requests {
    ids: Ids,
    clock: SystemClock,
    kind: Kind,
}

impl Requests {
    /// The stream of requests for jobs of `kind` that begins at `seed`.
    pub fn new(seed: u64, kind: Kind) -> Self {
        Self { ids: Ids::from_seed(seed), clock: SystemClock::new(), kind }
    }

    /// The next one.
    ///
    /// # Panics
    ///
    /// Never: the payload is JSON.
    pub fn request(&mut self) -> JobRequest {
        // Of the time at which it is made, as the API's are: ids that sort otherwise cost the store far more.
        let id = self.ids.next(self.clock.wall_ms());
        JobRequest {
            key: self.kind.is_keyed.then(|| id.clone()),
            id,
            queue: self.kind.queue.clone(),
            user: "user-1".into(),
            payload: RawValue::from_string(PAYLOAD.into()).expect("the payload is JSON"),
            idempotency: None,
            email: None,
        }
    }
}

/// A handler that does nothing.
pub struct Nothing;

impl Handler for Nothing {
    fn handle<'a>(&'a self, _: &'a Delivery, _: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// A run: the broker, with a count of the jobs whose end it has acknowledged.
pub struct Run {
    broker: Handle,
    kind: Kind,
    settled: AtomicU32,
    target: u32,
    all: Notify,
    /// What producers wait for that may not run ahead.
    room: Semaphore,
}

impl Run {
    /// A run that is over when `target` jobs of `kind` have ended, with at most `in_flight` of them at once.
    pub fn new(broker: Handle, kind: Kind, target: u32, in_flight: u32) -> Self {
        let (settled, all) = (AtomicU32::new(0), Notify::new());
        Self { broker, kind, settled, target, all, room: Semaphore::new(in_flight as usize) }
    }
}

impl Queue for Run {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Refusal>> {
        async move {
            let answer = self.broker.call(request).await;
            if let Ok(Response::Settled(accepted)) = &answer {
                let more = accepted.iter().filter(|accepted| **accepted).count() as u32;
                self.room.add_permits(more as usize);
                if self.settled.fetch_add(more, Ordering::AcqRel) + more == self.target {
                    self.all.notify_one();
                }
            }
            answer
        }
        .boxed()
    }
}

/// Does `load` in a new store in `folder` and says how long it took.
///
/// # Panics
///
/// If the queue refuses what it is asked: then there is nothing to measure.
pub async fn run(folder: &Path, load: &Load) -> Duration {
    let broker = open(folder, Queues::default(), load.synchronous).expect("the store opens");
    let run = Arc::new(Run::new(broker, Kind::default(), load.jobs, load.in_flight));
    if load.work == Work::Process {
        backlog(&run, load.jobs).await;
    }
    let begun = now();
    match load.work {
        Work::Enqueue => produce(&run, load.jobs, load.producers, false).await,
        Work::Process => process(&run, load.in_flight).await,
        Work::Mixed => {
            let produced = produce(&run, load.jobs, load.in_flight, true);
            tokio::join!(produced, process(&run, load.in_flight));
        }
    }
    begun.elapsed()
}

/// The machine's clock.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Creates `jobs` jobs, one a request, by `producers` that each wait for their answer.
///
/// # Panics
///
/// If the queue refuses a job.
pub async fn produce(queue: &Arc<Run>, jobs: u32, producers: u32, waits_for_room: bool) {
    let producing = (0..producers).map(|producer| {
        let queue = queue.clone();
        let share = jobs / producers + u32::from(producer < jobs % producers);
        tokio::spawn(async move {
            let mut requests = Requests::new(u64::from(producer) << 32 | 7, queue.kind.clone());
            for _ in 0..share {
                if waits_for_room {
                    queue.room.acquire().await.expect("it is never closed").forget();
                }
                let created = queue.broker.call(Request::Enqueue(vec![requests.request()])).await;
                created.expect("the job is created");
            }
        })
    });
    for producer in producing.collect::<Vec<_>>() {
        producer.await.expect("no producer panics");
    }
}

/// Creates jobs in bulk.
async fn backlog(queue: &Arc<Run>, jobs: u32) {
    let mut requests = Requests::new(1, queue.kind.clone());
    let mut left = jobs;
    while 0 < left {
        let bulk = BULK.min(left);
        let created = queue.broker.call(Request::Enqueue((0..bulk).map(|_| requests.request()).collect())).await;
        created.expect("the jobs are created");
        left -= bulk;
    }
}

/// Processes until all that were asked for have ended.
pub async fn process(queue: &Arc<Run>, slots: u32) {
    let handlers = BTreeMap::from([(queue.kind.queue.clone(), Arc::new(Nothing) as Arc<dyn Handler>)]);
    let processor = Processor { name: "load".into(), queue: queue.clone(), handlers, slots };
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(processor.run(stopped));
    queue.all.notified().await;
    // The clock has stopped by the time that this takes effect: the last pull waits for its turn to end.
    let _ = stop.send(true);
    running.abort();
    // Until it is gone it might be granted what the next run creates, and take that along.
    let _ = running.await;
}

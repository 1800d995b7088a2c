//! A load with its history: what clients asked and were told, what the queue says it did, what handlers saw, and how every
//! job stands in the end. `kew check` judges it, so that a fast queue is shown to keep its promises while it is fast.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{self, Handle, Queue, Request, Response};
use kew_runtime::processor::{Delivery, Failure, Handler, Processor, Report};
use kew_runtime::store::{JobRow, Query, Rows, Synchronous};
use kew_sim::record::{RecordingStore, Witness, fingerprint, row};
use kew_spec::history::{
    self, AttemptOutcome, Drained, Ended, Enqueue, Event, Finished, Given, Header, Reply, Sight, Slack, Started,
    StatusRead, Told, What, Writer,
};
use kew_spec::queues::Queues;
use tokio::sync::{Notify, Semaphore, watch};

use crate::kew::{self, Kind, Requests, now};
use crate::work::IN_FLIGHT;

/// Where jobs go by turns, and whether each is for an entity of its own: retries, batches, entities.
const QUEUES: [(&str, bool); 3] = [("pdf_generation", false), ("email_notification", false), ("data_sync", true)];

/// Of so many jobs the first attempt of one fails.
const FAILS_OF: u64 = 50;

/// What anything may take on a machine that does as much as it can.
const LATE_MS: u64 = 3_000;

/// The processor.
const PROCESSOR: &str = "load";

/// How often the jobs that are not told to have ended are looked at again, and after how long each time.
const LOOKS: (u32, Duration) = (100, Duration::from_millis(100));

/// Where everybody writes down what they see.
#[derive(Clone)]
struct Recorder(Arc<Mutex<Log>>);

struct Log {
    begun: Instant,
    writer: Writer<BufWriter<File>>,
    error: Option<std::io::Error>,
}

impl Recorder {
    fn new(file: &Path) -> std::io::Result<Self> {
        use Sight::*;
        let header = Header {
            player: "kew-load".into(),
            sees: vec![Clients, Queue, Handlers, Processors, Status],
            slack: Slack { late_ms: LATE_MS, recovery_ms: LATE_MS, clock_error_ms: 0 },
            ..Header::new(concat!("kew ", env!("CARGO_PKG_VERSION")))
        };
        let writer = Writer::new(BufWriter::new(File::create(file)?), &header)?;
        Ok(Self(Arc::new(Mutex::new(Log { begun: now(), writer, error: None }))))
    }

    fn see(&self, what: impl Into<What>) {
        let mut log = self.lock();
        let at = log.begun.elapsed().as_millis() as u64;
        if let Err(error) = log.writer.write(&Event { at, what: what.into() }) {
            log.error.get_or_insert(error);
        }
    }

    fn now_ms(&self) -> u64 {
        self.lock().begun.elapsed().as_millis() as u64
    }

    /// The first error of the file, if there was one.
    fn finish(self) -> std::io::Result<()> {
        let log = Arc::into_inner(self.0).expect("everybody else is gone").into_inner();
        let Log { writer, error, .. } = log.unwrap_or_else(PoisonError::into_inner);
        let written = writer.finish();
        error.map_or(Ok(()), Err)?;
        written?.into_inner().map_err(|error| error.into_error())?.sync_all()
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Recorder {
    fn see(&self, what: What) {
        Self::see(self, what);
    }
}

/// A handler that does nothing but fail now and then, and tells of it.
struct Seen {
    recorder: Recorder,
    left: Arc<AtomicU32>,
    all: Arc<Notify>,
    room: Arc<Semaphore>,
}

impl Handler for Seen {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        let given = delivery.jobs.iter().map(|job| Given {
            job: job.id.clone(),
            attempt: job.attempt,
            told: None,
            payload: fingerprint(job.payload.get()),
        });
        self.recorder.see(Started {
            processor: PROCESSOR.into(),
            delivery: Some(delivery.id.clone()),
            queue: delivery.queue.clone(),
            jobs: given.collect(),
        });
        let ended = delivery.jobs.iter().map(|job| {
            let fails = job.attempt == 1 && job.version % FAILS_OF == 0;
            let error = fails.then(|| "the first attempt fails, as planned".to_owned());
            if let Some(error) = &error {
                report.job(&job.id, Err(Failure::new(error.clone())));
            }
            let outcome = if fails { AttemptOutcome::Failed } else { AttemptOutcome::Completed };
            Ended { job: job.id.clone(), attempt: job.attempt, outcome, error }
        });
        let jobs: Vec<_> = ended.collect();
        let done = jobs.iter().filter(|it| it.outcome == AttemptOutcome::Completed).count() as u32;
        self.recorder.see(Finished { processor: PROCESSOR.into(), delivery: Some(delivery.id.clone()), jobs });
        self.room.add_permits(done as usize);
        if 0 < done && self.left.fetch_sub(done, Ordering::AcqRel) == done {
            self.all.notify_one();
        }
        std::future::ready(Ok(())).boxed()
    }
}

/// Creates and processes `jobs` jobs at once in a new store in `folder`, with the usual number in flight, and writes the
/// history to `file`. Says how long it took, but for the reads at the end.
///
/// # Errors
///
/// If the file cannot be written.
///
/// # Panics
///
/// If the queue refuses a job, or a job does not end.
pub async fn run(folder: &Path, jobs: u32, synchronous: Synchronous, file: &Path) -> std::io::Result<Duration> {
    let recorder = Recorder::new(file)?;
    let (keep, witness) = (broker::RETENTION_MS, recorder.clone());
    let broker = kew::open_seen(folder, Queues::default(), synchronous, keep, |store| {
        Box::new(RecordingStore::new(store, witness))
    });
    let broker = broker.expect("the store opens");
    let (left, all) = (Arc::new(AtomicU32::new(jobs)), Arc::new(Notify::new()));
    let room = Arc::new(Semaphore::new(IN_FLIGHT as usize));
    let seen = Seen { recorder: recorder.clone(), left, all: all.clone(), room: room.clone() };
    let handler: Arc<dyn Handler> = Arc::new(seen);
    let handlers: BTreeMap<_, _> = QUEUES.map(|(queue, _)| (queue.to_owned(), Arc::clone(&handler))).into();
    drop(handler);
    recorder.see(history::Processor { processor: PROCESSOR.into(), up: true, slots: IN_FLIGHT });
    let processor = Processor { name: PROCESSOR.into(), queue: Arc::new(broker.clone()), handlers, slots: IN_FLIGHT };
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(processor.run(stopped));
    let begun = now();
    let ids = produce(&broker, &recorder, jobs, &room).await;
    all.notified().await;
    let took = begun.elapsed();
    read_all(&broker, &recorder, &ids).await;
    let _ = stop.send(true); // The processor may be gone already.
    running.abort();
    let _ = running.await;
    drop(broker);
    close(recorder).await?;
    Ok(took)
}

/// Closes the file once the writer's thread has let go of its store.
async fn close(recorder: Recorder) -> std::io::Result<()> {
    while 1 < Arc::strong_count(&recorder.0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    recorder.finish()
}

/// Creates the jobs, each by one of as many clients as may be in flight, and answers their ids.
async fn produce(broker: &Handle, recorder: &Recorder, jobs: u32, room: &Arc<Semaphore>) -> Vec<String> {
    let clients = (0..IN_FLIGHT).map(|client| {
        let (broker, recorder, room) = (broker.clone(), recorder.clone(), room.clone());
        let share = jobs / IN_FLIGHT + u32::from(client < jobs % IN_FLIGHT);
        let mut streams = QUEUES
            .map(|(queue, keyed)| Requests::new(u64::from(client) << 32 | queue.len() as u64, Kind::new(queue, keyed)));
        tokio::spawn(async move {
            let mut ids = Vec::with_capacity(share as usize);
            for number in 0..share {
                room.acquire().await.expect("it is never closed").forget();
                let turn = (client + number) as usize % QUEUES.len();
                let request = streams[turn].request();
                let op = u64::from(client) << 32 | u64::from(number);
                recorder.see(Enqueue {
                    op,
                    user: request.user.clone(),
                    queue: request.queue.clone(),
                    payload: fingerprint(request.payload.get()),
                    key: request.key.clone(),
                    idempotency_key: None,
                    email: false,
                });
                let id = request.id.clone();
                broker.call(Request::Enqueue(vec![request])).await.expect("the job is created");
                recorder.see(Reply { op, outcome: Told::Ok, job: Some(id.clone()), error: None });
                ids.push(id);
            }
            ids
        })
    });
    let mut ids = Vec::with_capacity(jobs as usize);
    for client in clients.collect::<Vec<_>>() {
        ids.extend(client.await.expect("no client panics"));
    }
    ids
}

/// Waits until all have ended, and reads how each stands.
async fn read_all(broker: &Handle, recorder: &Recorder, ids: &[String]) {
    let (looks, pause) = LOOKS;
    for id in ids {
        for look in 0.. {
            if job(broker, id).await.completed_ms.is_some() {
                break;
            }
            assert!(look < looks, "{id} ends");
            tokio::time::sleep(pause).await;
        }
    }
    recorder.see(Drained { ok: true, bound_ms: LATE_MS });
    for id in ids {
        let asked_at = recorder.now_ms();
        let it = job(broker, id).await;
        recorder.see(StatusRead { job: id.clone(), user: it.user_id.clone(), asked_at, row: Some(row(it)) });
    }
}

async fn job(broker: &Handle, id: &str) -> JobRow {
    match broker.call(Request::Read(Query::Job { job: id.to_owned() })).await {
        Ok(Response::Rows(Rows::Jobs(mut rows))) if rows.len() == 1 => rows.remove(0),
        other => panic!("not the row of {id}: {other:?}"),
    }
}

//! The broker on a real store, by direct call. Time is tokio's, paused: it goes on when everybody waits, so that what
//! falls due does so at its very millisecond.

mod asked;
mod due;
mod given;
mod over;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kew_runtime::broker::{
    self, Granted, Handle, JobRequest, Pull, Pulled, Queue, Refusal, Report, Request, Response, Settlement, Writer,
};
use kew_runtime::clock::Clock;
use kew_runtime::ids::Ids;
use kew_runtime::store::{End, How, JobRow, LeaseId, Query, Rows, Sqlite, SqliteOptions};
use kew_spec::queues::Queues;
use rusqlite::Connection;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

/// When each test begins: ten seconds after a tick of the scheduled queue.
const BEGIN_MS: u64 = 1_800_000_010_000;

/// tokio's clock, and how far the wall clock has been set forward of it.
struct Paused {
    began: Instant,
    ahead_ms: Arc<AtomicU64>,
}

impl Clock for Paused {
    fn wall_ms(&self) -> u64 {
        BEGIN_MS + self.ahead_ms.load(Ordering::Relaxed) + self.monotonic_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

fn broker(folder: &Path, queues: Queues, clock: Paused) -> (Handle, Writer) {
    let store = Sqlite::open(folder.join("kew.sqlite"), &SqliteOptions::default()).expect("a new store opens");
    let reader = store.reader().expect("a reader opens");
    broker::new(Box::new(store), Box::new(reader), Arc::new(queues), Arc::new(clock), Ids::from_seed(1))
}

/// Runs `talk` beside the broker's writer.
fn with_broker<F: Future<Output = ()>>(talk: impl FnOnce(Handle) -> F) {
    with_queues(Queues::default(), talk);
}

fn with_queues<F: Future<Output = ()>>(queues: Queues, talk: impl FnOnce(Handle) -> F) {
    run(queues, |writer| writer, |handle, _, _| talk(handle));
}

/// Beside another program that works on the broker's file.
fn with_broker_and_file<F: Future<Output = ()>>(talk: impl FnOnce(Handle, Connection) -> F) {
    run(Queues::default(), |writer| writer, |handle, other, _| talk(handle, other));
}

/// Runs `talk` beside the writer that `ready` has made ready, another program's connection to the file, and what sets the
/// wall clock forward.
fn run<F: Future<Output = ()>>(
    queues: Queues,
    ready: impl FnOnce(Writer) -> Writer,
    talk: impl FnOnce(Handle, Connection, Arc<AtomicU64>) -> F,
) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    run_in(folder.path(), queues, ready, talk);
}

/// The same on the store in this folder.
fn run_in<F: Future<Output = ()>>(
    folder: &Path,
    queues: Queues,
    ready: impl FnOnce(Writer) -> Writer,
    talk: impl FnOnce(Handle, Connection, Arc<AtomicU64>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let clock = Paused { began: Instant::now(), ahead_ms: ahead_ms.clone() };
        let (handle, writer) = broker(folder, queues, clock);
        let writer = tokio::spawn(ready(writer).run());
        let other = Connection::open(folder.join("kew.sqlite")).expect("the file is there");
        talk(handle, other, ahead_ms).await;
        writer.await.expect("the writer does not panic").expect("the writer ends well when nobody asks any more");
    });
}

/// A job of the queue of PDFs.
fn job(id: &str) -> JobRequest {
    JobRequest {
        id: id.into(),
        queue: "pdf_generation".into(),
        user: "ada".into(),
        payload: json("1"),
        key: None,
        idempotency: None,
        email: None,
    }
}

/// One that is made once under this key.
fn once(id: &str, key: &str, fingerprint: &str) -> JobRequest {
    JobRequest { idempotency: Some((key.into(), fingerprint.into())), ..job(id) }
}

/// A job of the queue that syncs data.
fn sync(id: &str, key: &str) -> JobRequest {
    JobRequest { queue: "data_sync".into(), key: Some(key.into()), ..job(id) }
}

fn json(text: &str) -> Box<RawValue> {
    to_raw_value(&serde_json::from_str::<serde_json::Value>(text).expect("it is JSON")).expect("so it stays")
}

/// A pull of one delivery, which does not wait.
fn one(processor: &str) -> Pull {
    Pull { processor: processor.into(), slots: 1, ..Pull::default() }
}

async fn call(handle: &Handle, request: Request) -> Response {
    handle.call(request).await.expect("the broker does it")
}

async fn created(handle: &Handle, jobs: Vec<JobRequest>) {
    let count = jobs.len();
    assert_eq!(hows(handle, jobs).await, Ok(vec![How::Created; count]));
}

async fn hows(handle: &Handle, jobs: Vec<JobRequest>) -> Result<Vec<How>, Refusal> {
    match handle.call(Request::Enqueue(jobs)).await? {
        Response::Enqueued(jobs) => Ok(jobs.into_iter().map(|job| job.how).collect()),
        other => panic!("{other:?}"),
    }
}

async fn ask(handle: &Handle, pull: Pull) -> Pulled {
    match call(handle, Request::Pull(pull)).await {
        Response::Pulled(pulled) => pulled,
        other => panic!("{other:?}"),
    }
}

/// How many deliveries a pull of one gets.
async fn pulled(handle: &Handle) -> Result<usize, Refusal> {
    match handle.call(Request::Pull(one("here"))).await? {
        Response::Pulled(pulled) => Ok(pulled.deliveries.len()),
        other => panic!("{other:?}"),
    }
}

/// The one delivery that `pull` gets.
async fn delivered(handle: &Handle, pull: Pull) -> Granted {
    let mut pulled = ask(handle, pull).await;
    assert_eq!(pulled.deliveries.len(), 1, "{pulled:?}");
    pulled.deliveries.remove(0)
}

async fn complete(handle: &Handle, lease: &LeaseId) -> bool {
    settle(handle, lease, Report::Completed { result: json("2") }).await
}

async fn fail(handle: &Handle, lease: &LeaseId) -> bool {
    settle(handle, lease, Report::Failed { error: "it broke".into(), delay_ms: None }).await
}

async fn settle(handle: &Handle, lease: &LeaseId, outcome: Report) -> bool {
    match call(handle, Request::Settle(vec![Settlement { lease: lease.clone(), outcome }])).await {
        Response::Settled(accepted) => accepted == [true],
        other => panic!("{other:?}"),
    }
}

async fn row(handle: &Handle, job: &str) -> Option<JobRow> {
    match call(handle, Request::Read(Query::Job { job: job.into() })).await {
        Response::Rows(Rows::Jobs(mut jobs)) => jobs.pop(),
        other => panic!("{other:?}"),
    }
}

async fn ends(handle: &Handle, after: u64, wait_ms: u64) -> Vec<End> {
    match call(handle, Request::Ends { after, wait_ms }).await {
        Response::Rows(Rows::Ends(ends)) => ends,
        other => panic!("{other:?}"),
    }
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// What `future` comes to, and how many milliseconds it took.
async fn timed<T>(future: impl Future<Output = T>) -> (T, u128) {
    let began = Instant::now();
    (future.await, began.elapsed().as_millis())
}

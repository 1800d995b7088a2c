//! A long load with retention: whether the store's files and the process stay as large as what is kept.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kew_runtime::broker::{Handle, Queue, Request, Response};
use kew_runtime::store::{Query, Rows, Synchronous};
use kew_spec::queues::Queues;
use serde::Serialize;

use crate::growth::{files, resident_bytes};
use crate::kew::{self, Kind, Run, now};
use crate::work::IN_FLIGHT;

/// How large everything is after some time of load.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Since the start.
    pub seconds: f64,
    /// Jobs that were created, processed and settled until now.
    pub jobs: u64,
    /// The file, in bytes.
    pub db_bytes: u64,
    /// The write-ahead log, in bytes.
    pub wal_bytes: u64,
    /// The process, in bytes.
    pub resident_bytes: u64,
}

/// Says that all ends have been told: what a notifier does.
async fn told(broker: &Handle) {
    let newest = match broker.call(Request::Read(Query::Told)).await {
        Ok(Response::Rows(Rows::Told { newest, .. })) => newest,
        other => panic!("not an answer to a question for ends: {other:?}"),
    };
    broker.call(Request::Told { through: newest }).await.expect("the store works");
}

/// Loads a new store in `folder` for `length`, in slices of `slice` jobs, with jobs kept for `keep_ended` after their
/// end, and hands a sample to `tell` after each slice.
///
/// # Panics
///
/// If the queue refuses a job.
pub async fn run(folder: &Path, length: Duration, slice: u32, keep_ended: Duration, mut tell: impl FnMut(&Sample)) {
    let keep_ms = keep_ended.as_millis() as u64;
    let broker = kew::open_keeping(folder, Queues::default(), Synchronous::Full, keep_ms).expect("the store opens");
    let (begun, mut jobs) = (now(), 0);
    while begun.elapsed() < length {
        let run = Arc::new(Run::new(broker.clone(), Kind::default(), slice, IN_FLIGHT));
        tokio::join!(kew::produce(&run, slice, IN_FLIGHT, true), kew::process(&run, IN_FLIGHT));
        jobs += u64::from(slice);
        told(&broker).await;
        let files = files(folder);
        tell(&Sample {
            seconds: begun.elapsed().as_secs_f64(),
            jobs,
            db_bytes: files["db"],
            wal_bytes: files["wal"],
            resident_bytes: resident_bytes(),
        });
    }
}

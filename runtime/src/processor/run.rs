//! One delivery: run the handler until it returns or its time is over, make each job's outcome of that, settle.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Failure, Handler, Outcome, Report};
use crate::broker::{self, Granted, Queue, Refusal, Request, Response, Settlement};

/// How long to wait before a settle is tried again whose reply did not come.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The longest error that is kept of an attempt.
const ERROR_CHARS_MAX: usize = 2_000;

/// What is kept of an attempt's error.
pub(crate) fn kept_of(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}

/// How a handler ended.
enum Stop {
    Returned(Result<(), Failure>),
    TimedOut,
}

/// Runs the handler and returns a settlement per job.
pub(super) async fn run(handler: &dyn Handler, it: Granted) -> Vec<Settlement> {
    let report = Report::default();
    let timeout = Duration::from_millis(it.delivery.timeout_ms);
    let work = AssertUnwindSafe(handler.handle(&it.delivery, &report)).catch_unwind();
    let stop = match tokio::time::timeout(timeout, work).await {
        Ok(Ok(returned)) => Stop::Returned(returned),
        Ok(Err(panic)) => Stop::Returned(Err(Failure::new(panic_text(panic.as_ref())))),
        Err(_) => Stop::TimedOut,
    };
    let mut outcomes = report.take();
    let jobs = it.delivery.jobs.iter().zip(it.leases);
    jobs.map(|(job, lease)| {
        let outcome = match (outcomes.remove(&job.id), &stop) {
            (Some(reported), _) => settled(reported),
            (None, Stop::Returned(Ok(()))) => settled(Ok(RawValue::NULL.to_owned())),
            (None, Stop::Returned(Err(failure))) => settled(Err(failure.clone())),
            (None, Stop::TimedOut) => {
                let error = format!("timed out: stopped after {} ms", timeout.as_millis());
                broker::Report::TimedOut { error }
            }
        };
        Settlement { lease, outcome }
    })
    .collect()
}

fn settled(outcome: Outcome) -> broker::Report {
    match outcome {
        Ok(result) => broker::Report::Completed { result },
        Err(Failure(error)) => broker::Report::Failed { error: kept_of(&error), delay_ms: None },
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}

/// Settles until the broker has answered or the leases are over, whichever is first.
pub(super) async fn settle(queue: &dyn Queue, settlements: Vec<Settlement>, deadline: Instant) {
    loop {
        match queue.call(Request::Settle(settlements.clone())).await {
            Ok(Response::Settled(accepted)) => return warn_of_stale(&settlements, &accepted),
            Ok(other) => return tracing::error!(?other, "not an answer to a settle"),
            Err(Refusal::Unavailable(reason)) if Instant::now() < deadline => {
                tracing::warn!(reason, "settle; trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(refusal) => return tracing::error!(%refusal, "settle; left to the lease's end"),
        }
    }
}

fn warn_of_stale(settlements: &[Settlement], accepted: &[bool]) {
    for (settlement, _) in settlements.iter().zip(accepted).filter(|(_, accepted)| !**accepted) {
        tracing::warn!(lease = %settlement.lease, "settled too late: the lease was over");
    }
}

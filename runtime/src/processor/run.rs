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
    // Called within the future, so that a panic before the handler's own future exists is caught as well.
    let work = AssertUnwindSafe(async { handler.handle(&it.delivery, &report).await }).catch_unwind();
    let mut work = Box::pin(work);
    let stop = match tokio::time::timeout(timeout, work.as_mut()).await {
        Ok(Ok(returned)) => Stop::Returned(returned),
        Ok(Err(panic)) => Stop::Returned(Err(Failure::new(panic_text(panic.as_ref())))),
        Err(_) => Stop::TimedOut,
    };
    // A handler that is stopped half-way may panic as it cleans up; its jobs have to be settled all the same.
    if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(work))) {
        tracing::error!(delivery = it.delivery.id, "{} when it was stopped", panic_text(panic.as_ref()));
    }
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

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::processor::{Delivery, Job};
    use crate::store::LeaseId;

    /// Panics before it has made its future.
    struct Hasty;

    impl Handler for Hasty {
        fn handle<'a>(&'a self, _: &'a Delivery, _: &'a super::Report) -> BoxFuture<'a, Result<(), Failure>> {
            panic!("too soon")
        }
    }

    /// Never ends, and panics when it is stopped.
    struct Stubborn;

    /// Panics as it is dropped.
    struct Trap;

    impl Drop for Trap {
        fn drop(&mut self) {
            panic!("not yet")
        }
    }

    impl Handler for Stubborn {
        fn handle<'a>(&'a self, _: &'a Delivery, _: &'a super::Report) -> BoxFuture<'a, Result<(), Failure>> {
            async {
                let _trap = Trap;
                std::future::pending().await
            }
            .boxed()
        }
    }

    /// How the attempt of a single job ends.
    async fn outcome(handler: &dyn Handler) -> broker::Report {
        let payload = RawValue::NULL.to_owned();
        let job = Job { id: "a".into(), user: "ada".into(), attempt: 1, version: 1, key: None, payload };
        let name = || "d".to_owned();
        let delivery = Delivery { id: name(), queue: "q".into(), batch: name(), timeout_ms: 20, jobs: vec![job] };
        let lease = LeaseId { queue: "q".into(), job: "a".into(), attempt: 1, fence: 1 };
        let granted = Granted { delivery, leases: vec![lease], lease_ms: 100, created_ms: vec![0] };
        run(handler, granted).await.remove(0).outcome
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_panics_before_it_has_begun_has_failed() {
        let outcome = outcome(&Hasty).await;
        let failed =
            matches!(&outcome, broker::Report::Failed { error, .. } if error == "the handler panicked: too soon");
        assert!(failed, "{outcome:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_panics_as_it_is_stopped_has_timed_out() {
        let outcome = outcome(&Stubborn).await;
        assert!(matches!(&outcome, broker::Report::TimedOut { .. }), "{outcome:?}");
    }
}

//! Bugs of the family `timeout`: handlers that run on, and answers that come too late and count.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use kew_runtime::broker::{Granted, Queue, Report};
use kew_runtime::processor::{self as work, Delivery, Failure, Handler};
use kew_runtime::store::{Answer, Command, Ending, JobRow, Outcome, Rows, Then};
use kew_spec::lifecycle::Status;
use serde_json::value::RawValue;

use super::Bug;
use super::alter::{self, Done, StoreBug};
use super::plant::{handler, policy, processor, reader, store};

/// How much longer than its timeout a lease lasts where a processor thinks that it may go on.
const MARGIN_MS: u64 = 5_000;

pub(super) const BUGS: &[Bug] = &[
    policy("timeout-tripled", "timeout/enforced", "Handlers are given three times their timeout.", |it| {
        it.timeout_ms *= 3;
    }),
    processor(
        "timeout-counts-as-done",
        "timeout/enforced",
        "A handler stopped at its timeout counts as done.",
        |queue| {
            alter::settlements(queue, |reports| {
                for report in reports {
                    if matches!(report, Report::TimedOut { .. }) {
                        **report = Report::Completed { result: RawValue::NULL.to_owned() };
                    }
                }
            })
        },
    ),
    processor(
        "faktory-worker-node-163-outlives-its-lease",
        "timeout/enforced",
        "A processor lets its handlers run on although their leases are over.",
        |queue| timeouts(queue, |it| it.delivery.timeout_ms * 10),
    ),
    processor(
        "timeout-for-each-job-of-a-batch",
        "timeout/enforced",
        "A batch has the timeout of one job for each of its jobs.",
        |queue| timeouts(queue, |it| it.delivery.timeout_ms * it.delivery.jobs.len() as u64),
    ),
    processor(
        "timeout-of-a-first-attempt-alone",
        "timeout/enforced",
        "From the second attempt on, a handler has four times its timeout.",
        |queue| {
            timeouts(queue, |it| {
                let retried = it.delivery.jobs.iter().any(|job| 1 < job.attempt);
                it.delivery.timeout_ms * if retried { 4 } else { 1 }
            })
        },
    ),
    handler(
        "stopped-in-name-only",
        "timeout/enforced",
        "The work goes on in the background when its handler is stopped.",
        |handler| alter::around(handler, detached),
    ),
    store("cloudflare-late-ack-accepted", "timeout/late-result", "A late success completes the job.", |store| {
        alter::answers(store, |asked, answer| {
            if let (Command::Settle(it), Answer::Settled { accepted }) = (asked, answer)
                && it.then == Then::Complete
            {
                *accepted = true;
            }
        })
    }),
    store("late-failure-accepted", "timeout/late-result", "A late failure counts as the attempt's end.", |store| {
        alter::answers(store, |asked, answer| {
            if let (Command::Settle(it), Answer::Settled { accepted }) = (asked, answer)
                && matches!(it.outcome, Outcome::Failed(_))
            {
                *accepted = true;
            }
        })
    }),
    store(
        "answer-of-a-cancelled-job-accepted",
        "timeout/late-result",
        "The answer of a job that was cancelled meanwhile counts.",
        |store| alter::store(store, CancelledAnswers::default()),
    ),
    reader(
        "late-answer-shown-all-the-same",
        "timeout/late-result",
        "A job that was given up for lost is shown as completed.",
        |inner| alter::reader(inner, show_completed),
    ),
];

/// Shows a success where there was a last lost lease.
fn show_completed(rows: &mut Rows) {
    let Rows::Jobs(jobs) = rows else { return };
    let lost = |error: &String| error.starts_with("lease lost");
    let given_up = |job: &&mut JobRow| job.completed_ms.is_some() && job.error.as_ref().is_some_and(lost);
    for job in jobs.iter_mut().filter(given_up) {
        (job.status, job.result, job.error) = (Status::Completed, Some(RawValue::TRUE.to_owned()), None);
    }
}

/// Lets a processor think that each delivery may take as long as `timeout_ms` says.
fn timeouts(queue: Arc<dyn Queue>, timeout_ms: fn(&Granted) -> u64) -> Arc<dyn Queue> {
    alter::pulls(queue, move |pulled| {
        for it in &mut pulled.deliveries {
            it.delivery.timeout_ms = timeout_ms(it);
            it.lease_ms = it.lease_ms.max(it.delivery.timeout_ms + MARGIN_MS);
        }
    })
}

/// The work on a task of its own, which nobody stops.
fn detached<'a>(inner: &'a Arc<dyn Handler>, delivery: &'a Delivery, report: &'a work::Report) -> Done<'a> {
    let (inner, delivery) = (inner.clone(), delivery.clone());
    let task = tokio::spawn(async move {
        let own = work::Report::default();
        let done = inner.handle(&delivery, &own).await;
        (done, own.take())
    });
    async move {
        let (done, outcomes) = task.await.map_err(|error| Failure::new(error.to_string()))?;
        outcomes.into_iter().for_each(|(job, outcome)| report.job(&job, outcome));
        done
    }
    .boxed()
}

#[derive(Default)]
struct CancelledAnswers {
    cancelled: BTreeSet<String>,
}

impl StoreBug for CancelledAnswers {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Cancel { job, .. }, Answer::Ended(Ending::Done)) => {
                self.cancelled.insert(job.clone());
            }
            (Command::Settle(it), Answer::Settled { accepted }) if self.cancelled.contains(&it.lease.job) => {
                *accepted = true;
            }
            _ => {}
        }
    }
}

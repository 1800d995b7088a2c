//! Bugs of the family `status`: rows that say something else than what is, and changes that a crash undoes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::FutureExt;
use kew_runtime::broker::{EnqueuedJob, Request, Response};
use kew_runtime::store::{Answer, Command, How, JobRow, Outlook, Rows, Then};
use kew_spec::lifecycle::Status;
use serde_json::value::RawValue;

use super::alter::{self, Every, StoreBug};
use super::plant::{api, reader, store};
use super::{Bug, Plant};

/// How long an end is kept in memory before it is written.
const BEHIND_MS: u64 = 1_500;

pub(super) const BUGS: &[Bug] = &[
    reader("status-moves-back", "status/flow", "A job that waits for its retry is shown as pending.", |inner| {
        alter::reader(inner, |rows| {
            let retrying = |job: &&mut JobRow| job.status == Status::Failed && job.completed_ms.is_none();
            jobs(rows).filter(retrying).for_each(|job| job.status = Status::Pending);
        })
    }),
    reader(
        "some-reads-of-an-old-replica",
        "status/flow",
        "Every third read shows a job as it was at first.",
        |inner| {
            let mut first: BTreeMap<String, JobRow> = BTreeMap::new();
            let mut every = Every::nth(3);
            alter::reader(inner, move |rows| {
                for job in jobs(rows) {
                    let first = first.entry(job.id.clone()).or_insert_with(|| job.clone());
                    if every.strikes() {
                        *job = first.clone();
                    }
                }
            })
        },
    ),
    reader(
        "success-shown-as-failure-at-first",
        "status/flow",
        "A completed job is first shown as failed for good.",
        |inner| {
            let mut shown = BTreeSet::new();
            alter::reader(inner, move |rows| {
                for job in jobs(rows).filter(|job| job.status == Status::Completed) {
                    if shown.insert(job.id.clone()) {
                        (job.status, job.result, job.error) = (Status::Failed, None, Some("not known yet".into()));
                    }
                }
            })
        },
    ),
    reader("replica-lags", "status/read-your-writes", "A job is not found when it is first looked for.", |inner| {
        let mut seen = BTreeSet::new();
        alter::reader(inner, move |rows| {
            if let Rows::Jobs(jobs) = rows {
                jobs.retain(|job| !seen.insert(job.id.clone()));
            }
        })
    }),
    api(
        "acknowledged-before-it-is-asked",
        "status/read-your-writes",
        "An enqueue without a key is acknowledged before the broker has heard of it.",
        |queue| {
            alter::calls(queue, |queue, request| {
                async move {
                    let Some(ids) = plain(&request) else { return queue.call(request).await };
                    tokio::spawn(async move { queue.call(request).await });
                    Ok(Response::Enqueued(ids.into_iter().map(|id| EnqueuedJob { id, how: How::Created }).collect()))
                }
                .boxed()
            })
        },
    ),
    reader(
        "finished-rows-removed",
        "status/read-your-writes",
        "A completed job is gone after it has been shown.",
        |inner| {
            let mut shown = BTreeSet::new();
            alter::reader(inner, move |rows| {
                if let Rows::Jobs(jobs) = rows {
                    jobs.retain(|job| job.status != Status::Completed || shown.insert(job.id.clone()));
                }
            })
        },
    ),
    reader("updated-at-goes-back", "status/monotonic", "Every third read shows an old updated_at.", |inner| {
        let mut every = Every::nth(3);
        alter::reader(inner, move |rows| {
            for job in jobs(rows).filter(|_| every.strikes()) {
                job.updated_ms -= 5_000;
                job.created_ms -= 5_000;
            }
        })
    }),
    reader("created-at-by-another-clock", "status/monotonic", "created_at is by a clock that is ahead.", |inner| {
        alter::reader(inner, |rows| jobs(rows).for_each(|job| job.created_ms += 700))
    }),
    reader("retry-counts-as-created", "status/monotonic", "A job that is tried again was created then.", |inner| {
        alter::reader(inner, |rows| {
            jobs(rows).filter(|job| 0 < job.retry_count).for_each(|job| job.created_ms = job.updated_ms);
        })
    }),
    reader("error-kept-after-success", "status/final", "A completed job still shows an error.", |inner| {
        alter::reader(inner, |rows| {
            let retried = |job: &&mut JobRow| job.status == Status::Completed && 0 < job.retry_count;
            jobs(rows).filter(retried).for_each(|job| job.error = Some("an earlier attempt's".into()));
        })
    }),
    reader("completed-at-while-retrying", "status/final", "completed_at is set at each failure.", |inner| {
        alter::reader(inner, |rows| {
            let failed = jobs(rows).filter(|job| job.status == Status::Failed);
            failed.for_each(|job| job.completed_ms = job.completed_ms.or(Some(job.updated_ms)));
        })
    }),
    reader("failure-with-a-result", "status/final", "A job that has failed for good has a result.", |inner| {
        alter::reader(inner, |rows| {
            let failed = jobs(rows).filter(|job| job.status == Status::Failed && job.completed_ms.is_some());
            failed.for_each(|job| job.result = Some(RawValue::TRUE.to_owned()));
        })
    }),
    reader("first-error-stays", "status/final", "The error of a job stays the one that was shown first.", |inner| {
        let mut first = BTreeMap::new();
        alter::reader(inner, move |rows| {
            for job in jobs(rows).filter(|job| job.status == Status::Failed) {
                job.error = first.entry(job.id.clone()).or_insert_with(|| job.error.clone()).clone();
            }
        })
    }),
    Bug {
        name: "nats-7564-acknowledged-before-it-is-on-disk",
        clause: "status/durable",
        about: "A commit is acknowledged before it is synced.",
        plant: Plant::Unsynced,
    },
    store(
        "ends-written-behind",
        "status/durable",
        "An end is kept in memory for a while before it is written.",
        |store| alter::store(store, WrittenBehind::default()),
    ),
    store("pause-kept-in-memory", "status/durable", "A pause is not stored.", |store| {
        alter::store(store, PausedInMemory::default())
    }),
];

/// The jobs among `rows`, those of dead letters included.
pub(super) fn jobs(rows: &mut Rows) -> impl Iterator<Item = &mut JobRow> {
    let (jobs, dead): (&mut [JobRow], &mut [_]) = match rows {
        Rows::Jobs(jobs) => (jobs, &mut []),
        Rows::DeadLetters(dead) => (&mut [], dead),
        _ => (&mut [], &mut []),
    };
    jobs.iter_mut().chain(dead.iter_mut().map(|dead| &mut dead.job))
}

/// The ids of an enqueue that cannot be answered with an older job.
fn plain(request: &Request) -> Option<Vec<String>> {
    let Request::Enqueue(jobs) = request else { return None };
    let plain = jobs.iter().all(|job| job.key.is_none() && job.idempotency.is_none());
    plain.then(|| jobs.iter().map(|job| job.id.clone()).collect())
}

/// Successes that have been acknowledged and not written.
#[derive(Default)]
struct WrittenBehind {
    ends: VecDeque<Command>,
    now_ms: u64,
}

impl StoreBug for WrittenBehind {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Settle(it) if it.then == Then::Complete => {
                self.now_ms = it.now_ms;
                self.ends.push_back(command.clone());
                Some(Answer::Settled { accepted: true })
            }
            Command::Enqueue(it) => {
                self.now_ms = it.now_ms;
                None
            }
            Command::Claim(it) => {
                self.now_ms = it.now_ms;
                None
            }
            _ => None,
        }
    }

    fn further(&mut self) -> Option<Command> {
        let is_due = |end: &Command| matches!(end, Command::Settle(it) if it.now_ms + BEHIND_MS <= self.now_ms);
        self.ends.front().is_some_and(is_due).then(|| self.ends.pop_front()).flatten()
    }
}

/// The queues that are paused.
#[derive(Default)]
struct PausedInMemory {
    queues: BTreeSet<String>,
}

impl StoreBug for PausedInMemory {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Pause { queue, paused, .. } = command else { return None };
        if *paused {
            self.queues.insert(queue.clone());
        } else {
            self.queues.remove(queue);
        }
        Some(Answer::Done)
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        outlook.queues.iter_mut().for_each(|queue| queue.paused |= self.queues.contains(&queue.queue));
    }
}

//! Bugs between the roles: in what is read, reported, notified and handed to handlers, and in how durable a commit is.

use std::collections::BTreeSet;
use std::sync::Arc;

use kew_runtime::broker::{Queue, Report, Request, Response};
use kew_runtime::store::{End, JobRow, Reader, Rows};
use kew_spec::lifecycle::Status;
use serde_json::value::RawValue;

use super::alter;
use super::{Bug, Plant};

pub(super) const BUGS: &[Bug] = &[
    handler("payload-written-anew", "job/payload", "The payload is parsed and written anew.", |handler| {
        alter::handler(handler, |delivery| {
            for job in &mut delivery.jobs {
                let value: serde_json::Value = serde_json::from_str(job.payload.get()).unwrap_or_default();
                job.payload = serde_json::value::to_raw_value(&value).expect("a value is JSON");
            }
        })
    }),
    handler("batch-id-made-anew", "schedule/stored-once", "A batch tried again has another id.", |handler| {
        alter::handler(handler, |delivery| delivery.batch.clone_from(&delivery.id))
    }),
    handler("older-payload-synced-last", "dedup/last-write", "Versions grow the wrong way.", |handler| {
        alter::handler(handler, |delivery| {
            delivery.jobs.iter_mut().for_each(|job| job.version = u64::from(u32::MAX) - job.version);
        })
    }),
    processor("one-failure-fails-the-batch", "batch/partial", "One failed job fails its whole batch.", |queue| {
        settlements(queue, |reports| {
            let error = "another job of the batch failed".to_owned();
            if reports.iter().any(|report| matches!(report, Report::Failed { .. })) {
                reports.iter_mut().for_each(|report| {
                    **report = Report::Failed { error: error.clone(), delay_ms: None };
                });
            }
        })
    }),
    processor(
        "timeout-counts-as-done",
        "timeout/enforced",
        "A handler stopped at its timeout counts as done.",
        |queue| {
            settlements(queue, |reports| {
                for report in reports {
                    if matches!(report, Report::TimedOut { .. }) {
                        **report = Report::Completed { result: RawValue::NULL.to_owned() };
                    }
                }
            })
        },
    ),
    processor("settles-forgotten", "retry/caused", "A processor forgets every seventh settle.", |queue| {
        let mut count = 0_u32;
        let forget = move |request: &mut Request| {
            if let Request::Settle(settlements) = request {
                count += 1;
                if count.is_multiple_of(7) {
                    settlements.clear();
                }
            }
        };
        alter::queue(queue, forget, |_| {})
    }),
    processor(
        "grants-forgotten",
        "retry/caused",
        "A processor forgets every seventh delivery it is granted.",
        |queue| {
            let mut count = 0_u32;
            let forget = move |response: &mut Response| {
                if let Response::Pulled(pulled) = response {
                    pulled.deliveries.retain(|_| {
                        count += 1;
                        !count.is_multiple_of(7)
                    });
                }
            };
            alter::queue(queue, |_| {}, forget)
        },
    ),
    reader("retry-count-counts-deliveries", "retry/count", "retry_count is the number of deliveries.", |inner| {
        alter::reader(inner, |rows| {
            jobs(rows).filter(|job| job.status != Status::Pending).for_each(|job| job.retry_count += 1);
        })
    }),
    reader("dead-letter-doubled", "dead-letter/exactly", "A dead letter is kept twice.", |inner| {
        alter::reader(inner, |rows| {
            if let Rows::DeadLetters(dead) = rows
                && let Some(first) = dead.first().cloned()
            {
                dead.insert(0, first);
            }
        })
    }),
    reader("dead-letter-without-error", "dead-letter/intact", "A dead letter does not say why it died.", |inner| {
        alter::reader(inner, |rows| {
            if let Rows::DeadLetters(dead) = rows {
                dead.iter_mut().for_each(|dead| dead.job.error = Some(String::new()));
            }
        })
    }),
    reader(
        "dead-letter-forgets-attempts",
        "dead-letter/intact",
        "A dead letter keeps its last attempt alone.",
        |inner| {
            alter::reader(inner, |rows| {
                if let Rows::DeadLetters(dead) = rows {
                    dead.iter_mut().for_each(|dead| drop(dead.attempts.drain(..dead.attempts.len().saturating_sub(1))));
                }
            })
        },
    ),
    reader("status-moves-back", "status/flow", "A job that waits for its retry is shown as pending.", |inner| {
        alter::reader(inner, |rows| {
            let retrying = |job: &&mut JobRow| job.status == Status::Failed && job.completed_ms.is_none();
            jobs(rows).filter(retrying).for_each(|job| job.status = Status::Pending);
        })
    }),
    reader("replica-lags", "status/read-your-writes", "A job is not found when it is first looked for.", |inner| {
        let mut seen = BTreeSet::new();
        alter::reader(inner, move |rows| {
            if let Rows::Jobs(jobs) = rows {
                jobs.retain(|job| !seen.insert(job.id.clone()));
            }
        })
    }),
    reader("updated-at-goes-back", "status/monotonic", "Every third read shows an old updated_at.", |inner| {
        let mut count = 0_u32;
        alter::reader(inner, move |rows| {
            for job in jobs(rows) {
                count += 1;
                if count.is_multiple_of(3) {
                    job.updated_ms -= 5_000;
                    job.created_ms -= 5_000;
                }
            }
        })
    }),
    reader("error-kept-after-success", "status/final", "A completed job still shows an error.", |inner| {
        alter::reader(inner, |rows| {
            let retried = |job: &&mut JobRow| job.status == Status::Completed && 0 < job.retry_count;
            jobs(rows).filter(retried).for_each(|job| job.error = Some("an earlier attempt's".into()));
        })
    }),
    notifier("some-ends-are-not-told", "notify/each-end", "Every third end is not told.", |queue| {
        let mut count = 0_u32;
        ends(queue, move |ends| {
            ends.retain(|_| {
                count += 1;
                !count.is_multiple_of(3)
            });
        })
    }),
    notifier("mail-forgotten", "notify/each-end", "Nobody gets the mail that was asked for.", |queue| {
        ends(queue, |ends| ends.iter_mut().for_each(|end| end.email = None))
    }),
    notifier("another-end-told", "notify/not-before", "A failure is told as a success that never came.", |queue| {
        ends(queue, |ends| {
            ends.iter_mut().filter(|end| end.status == Status::Failed).for_each(|end| end.status = Status::Completed);
        })
    }),
    notifier("another-user-told", "notify/own-only", "An end is told to the user of the end before.", |queue| {
        let mut before = None;
        ends(queue, move |ends| {
            for end in ends {
                let own = end.user.clone();
                end.user = before.replace(own.clone()).unwrap_or(own);
            }
        })
    }),
    Bug {
        name: "acknowledged-before-it-is-on-disk",
        clause: "status/durable",
        about: "A commit is acknowledged before it is synced.",
        plant: Plant::Unsynced,
    },
];

macro_rules! at {
    ($($seam:ident $plant:ident $part:ty),*) => {
        $(const fn $seam(
            name: &'static str,
            clause: &'static str,
            about: &'static str,
            plant: fn($part) -> $part,
        ) -> Bug {
            Bug { name, clause, about, plant: Plant::$plant(plant) }
        })*
    };
}

at! {
    handler Handler Arc<dyn kew_runtime::processor::Handler>,
    processor Processor Arc<dyn Queue>,
    notifier Notifier Arc<dyn Queue>,
    reader Reader Box<dyn Reader>
}

/// The jobs among `rows`, those of dead letters included.
fn jobs(rows: &mut Rows) -> impl Iterator<Item = &mut JobRow> {
    let (jobs, dead): (&mut [JobRow], &mut [_]) = match rows {
        Rows::Jobs(jobs) => (jobs, &mut []),
        Rows::DeadLetters(dead) => (&mut [], dead),
        _ => (&mut [], &mut []),
    };
    jobs.iter_mut().chain(dead.iter_mut().map(|dead| &mut dead.job))
}

/// Alters the reports of each settle.
fn settlements(queue: Arc<dyn Queue>, alter: fn(&mut Vec<&mut Report>)) -> Arc<dyn Queue> {
    let request = move |request: &mut Request| {
        if let Request::Settle(settlements) = request {
            alter(&mut settlements.iter_mut().map(|it| &mut it.outcome).collect());
        }
    };
    alter::queue(queue, request, |_| {})
}

/// Alters the ends that the notifier hears of.
fn ends(queue: Arc<dyn Queue>, mut alter: impl FnMut(&mut Vec<End>) + Send + 'static) -> Arc<dyn Queue> {
    let response = move |response: &mut Response| {
        if let Response::Rows(Rows::Ends(ends)) = response {
            alter(ends);
        }
    };
    alter::queue(queue, |_| {}, response)
}

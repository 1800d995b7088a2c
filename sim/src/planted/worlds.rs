//! Worlds that cheat: around the runtime stands something that does not keep its own promises. What breaks a promise of
//! the queue is a bug like the others; what the runtime withstands is listed apart, and must break nothing.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use kew_runtime::broker::{JobRequest, Request, Settlement};
use kew_runtime::clock::Clock;
use kew_runtime::store::Command;

use super::Bug;
use super::alter;
use super::plant::{api, clock, decision, disk, processor};
use crate::disk::{Faults, SyncFailure, Trigger};

/// How far a clock jumps, and how often.
const JUMP_MS: u64 = 7_000;
const JUMP_EVERY_MS: u64 = 20_000;

/// A disk in good health.
const HEALTHY: Faults = Faults {
    sync_fails: Trigger::Never,
    sync_failure: SyncFailure::Retryable,
    sync_lies: Trigger::Never,
    directory_sync_lies: Trigger::Never,
    write_fails: Trigger::Never,
    read_fails: Trigger::Never,
    read_short: Trigger::Never,
    capacity_bytes: None,
    slow: crate::disk::Slow { read_us: 0, write_us: 0, sync_us: 0 },
};

pub(super) const BUGS: &[Bug] = &[
    disk(
        "disk-lies-about-every-sync",
        "status/durable",
        "The disk says that it has synced, and has not.",
        Faults { sync_lies: Trigger::Always, ..HEALTHY },
    ),
    disk(
        "disk-lies-now-and-then",
        "status/durable",
        "One sync in two makes nothing durable.",
        Faults { sync_lies: Trigger::ChancePpm(500_000), ..HEALTHY },
    ),
    api(
        "request-comes-twice",
        "job/no-phantom",
        "The network delivers a request without an idempotency key twice.",
        |queue| {
            alter::calls(queue, |queue, request| {
                async move {
                    if let Request::Enqueue(jobs) = &request
                        && jobs.iter().all(|job| job.idempotency.is_none() && job.key.is_none())
                    {
                        let again = jobs.iter().map(|job| JobRequest { id: format!("{}-2", job.id), ..job.clone() });
                        queue.call(Request::Enqueue(again.collect())).await?;
                    }
                    queue.call(request).await
                }
                .boxed()
            })
        },
    ),
    processor("pull-comes-twice", "retry/caused", "The network now and then delivers a pull twice.", |queue| {
        let count = Arc::new(Mutex::new(0_u32));
        alter::calls(queue, move |queue, request| {
            let twice = {
                let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
                *count += 1;
                count.is_multiple_of(7)
            };
            async move {
                if let (true, Request::Pull(pull)) = (twice, &request) {
                    let mut again = pull.clone();
                    again.wait_ms = 0;
                    let _ = queue.call(Request::Pull(again)).await;
                }
                queue.call(request).await
            }
            .boxed()
        })
    }),
    decision(
        "clock-goes-back-unguarded",
        "backoff/not-late",
        "The queue goes by a clock that is set back now and then.",
        |store| alter::commands(store, |command| *time(command) -= back_ms(*time(command))),
    ),
];

pub(super) const WITHSTOOD: &[Bug] = &[
    api("enqueue-comes-twice", "job/no-phantom", "The network delivers each call of the api twice.", |queue| {
        alter::calls(queue, |queue, request| {
            async move {
                // An enqueue for an entity that comes twice is two: the first job may have begun in between.
                let again = match &request {
                    Request::Enqueue(jobs) => jobs.iter().all(|job| job.key.is_none()),
                    Request::Cancel { .. } | Request::Redrive { .. } => true,
                    _ => false,
                };
                if again {
                    let first = queue.call(request.clone()).await;
                    let _ = queue.call(request).await;
                    return first;
                }
                queue.call(request).await
            }
            .boxed()
        })
    }),
    processor("settle-comes-twice", "retry/one-owner", "The network delivers each settle twice.", |queue| {
        alter::calls(queue, |queue, request| {
            async move {
                let again = matches!(request, Request::Settle(_)).then(|| request.clone());
                let first = queue.call(request).await;
                if let Some(again) = again {
                    let _ = queue.call(again).await;
                }
                first
            }
            .boxed()
        })
    }),
    processor(
        "old-settle-replayed",
        "retry/one-owner",
        "With each settle, the network delivers all that went before once more.",
        |queue| {
            let old: Arc<Mutex<Vec<Settlement>>> = Arc::default();
            alter::calls(queue, move |queue, request| {
                let old = old.clone();
                async move {
                    if let Request::Settle(settlements) = &request {
                        let replayed = {
                            let mut old = old.lock().unwrap_or_else(PoisonError::into_inner);
                            let replayed = old.clone();
                            old.extend(settlements.iter().cloned());
                            replayed
                        };
                        if !replayed.is_empty() {
                            let _ = queue.call(Request::Settle(replayed)).await;
                        }
                    }
                    queue.call(request).await
                }
                .boxed()
            })
        },
    ),
    processor(
        "apscheduler-1116-starts-after-its-lease",
        "retry/one-owner",
        "A processor starts what it was given however late it came.",
        |queue| {
            alter::pulls(queue, |pulled| {
                pulled.deliveries.iter_mut().for_each(|it| it.lease_ms += JUMP_EVERY_MS);
            })
        },
    ),
    clock("clock-leaps-ahead", "backoff/never-early", "The broker's clocks leap ahead now and then.", |clock| {
        Arc::new(Leaping(clock))
    }),
    clock("wall-clock-goes-back", "status/monotonic", "The broker's wall clock is set back now and then.", |clock| {
        Arc::new(SetBack(clock))
    }),
];

/// The time that a command carries.
fn time(command: &mut Command) -> &mut u64 {
    match command {
        Command::Enqueue(it) => &mut it.now_ms,
        Command::Claim(it) => &mut it.now_ms,
        Command::Settle(it) => &mut it.now_ms,
        Command::Cancel { now_ms, .. }
        | Command::Pause { now_ms, .. }
        | Command::Redrive { now_ms, .. }
        | Command::Purge { now_ms, .. }
        | Command::Told { now_ms, .. }
        | Command::Prune { now_ms, .. } => now_ms,
    }
}

/// How far a clock is set back at `now_ms`: for the second half of each turn.
fn back_ms(now_ms: u64) -> u64 {
    if JUMP_EVERY_MS / 2 <= now_ms % JUMP_EVERY_MS { JUMP_MS } else { 0 }
}

/// Both clocks leap ahead together.
struct Leaping(Arc<dyn Clock>);

impl Leaping {
    fn leapt_ms(&self) -> u64 {
        self.0.monotonic_ms() / JUMP_EVERY_MS * JUMP_MS
    }
}

impl Clock for Leaping {
    fn wall_ms(&self) -> u64 {
        self.0.wall_ms() + self.leapt_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.monotonic_ms() + self.leapt_ms()
    }
}

/// The wall clock is set back, the other goes on.
struct SetBack(Arc<dyn Clock>);

impl Clock for SetBack {
    fn wall_ms(&self) -> u64 {
        let now_ms = self.0.wall_ms();
        now_ms - back_ms(now_ms)
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.monotonic_ms()
    }
}

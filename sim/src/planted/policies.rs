//! Bugs in the numbers: the broker goes by policies that are slightly off.

use kew_spec::queues::{Attempts, Backoff, Exponential, Policy, Priority, Queues};

use super::{Bug, Plant};

pub(super) const BUGS: &[Bug] = &[
    bug("one-retry-too-many", "retry/at-most", "Attempts are counted from 0: one delivery more than allowed.", |it| {
        it.attempts = more_attempts(it.attempts, 1);
    }),
    bug(
        "one-retry-too-few",
        "retry/at-least",
        "Attempts mean retries less one: the last delivery never comes.",
        |it| {
            it.attempts = more_attempts(it.attempts, -1);
        },
    ),
    bug("infinite-means-two", "retry/infinite", "A job that should never be given up is, after two attempts.", |it| {
        if it.attempts == Attempts::INFINITE {
            it.attempts = Attempts::Limited(2);
        }
    }),
    bug("backoff-one-step-early", "backoff/never-early", "The backoff is the one of the attempt before.", |it| {
        exponential(it, |backoff| backoff.first_ms = backoff.first_ms.div_ceil(2));
    }),
    bug("backoff-too-long", "backoff/not-late", "The backoff is three times as long.", |it| {
        exponential(it, |backoff| backoff.first_ms *= 3);
    }),
    bug("cap-forgotten", "backoff/capped", "The backoff doubles without an end.", |it| {
        exponential(it, |backoff| backoff.max_ms = u64::MAX / 1_000);
    }),
    bug("timeout-tripled", "timeout/enforced", "Handlers are given three times their timeout.", |it| {
        it.timeout_ms *= 3;
    }),
    bug("bull-2777-rate-window", "rate/ceiling", "The rate limit lets one start more through.", |it| {
        if let Some(limit) = &mut it.rate_limit {
            limit.starts += 1;
        }
    }),
    bug("rate-window-too-long", "rate/used", "The rate limit's window is half as long again.", |it| {
        if let Some(limit) = &mut it.rate_limit {
            limit.per_ms += limit.per_ms / 2;
        }
    }),
    bug("batch-of-101", "batch/size", "A batch takes one job more than its size.", |it| {
        if let Some(batch) = &mut it.batch {
            batch.size += 1;
        }
    }),
    bug("batch-waits-too-long", "batch/wait", "The oldest job of a batch waits three times as long.", |it| {
        if let Some(wait_ms) = it.batch.as_mut().and_then(|batch| batch.wait_ms.as_mut()) {
            *wait_ms *= 3;
        }
    }),
    bug("ticks-at-half-time", "schedule/on-tick", "The schedule fires between its ticks too.", |it| {
        if let Some(schedule) = &mut it.schedule {
            schedule.every_ms = schedule.every_ms.div_ceil(2);
        }
    }),
    bug("tick-skipped", "schedule/every-tick", "Only every second tick fires.", |it| {
        if let Some(schedule) = &mut it.schedule {
            schedule.every_ms *= 2;
        }
    }),
    bug("priorities-ignored", "priority/order", "All queues have the same priority.", |it| {
        it.priority = Priority::Low;
    }),
];

const fn bug(name: &'static str, clause: &'static str, about: &'static str, alter: fn(&mut Policy)) -> Bug {
    Bug { name, clause, about, plant: Plant::Policies(alter) }
}

fn more_attempts(attempts: Attempts, by: i32) -> Attempts {
    match attempts {
        Attempts::Limited(max) => Attempts::Limited(max.saturating_add_signed(by).max(1)),
        infinite => infinite,
    }
}

fn exponential(policy: &mut Policy, alter: impl FnOnce(&mut Exponential)) {
    if let Backoff::Exponential(backoff) = &mut policy.backoff {
        alter(backoff);
    }
}

/// All policies, altered.
pub(super) fn alter(queues: Queues, alter: fn(&mut Policy)) -> Queues {
    let altered = queues.iter().map(|(name, policy)| {
        let mut policy = policy.clone();
        alter(&mut policy);
        (name.to_owned(), policy)
    });
    altered.collect()
}

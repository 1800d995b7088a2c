//! Bugs of the family `backoff`: retries too early, too late, and beyond the cap.

use kew_runtime::store::{Answer, Command, Outcome, Settle, Store, Then};
use kew_spec::queues::{Backoff, Exponential, Policy};

use super::Bug;
use super::alter::track::Leases;
use super::alter::{self, StoreBug};
use super::plant::{decision, policy};

/// How often a slow poller looks for retries that are due.
const POLL_MS: u64 = 10_000;

pub(super) const BUGS: &[Bug] = &[
    policy("backoff-one-step-early", "backoff/never-early", "The backoff is the one of the attempt before.", |it| {
        exponential(it, |backoff| backoff.first_ms = backoff.first_ms.div_ceil(2));
    }),
    decision("apalis-510-retry-at-once", "backoff/never-early", "A failed job is tried again at once.", |store| {
        delays(store, |_, _| 0)
    }),
    decision(
        "bullmq-651-crash-skips-backoff",
        "backoff/never-early",
        "A job whose processor crashed is tried again without its policy's backoff.",
        |store| delays(store, |it, delay_ms| if matches!(it.outcome, Outcome::Lost(_)) { 0 } else { delay_ms }),
    ),
    decision(
        "kombu-337-delay-outlives-lease",
        "backoff/never-early",
        "A job that waits longer than a lease lasts is given out again at the lease's end.",
        |store| alter::store(store, DelayOutlivesLease::default()),
    ),
    decision(
        "backoff-from-the-start",
        "backoff/never-early",
        "The backoff counts from when the attempt began.",
        |store| alter::store(store, FromTheStart::default()),
    ),
    policy("backoff-too-long", "backoff/not-late", "The backoff is three times as long.", |it| {
        exponential(it, |backoff| backoff.first_ms *= 3);
    }),
    decision(
        "retries-polled-for",
        "backoff/not-late",
        "Retries that are due are looked for every ten seconds.",
        |store| {
            alter::settles(store, |it| {
                if let Then::RetryAt(at) = &mut it.then
                    && it.now_ms < *at
                    && !it.keep_batch
                {
                    *at = at.next_multiple_of(POLL_MS);
                }
            })
        },
    ),
    decision(
        "second-backoff-doubled-twice",
        "backoff/not-late",
        "From the second failure on, the backoff is doubled once too often.",
        |store| delays(store, |it, delay_ms| if 1 < it.lease.attempt { delay_ms * 2 } else { delay_ms }),
    ),
    policy("cap-forgotten", "backoff/capped", "The backoff doubles without an end.", |it| {
        exponential(it, |backoff| backoff.max_ms = u64::MAX / 1_000);
    }),
    policy("cap-one-doubling-late", "backoff/capped", "The backoff is capped one doubling too late.", |it| {
        exponential(it, |backoff| backoff.max_ms = doubled_up_to(backoff.first_ms, backoff.max_ms));
    }),
    decision(
        "cap-not-for-the-lost",
        "backoff/capped",
        "From its second attempt on, a job that was lost or timed out waits eight times as long.",
        |store| {
            delays(store, |it, delay_ms| {
                let lost = matches!(it.outcome, Outcome::Lost(_) | Outcome::TimedOut(_));
                if lost && 2 <= it.lease.attempt { delay_ms * 8 } else { delay_ms }
            })
        },
    ),
];

fn exponential(policy: &mut Policy, alter: impl FnOnce(&mut Exponential)) {
    if let Backoff::Exponential(backoff) = &mut policy.backoff {
        alter(backoff);
    }
}

/// The first doubling of `first_ms` that is above `max_ms`.
fn doubled_up_to(first_ms: u64, max_ms: u64) -> u64 {
    let mut doubled_ms = first_ms.max(1);
    while doubled_ms <= max_ms {
        doubled_ms *= 2;
    }
    doubled_ms
}

/// Lets `alter` change how long a job waits for its retry. What waits for a tick is left alone.
fn delays(inner: Box<dyn Store>, alter: fn(&Settle, u64) -> u64) -> Box<dyn Store> {
    alter::settles(inner, move |it| {
        if let Then::RetryAt(at) = it.then
            && !it.keep_batch
        {
            it.then = Then::RetryAt(it.now_ms + alter(it, at.saturating_sub(it.now_ms)));
        }
    })
}

#[derive(Default)]
struct DelayOutlivesLease {
    leases: Leases,
}

impl StoreBug for DelayOutlivesLease {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && !it.keep_batch
            && let Some(leased) = self.leases.get(&it.lease)
            && let Then::RetryAt(at) = &mut it.then
        {
            *at = (*at).min(leased.until_ms.max(it.now_ms));
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.leases.see(asked, answer);
    }
}

#[derive(Default)]
struct FromTheStart {
    leases: Leases,
}

impl StoreBug for FromTheStart {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && !it.keep_batch
            && let Some(leased) = self.leases.get(&it.lease)
            && let Then::RetryAt(at) = &mut it.then
        {
            let took_ms = it.now_ms.saturating_sub(leased.granted_ms);
            *at = at.saturating_sub(took_ms).max(it.now_ms);
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.leases.see(asked, answer);
    }
}

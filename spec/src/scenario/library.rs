//! The named library, embedded from `spec/scenarios/`: small plays, each about a few clauses, together about all.
//!
//! What is about lateness begins after half a minute: until then a player may count the system as still starting up, and
//! nothing is late.

use super::Scenario;

/// Declares the files of `spec/scenarios/`, in the order of their names.
macro_rules! scenarios {
    ($($name:literal)*) => {
        const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml"))),)*];
    };
}

scenarios! {
    "ai-broker-killed-mid-burst"
    "ai-burst"
    "ai-burst-with-retries"
    "ai-processors-come-and-go"
    "ai-two-strikes"
    "analytics-flood"
    "analytics-long-outage"
    "analytics-ticks"
    "api-killed"
    "batch-exactly-full"
    "broker-paused"
    "cancel"
    "cancel-in-a-batch"
    "clock-of-a-processor"
    "clock-of-the-broker"
    "clock-right-while-down"
    "email-crash"
    "email-flood"
    "email-gives-up"
    "email-hang"
    "email-partial"
    "email-trickle"
    "every-fault-in-every-state"
    "everything-at-once"
    "idempotent-broker-crash"
    "idempotent-lost-replies"
    "idempotent-repeats"
    "last-answer-late"
    "lease-outlived"
    "limited-backlog"
    "limited-redrive"
    "lossy-network"
    "lost-replies-unkeyed"
    "mail-at-the-end"
    "messages-held"
    "notifier-cut-off"
    "notifier-killed"
    "outside-is-gone"
    "pause-and-resume"
    "pdf-crash"
    "pdf-dead-letter"
    "pdf-hang"
    "pdf-large-payloads"
    "pdf-power-cut-between-attempts"
    "pdf-purge"
    "pdf-redrive"
    "pdf-redrive-twice-at-once"
    "pdf-success"
    "pdf-third-time-lucky"
    "power-cut-after-acknowledging"
    "priority-aging"
    "priority-mixed"
    "priority-order"
    "processor-killed"
    "processor-paused"
    "redrive-after-its-processor-died"
    "redrive-after-the-outage"
    "sessions-come-and-go"
    "slow-network"
    "sync-backoff-to-the-cap"
    "sync-cancel-frees-the-key"
    "sync-coalesce"
    "sync-crash-and-follow-up"
    "sync-crash-frees-the-key"
    "sync-follow-up"
    "sync-gives-up"
    "sync-many-entities"
    "sync-never-gives-up"
    "sync-one-runs-long"
    "sync-retrying-key"
    "sync-stale-writer"
    "ticks-crash-after-storing"
    "ticks-every-two-seconds"
    "ticks-missed"
    "ticks-no-processor"
    "ticks-of-two-queues"
    "tiny-backoff"
    "tiny-batch"
    "tiny-batch-of-one"
    "tiny-dedup-storm"
    "tiny-one-attempt"
    "tiny-rate"
    "tiny-rate-broker-restarts"
    "tiny-timeouts"
}

/// All named scenarios, in the order of their names.
pub fn library() -> Vec<Scenario> {
    FILES.iter().map(|(_, text)| read(text)).collect()
}

/// How many named scenarios there are.
pub const COUNT: usize = FILES.len();

/// The `n`th of [`library`].
///
/// # Panics
/// If there are not so many.
pub fn nth(n: usize) -> Scenario {
    read(FILES[n].1)
}

/// The named scenario, if there is one.
pub fn find(name: &str) -> Option<Scenario> {
    FILES.iter().find(|(own, _)| *own == name).map(|(_, text)| read(text))
}

fn read(text: &str) -> Scenario {
    Scenario::parse(text).expect("every embedded scenario is tested to parse")
}

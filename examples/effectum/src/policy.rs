//! Kew's policies in effectum's terms, which counts whole seconds.

use std::time::Duration;

use effectum::Retries;
use kew_verify::protocol::Applied;
use kew_verify::spec::queues::{Backoff, Policy as Asked};

/// What effectum is told with each job.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) retries: Retries,
    pub(crate) timeout: Duration,
}

impl Policy {
    /// The policy in whole seconds, and what is in force otherwise than asked for.
    pub(crate) fn of(asked: &Asked) -> (Self, Applied) {
        let seconds = |ms: u64| Duration::from_secs(ms.div_ceil(1_000).max(1));
        let timeout = seconds(asked.timeout_ms);
        let mut applied = Applied { timeout_ms: Some(timeout.as_millis() as u64), ..Applied::default() };
        let mut first = Duration::ZERO;
        if let Backoff::Exponential(it) = &asked.backoff {
            first = seconds(it.first_ms);
            let mut it = it.clone();
            it.first_ms = first.as_millis() as u64;
            applied.backoff = Some(Backoff::Exponential(it));
        }
        let retries = Retries {
            max_retries: asked.attempts.max().map_or(i32::MAX as u32, |attempts| attempts - 1),
            backoff_initial_interval: first,
            backoff_multiplier: 2.0,
            backoff_randomization: 0.0,
        };
        (Self { retries, timeout }, applied)
    }
}

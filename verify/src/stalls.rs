//! When this machine, or the system on it, stood still: a sleeper or a probe was late by so much that what was seen then
//! may not be in the order in which it happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is late by less is no stall: what happens so close together is not taken to be in order anyway.
const STALL: Duration = Duration::from_millis(50);

/// When the latest stall of a run ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls(Arc<Mutex<Option<Instant>>>);

impl Stalls {
    /// What began at `from` has just come to its end, and should have taken at most `due`.
    pub(crate) fn note(&self, from: Instant, due: Duration) {
        if due + STALL < from.elapsed() {
            *self.lock() = Some(Instant::now());
        }
    }

    /// Whether one has ended since `from`.
    pub(crate) fn since(&self, from: Instant) -> bool {
        self.lock().is_some_and(|until| from < until)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_was_late_by_much_and_ended_since_counts() {
        let stalls = Stalls::default();
        let begun = Instant::now();
        tokio::time::advance(Duration::from_millis(100)).await;
        stalls.note(begun, Duration::from_millis(60));
        assert!(!stalls.since(begun), "40 ms late is no stall");
        stalls.note(begun, Duration::from_millis(20));
        assert!(stalls.since(begun));
        let afterwards = Instant::now();
        assert!(!stalls.since(afterwards), "it was over before");
    }
}

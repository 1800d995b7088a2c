//! The queue's clock: milliseconds since the Unix epoch that never go back.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
    epoch_ms: u64,
}

impl Clock {
    /// A clock that stands at `epoch_ms` now and goes on as tokio's does.
    pub(super) fn set(epoch_ms: u64) -> Self {
        Self { began: Instant::now(), epoch_ms }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.epoch_ms + self.began.elapsed().as_millis() as u64
    }

    /// The moment at which it comes to `clock_ms`.
    pub(super) fn moment(&self, clock_ms: u64) -> Instant {
        self.began + Duration::from_millis(clock_ms.saturating_sub(self.epoch_ms))
    }
}

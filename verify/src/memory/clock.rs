//! The queue's clock: milliseconds since the Unix epoch that never go back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

pub(super) struct Clock {
    began: Instant,
    epoch_ms: u64,
}

impl Clock {
    /// A clock that is set by the system's and then goes by itself.
    pub(super) fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "this queue runs in real time alone")]
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the wall clock is past 1970");
        Self { began: Instant::now(), epoch_ms: epoch.as_millis() as u64 }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.epoch_ms + self.began.elapsed().as_millis() as u64
    }

    /// The moment at which it comes to `clock_ms`.
    pub(super) fn moment(&self, clock_ms: u64) -> Instant {
        self.began + Duration::from_millis(clock_ms.saturating_sub(self.epoch_ms))
    }
}

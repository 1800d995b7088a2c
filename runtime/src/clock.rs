//! Where time comes from. Nothing else in the runtime reads a clock: a [`Clock`] comes in as an argument.

use std::sync::Arc;

/// A host's two clocks.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, as the host believes. It may jump, back as well as forward.
    fn wall_ms(&self) -> u64;

    /// Milliseconds since some fixed moment. It never jumps.
    fn monotonic_ms(&self) -> u64;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// The operating system's clocks, the monotonic one counted from now.
    #[expect(clippy::disallowed_methods, reason = "this is where time enters a real process")]
    #[expect(clippy::new_without_default, reason = "it reads the clock, which a default should not")]
    pub fn new() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time enters a real process")]
    fn wall_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }

    fn monotonic_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// The queue's own time: it never goes back, and never runs slower than the monotonic clock.
///
/// When the wall clock jumps forward, the queue follows at once. When it jumps back, the queue goes on at the monotonic
/// clock's pace until the wall clock has caught up: leases still end and retries still come. Over a restart it goes on
/// from the last time that the store has seen.
pub struct QueueClock {
    clock: Arc<dyn Clock>,
    last_ms: u64,
    last_monotonic_ms: u64,
}

impl QueueClock {
    /// A queue's clock that is not before `last_ms`, the last time it showed before a restart.
    pub fn new(clock: Arc<dyn Clock>, last_ms: u64) -> Self {
        let last_monotonic_ms = clock.monotonic_ms();
        Self { clock, last_ms, last_monotonic_ms }
    }

    /// The queue's time in milliseconds since the Unix epoch.
    pub fn now_ms(&mut self) -> u64 {
        let monotonic_ms = self.clock.monotonic_ms();
        let elapsed_ms = monotonic_ms.saturating_sub(self.last_monotonic_ms);
        self.last_ms = self.clock.wall_ms().max(self.last_ms + elapsed_ms);
        self.last_monotonic_ms = monotonic_ms;
        self.last_ms
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Hands {
        wall: AtomicU64,
        monotonic: AtomicU64,
    }

    impl Clock for Hands {
        fn wall_ms(&self) -> u64 {
            self.wall.load(Ordering::Relaxed)
        }

        fn monotonic_ms(&self) -> u64 {
            self.monotonic.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn the_queues_clock_goes_on_when_the_wall_clock_jumps_back() {
        let hands = Arc::new(Hands::default());
        let set = |wall, monotonic| {
            hands.wall.store(wall, Ordering::Relaxed);
            hands.monotonic.store(monotonic, Ordering::Relaxed);
        };
        set(10_000, 0);
        let mut clock = QueueClock::new(hands.clone(), 0);
        assert_eq!(clock.now_ms(), 10_000);
        set(4_000, 500);
        assert_eq!(clock.now_ms(), 10_500, "back by six seconds");
        set(20_000, 600);
        assert_eq!(clock.now_ms(), 20_000, "forward at once");
    }

    #[test]
    fn the_queues_clock_goes_on_where_it_was_before_a_restart() {
        let mut clock = QueueClock::new(Arc::new(Hands::default()), 7_000);
        assert_eq!(clock.now_ms(), 7_000);
    }
}

//! The clock that a run goes by: the machine's own, or one that stands still until the harness moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// How often both clocks are read, so that one reading is not interrupted in between.
const READINGS: u32 = 20;

/// 2026-01-01, some time past a tick of any schedule.
const EPOCH_MS: u64 = 1_767_225_600_250;

/// What a run reads the time from. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// Adapters are processes that go by the machine's clocks, so both are read anew for each play.
    Machine,
    /// The system goes by the harness's own clock, which may be paused or moved: the wall clock is read once.
    Own { began: Instant, epoch_ms: u64, ahead_ms: AtomicU64 },
}

impl Clock {
    /// The machine's clocks.
    pub(crate) fn machine() -> Self {
        Self(Arc::new(Kind::Machine))
    }

    /// The clock of this tokio runtime, set by the machine's now.
    pub(crate) fn own() -> Self {
        let (began, epoch_ms) = both();
        Self::set(began, epoch_ms)
    }

    /// The same, set to the same time in every run, so that runs on a paused clock are the same.
    pub(crate) fn fixed() -> Self {
        Self::set(Instant::now(), EPOCH_MS)
    }

    fn set(began: Instant, epoch_ms: u64) -> Self {
        Self(Arc::new(Kind::Own { began, epoch_ms, ahead_ms: AtomicU64::new(0) }))
    }

    /// The moment now, and the wall clock then, in milliseconds since the Unix epoch.
    pub(crate) fn both(&self) -> (Instant, u64) {
        match &*self.0 {
            Kind::Machine => both(),
            Kind::Own { began, epoch_ms, .. } => {
                let now = Instant::now();
                (now, epoch_ms + (now - *began).as_millis() as u64)
            }
        }
    }

    /// How much time has passed since `began`.
    pub(crate) fn since(&self, began: Instant) -> Duration {
        match &*self.0 {
            Kind::Machine => began.elapsed(),
            Kind::Own { ahead_ms, .. } => began.elapsed() + Duration::from_millis(ahead_ms.load(Ordering::Relaxed)),
        }
    }

    /// The system's clock is so far ahead of the runtime's timers: it is moved first.
    pub(crate) fn set_ahead(&self, ms: u64) {
        if let Kind::Own { ahead_ms, .. } = &*self.0 {
            ahead_ms.store(ms, Ordering::Relaxed);
        }
    }
}

/// The harness's own clock and the wall clock.
fn both() -> (Instant, u64) {
    let readings = (0..READINGS).map(|_| reading());
    let (_, began, epoch) = readings.min_by_key(|(spent, ..)| *spent).expect("there is a reading");
    (began, epoch.as_millis() as u64)
}

/// Both clocks, and how long reading them took.
fn reading() -> (Duration, Instant, Duration) {
    let before = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "adapters go by the machine's wall clock")]
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the wall clock is past 1970");
    (before.elapsed(), before, epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_of_ones_own_goes_on_by_what_it_is_moved() {
        let clock = Clock::own();
        let (began, epoch_ms) = clock.both();
        tokio::time::advance(Duration::from_millis(70)).await;
        assert_eq!(clock.both().1, epoch_ms + 70);
        clock.set_ahead(10);
        assert_eq!(clock.since(began), Duration::from_millis(80));
    }
}

//! Writes down what is seen while a scenario is played, in order, on the harness's own clock.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use kew_spec::history::{Event, What};
use tokio::time::Instant;

/// The observations of one play. Clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    began: Instant,
    /// The wall clock when it began.
    epoch_ms: u64,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "adapters go on in real time alone")]
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the wall clock is past 1970");
        Self { began: Instant::now(), epoch_ms: epoch.as_millis() as u64, seen: Arc::default() }
    }

    /// Milliseconds since the play began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// The moment `ms` after the play began.
    pub(crate) fn moment(&self, ms: u64) -> Instant {
        self.began + std::time::Duration::from_millis(ms)
    }

    /// The wall clock when the play began, in milliseconds since the Unix epoch.
    pub(crate) fn epoch_ms(&self) -> u64 {
        self.epoch_ms
    }

    /// Something is seen now.
    pub(crate) fn see(&self, what: impl Into<What>) {
        let mut seen = self.lock();
        let at = self.now_ms(); // Under the lock, so that times never go back.
        seen.push(Event { at, what: what.into() });
    }

    /// All that was seen.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.seen.lock().expect("nobody panics while writing down an event")
    }
}

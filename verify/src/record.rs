//! Writes down what is seen while a scenario is played, in order, on the harness's own clock.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// How often both clocks are read, so that one reading is not interrupted in between.
const READINGS: u32 = 20;

/// The harness's own clock and the wall clock, and how long reading them took.
fn both_clocks() -> (Duration, Instant, Duration) {
    let before = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "adapters go on in real time alone")]
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the wall clock is past 1970");
    (before.elapsed(), before, epoch)
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let (began, epoch) = (0..READINGS)
            .map(|_| both_clocks())
            .min_by_key(|(spent, ..)| *spent)
            .map(|(_, began, epoch)| (began, epoch))
            .expect("there is a reading");
        Self { began, epoch_ms: epoch.as_millis() as u64, seen: Arc::default() }
    }

    /// Milliseconds since the play began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// The moment `ms` after the play began.
    pub(crate) fn moment(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
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

    /// Something is heard only now that was before what `later` finds, as far back as that is.
    pub(crate) fn see_before(&self, later: impl Fn(&What) -> bool, what: impl Into<What>) {
        let mut seen = self.lock();
        let place = seen.iter().rposition(|event| later(&event.what));
        let (place, at) = place.map_or_else(|| (seen.len(), self.now_ms()), |place| (place, seen[place].at));
        seen.insert(place, Event { at, what: what.into() });
    }

    /// The end that `mine` finds was not the handler's own: the system had stopped it before, `as_told`. Nothing that it
    /// did as it ended (which `goes_with_it`, and stands just before) has come about.
    pub(crate) fn stop_before(
        &self,
        mine: impl Fn(&What) -> bool,
        goes_with_it: impl Fn(&What) -> bool,
        as_told: impl Into<What>,
    ) {
        let mut seen = self.lock();
        let Some(end) = seen.iter().rposition(|event| mine(&event.what)) else { return };
        let effects = seen[..end].iter().rev().take_while(|event| goes_with_it(&event.what)).count();
        let at = seen[end].at;
        seen.splice(end - effects..end, [Event { at, what: as_told.into() }]);
    }

    /// All that was seen.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.seen.lock().expect("nobody panics while writing down an event")
    }
}

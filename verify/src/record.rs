//! Writes down what is seen while a scenario is played, in order, on the harness's own clock.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kew_spec::history::{Event, What};
use tokio::time::Instant;

use crate::clock::Clock;

/// The observations of one play. Clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    clock: Clock,
    began: Instant,
    /// The wall clock when it began.
    epoch_ms: u64,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    /// Of a play that begins now.
    pub(crate) fn new(clock: &Clock) -> Self {
        let (began, epoch_ms) = clock.both();
        Self { clock: clock.clone(), began, epoch_ms, seen: Arc::default() }
    }

    /// Milliseconds since the play began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.since(self.began).as_millis() as u64
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

//! The hosts' clocks: simulated time, bent by how far each host's own wall clock is off and by faults.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kew_runtime::clock::Clock;
use tokio::time::Instant;

use crate::shape::Skew;

/// When every run begins, in milliseconds since the Unix epoch: ten seconds before a 5-minute mark of 2026-01-01, so that
/// the first tick of the default schedule comes early in the play.
pub const EPOCH_MS: u64 = 1_767_225_590_000;

/// How far a host's wall clock is off.
#[derive(Clone, Copy, Debug, Default)]
struct Bend {
    /// By nature, from the start.
    skew: Skew,
    /// By so many milliseconds, always.
    step_ms: i64,
    /// Fast by so many millionths since then; negative is slow.
    drift: Option<(i64, u64)>,
}

/// All hosts' wall clocks. Whoever drives the simulation bends them; the hosts read them.
#[derive(Clone, Default)]
pub struct Clocks {
    bends: Arc<Mutex<BTreeMap<String, Bend>>>,
}

impl Clocks {
    /// Clocks that are off by `skews` from the start.
    pub fn new(skews: &BTreeMap<String, Skew>) -> Self {
        let bend = |skew: &Skew| Bend { skew: *skew, ..Bend::default() };
        let bends = skews.iter().map(|(host, skew)| (host.clone(), bend(skew))).collect();
        Self { bends: Arc::new(Mutex::new(bends)) }
    }

    /// The clock of `host`.
    pub fn of(&self, host: &str) -> Arc<dyn Clock> {
        Arc::new(HostClock { host: host.to_owned(), clocks: self.clone() })
    }

    /// Moves the wall clock of `host` by `by_ms`.
    pub fn step(&self, host: &str, by_ms: i64) {
        self.bend(host, |bend| bend.step_ms += by_ms);
    }

    /// Lets the wall clock of `host` run fast by `ppm` millionths from the simulated time `now_ms` on.
    pub fn drift(&self, host: &str, ppm: i64, now_ms: u64) {
        self.bend(host, |bend| bend.drift = Some((ppm, now_ms)));
    }

    /// Ends the drift of the wall clock of `host`, and what it has come to.
    pub fn correct(&self, host: &str) {
        self.bend(host, |bend| bend.drift = None);
    }

    fn bend(&self, host: &str, change: impl FnOnce(&mut Bend)) {
        let mut bends = self.bends.lock().unwrap_or_else(PoisonError::into_inner);
        change(bends.entry(host.to_owned()).or_default());
    }

    fn offset_ms(&self, host: &str, now_ms: u64) -> i64 {
        let bends = self.bends.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bend) = bends.get(host) else { return 0 };
        let drifted = |(ppm, since)| (now_ms - since) as i64 * ppm / 1_000_000;
        bend.skew.by_ms + drifted((bend.skew.ppm, 0)) + bend.step_ms + bend.drift.map_or(0, drifted)
    }
}

/// One host's clock.
struct HostClock {
    host: String,
    clocks: Clocks,
}

impl Clock for HostClock {
    fn wall_ms(&self) -> u64 {
        let now_ms = self.monotonic_ms();
        (EPOCH_MS + now_ms).saturating_add_signed(self.clocks.offset_ms(&self.host, now_ms))
    }

    fn monotonic_ms(&self) -> u64 {
        now_ms()
    }
}

thread_local! {
    /// When this thread's play began on tokio's paused clock, and what its time was then.
    static BEGAN: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
}

/// Lets this thread's time go on from `start_ms` with tokio's paused clock, for a play without turmoil.
pub fn begin(start_ms: u64) {
    BEGAN.set(Some((Instant::now(), start_ms)));
}

/// Simulated milliseconds since the run began; 0 outside of a host, unless a play has begun on this thread.
pub fn now_ms() -> u64 {
    let played = || BEGAN.get().map_or(0, |(began, start_ms)| start_ms + began.elapsed().as_millis() as u64);
    turmoil::sim_elapsed().map_or_else(played, |elapsed| elapsed.as_millis() as u64)
}

//! How late this machine wakes a sleeper: measured before and during a run, so that "not late" is judged against it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::stalls::Stalls;

/// How long a probe sleeps.
const PROBE: Duration = Duration::from_millis(5);

/// Measures all the while. Ends when it is dropped.
pub(crate) struct Lag {
    worst_us: Arc<AtomicU64>,
    sorted: Arc<Mutex<Vec<u32>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Lag {
    /// Begins to measure.
    pub(crate) fn begin(stalls: Stalls) -> Self {
        let (worst_us, samples) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (worst, kept) = (Arc::clone(&worst_us), Arc::clone(&samples));
        let task = tokio::spawn(async move {
            loop {
                let began = Instant::now();
                tokio::time::sleep(PROBE).await;
                stalls.note(began, PROBE);
                let late_us = began.elapsed().saturating_sub(PROBE).as_micros() as u64;
                worst.fetch_max(late_us, Ordering::Relaxed);
                kept.lock().expect("nobody panics with it").push(late_us.min(u64::from(u32::MAX)) as u32);
            }
        });
        Self { worst_us, sorted: samples, task }
    }

    /// The longest that a sleeper was late so far, in milliseconds.
    pub(crate) fn worst_ms(&self) -> u64 {
        self.worst_us.load(Ordering::Relaxed).div_ceil(1_000)
    }

    /// What 999 of 1,000 sleepers were not later than, in milliseconds.
    pub(crate) fn p999_ms(&self) -> u64 {
        let mut samples = self.sorted.lock().expect("nobody panics with it").clone();
        samples.sort_unstable();
        let place = (samples.len() * 999 / 1_000).min(samples.len().saturating_sub(1));
        u64::from(samples.get(place).copied().unwrap_or(0)).div_ceil(1_000)
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.task.abort();
    }
}

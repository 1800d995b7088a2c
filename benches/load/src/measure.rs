//! How a measurement is written: one line of JSON.

use std::time::Duration;

use kew_runtime::store::Synchronous;
use serde::Serialize;

use crate::work::Load;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// `kew` or `limit`.
    pub system: &'static str,
    /// The version.
    pub version: &'static str,
    /// How it was set up, in words.
    pub configuration: String,
    /// `A`: synced to the disk before it is acknowledged. `B`: survives the process, not a loss of power.
    pub durability: &'static str,
    /// The name of the work.
    pub work: &'static str,
    /// How many jobs.
    pub jobs: u32,
    /// How long they took.
    pub seconds: f64,
}

impl Measurement {
    /// `load`, done by `system` in `took`.
    pub fn new(system: &'static str, configuration: &str, load: &Load, took: Duration) -> Self {
        let (synchronous, durability) = match load.synchronous {
            Synchronous::Full => ("FULL", "A"),
            Synchronous::Normal => ("NORMAL", "B"),
        };
        Self {
            system,
            version: env!("CARGO_PKG_VERSION"),
            configuration: format!("{configuration}, SQLite WAL, synchronous={synchronous}"),
            durability,
            work: load.work.name(),
            jobs: load.jobs,
            seconds: took.as_secs_f64(),
        }
    }

    /// Jobs a second.
    pub fn per_second(&self) -> f64 {
        f64::from(self.jobs) / self.seconds
    }
}

/// The middle one, of which there must be at least one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

//! What can go wrong with a disk while it has power, as data: a list of these can be written down
//! and replayed. What a power cut leaves is in `loss`.
//! A fault that is off draws nothing from the disk's random stream, so that turning one on
//! moves no other.

use serde::{Deserialize, Serialize};

use super::rng::Rng;

/// One whole, in parts per million.
pub const WHOLE_PPM: u32 = 1_000_000;

/// The faults of a disk. `Faults::default()` is a disk in good health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// A sync reports an error. Counted in [`Stats::syncs`].
    pub sync_fails: Trigger,
    /// What becomes of the data when a sync reports an error.
    pub sync_failure: SyncFailure,
    /// A sync reports success and makes nothing durable. Counted in [`Stats::syncs`].
    pub sync_lies: Trigger,
    /// A sync of the directory reports success and makes no name durable: what was synced into a new file is lost with
    /// the file's name. Counted in [`Stats::directory_syncs`].
    pub directory_sync_lies: Trigger,
    /// A write reports an error and changes nothing. Counted in [`Stats::writes`].
    pub write_fails: Trigger,
    /// A read reports an error. Counted in [`Stats::reads`].
    pub read_fails: Trigger,
    /// A read stops halfway and looks like the end of the file. SQLite reads zeros there and
    /// cannot tell: only a check of the whole database notices. Counted in [`Stats::reads`].
    pub read_short: Trigger,
    /// How much fits, over all files. What is over it is refused with "disk full".
    pub capacity_bytes: Option<u64>,
    /// How long operations take.
    pub slow: Slow,
}

/// When a fault strikes, among the operations of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The fault is off.
    #[default]
    Never,
    /// At the next operation, once.
    Next,
    /// At one operation, counted from 1 over the disk's life in the matching field of [`Stats`].
    At(u64),
    /// At every operation with this chance, in parts per million.
    ChancePpm(u32),
    /// At every operation.
    Always,
}

impl Trigger {
    /// Whether the fault strikes the operation that is the `count`th of its kind.
    pub(super) fn strikes(&mut self, count: u64, rng: &mut Rng) -> bool {
        match *self {
            Self::Never | Self::ChancePpm(0) => false,
            Self::Next => {
                *self = Self::Never;
                true
            }
            Self::At(nth) => nth == count,
            Self::ChancePpm(ppm) => rng.below(u64::from(WHOLE_PPM)) < u64::from(ppm),
            Self::Always => true,
        }
    }
}

/// What a sync that reported an error leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncFailure {
    /// The data stays unsynced, and the next sync tries again.
    #[default]
    Retryable,
    /// The kernel takes the pages for clean: reads still see the data, later syncs report
    /// success, and a power cut loses it. Linux does this ("fsyncgate").
    Forgets,
}

/// How long operations take, in microseconds.
///
/// A call from SQLite cannot wait for simulated time, because it may not yield. The disk adds up
/// what it owes, and the host sleeps for [`super::Disk::take_delay`] before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slow {
    /// Added for every read.
    pub read_us: u64,
    /// Added for every write.
    pub write_us: u64,
    /// Added for every sync.
    pub sync_us: u64,
}

/// What a disk has done since it was new. Calls on a dead handle are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// What changes the disk: creations, writes, truncations, syncs and deletions. A power cut
    /// between two of these is a case of its own, one between two reads is not.
    pub operations: u64,
    /// Reads.
    pub reads: u64,
    /// Writes, the failed ones included.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Syncs of a file, the failed and the lying ones included.
    pub syncs: u64,
    /// Syncs of the directory, the lying ones included.
    pub directory_syncs: u64,
    /// Faults that struck, the refusals of a full disk included.
    pub faults: u64,
}

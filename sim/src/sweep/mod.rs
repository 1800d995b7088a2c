//! Power loss, exhaustively: the power is cut at every disk operation of a run, under every loss model, and all clauses
//! judge what came before and after.
//!
//! A sweep needs no network, so it does without turmoil: the runtime's own roles run as values on one paused tokio
//! runtime ([`site`]), users call the broker's handle. One run without a cut, the reference, says how many operations
//! there are and what each commit made ([`commits`]). A [`Cut`] is the same run up to an operation; a [`Point`] is what
//! one loss model leaves of it, recovered and played to its end. Each is a function of the sweep, the operation and the
//! model alone.

mod before;
mod commits;
mod digest;
mod judge;
mod model;
mod point;
mod reading;
mod site;
mod users;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use kew_runtime::store::Synchronous;
use tokio::runtime::Runtime;

pub use before::Cut;
pub use judge::{Future, Point, State};
pub use model::Model;

use crate::disk::Faults;
use crate::{Error, UNSEALED, clock, disk, interpose, random};
use commits::Commit;
use workload::Workload;

/// How long the site is without power.
const DOWN_MS: u64 = 1_000;

/// What a timer and a scheduling decision may add to a "not late" bound: two turns of the writer, each woken by a timer
/// that is accurate to a millisecond. There is no network.
const LATE_MS: u64 = 10;

/// How long the site may need after the power is back to have asked for work again.
const RECOVERY_MS: u64 = 250;

/// A sweep: what decides all of its points but for the cut and the model.
#[derive(Debug)]
pub struct Sweep {
    seed: u64,
    synchronous: Synchronous,
    faults: Faults,
    workload: Arc<Workload>,
    /// What each commit of the reference run made, the opened store first.
    commits: Vec<Commit>,
    operations: u64,
}

impl Sweep {
    /// Plays the reference run of `seed` at `synchronous`, on a disk in good health.
    ///
    /// # Errors
    ///
    /// If the world cannot be sealed, or a run without a cut comes to no end.
    pub fn new(seed: u64, synchronous: Synchronous) -> Result<Self, Error> {
        Self::with_faults(seed, synchronous, Faults::default())
    }

    /// Like [`Sweep::new`], on a disk with faults, which are healed when the power comes back. They may lie and take
    /// time; with faults that let operations fail, a commit in doubt is none of the run's own.
    ///
    /// # Errors
    ///
    /// As [`Sweep::new`].
    pub fn with_faults(seed: u64, synchronous: Synchronous, faults: Faults) -> Result<Self, Error> {
        let workload = Arc::new(Workload::new());
        let mut sweep = Self { seed, synchronous, faults, workload, commits: Vec::new(), operations: 0 };
        (sweep.commits, sweep.operations) = sweep.reference()?;
        Ok(sweep)
    }

    /// How many disk operations the run has, from the first to the last of a graceful shutdown.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// How many commits the run has.
    pub fn commits(&self) -> u64 {
        self.commits.len() as u64 - 1
    }

    /// How many jobs the run's users ask for.
    pub fn jobs(&self) -> u64 {
        self.workload.script.len() as u64
    }
}

/// Does `work` on a fresh thread whose time and chance come from `seed`. Nothing that a library keeps per thread comes
/// from what ran before.
fn sealed<T: Send>(seed: u64, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let sealed = || {
        interpose::enable(seed, Duration::from_millis(clock::EPOCH_MS));
        disk::install();
        disk::reset_prng(seed);
        let done = if interpose::is_in_force() { work() } else { Err(Error::NotSealed(UNSEALED)) };
        interpose::disable();
        done
    };
    let joined = std::thread::scope(|scope| scope.spawn(sealed).join());
    joined.unwrap_or_else(|panic| Err(Error::of_panic(panic.as_ref())))
}

/// A runtime whose clock stands still until nothing else is left to do.
fn runtime(seed: u64) -> Result<Runtime, Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    #[cfg(not(tokio_unstable))]
    let _ = seed;
    builder.build().map_err(|error| Error::Host { reason: error.to_string() })
}

/// A number for one part of a run.
fn number(seed: u64, part: &str) -> u64 {
    random::stream(seed, part).random()
}

//! The reference queue in a simulated world: time, network, disk and faults, all from one seed.
//!
//! [`run`] plays a [`Plan`], which a seed draws: the runtime's own roles as turmoil hosts, users and a world outside
//! around them. It gives back the history and a hash over all that happened. The same plan gives the same hash, in any
//! process. Start one process per run: what libraries keep in globals (task ids, SQLite's and `select!`'s randomness) is then fresh.

pub mod capsule;
pub mod clock;
pub mod disk;
pub mod drain;
pub mod faults;
pub mod hazards;
pub mod hosts;
pub mod interpose;
pub mod minimize;
pub mod network;
pub mod plan;
pub mod planted;
mod populate;
pub mod random;
pub mod record;
pub mod script;
pub mod shape;
pub mod speed;
pub mod sweep;
mod world;

use std::any::Any;
use std::time::Duration;

use kew_spec::history::{Event, Header};

pub use plan::Plan;

/// What came out.
#[derive(Debug)]
pub struct Run {
    /// The history's first line.
    pub header: Header,
    /// What was seen, in order of time.
    pub history: Vec<Event>,
    /// A hash over every event and every byte on the network.
    pub hash: String,
    /// How much time was simulated.
    pub simulated_ms: u64,
    /// How many faults the scenario states.
    pub faults: usize,
    /// How long it took to drain, and might have taken.
    pub drain: drain::Drain,
}

/// Why a run came to nothing. None of these says anything about the queue's promises.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such planted bug.
    #[error("find the planted bug {0:?}; `kew sim --planted list` lists them")]
    NoSuchBug(String),
    /// A host ended or panicked.
    #[error("keep a host running: {reason}")]
    Host {
        /// What it said.
        reason: String,
    },
    /// The run went on and on.
    #[error("finish: after {simulated_ms} simulated milliseconds the users are still waiting")]
    Stuck {
        /// How long it went on.
        simulated_ms: u64,
    },
    /// The simulated world is not sealed: something was read from the real one.
    #[error("seal the world: {0}")]
    NotSealed(&'static str),
    /// The run's thread panicked.
    #[error("run: the simulation panicked: {0}")]
    Panicked(String),
}

impl Error {
    fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Self::Panicked(text.unwrap_or("no message").to_owned())
    }
}

/// Why a world cannot be sealed.
const UNSEALED: &str =
    "libc's clock and entropy are not answered by this program; it has to be linked dynamically, on Linux";

/// Plays one run, on a thread of its own, since thread-local hash keys are drawn from the seed.
pub fn run(plan: &Plan) -> Result<Run, Error> {
    sealed(plan, world::play)
}

/// Plays `plan` as `play` does, on a fresh thread that is sealed off from the machine.
#[expect(clippy::disallowed_methods, reason = "the thread gives the run fresh thread-locals; nothing runs beside it")]
fn sealed<T: Send + 'static>(plan: &Plan, play: fn(&Plan) -> Result<T, Error>) -> Result<T, Error> {
    let plan = plan.clone();
    let thread = std::thread::spawn(move || {
        interpose::enable(plan.seed, Duration::from_millis(clock::EPOCH_MS));
        disk::install();
        disk::reset_prng(plan.seed);
        let played = if interpose::is_in_force() { play(&plan) } else { Err(Error::NotSealed(UNSEALED)) };
        interpose::disable();
        played
    });
    thread.join().unwrap_or_else(|panic| Err(Error::of_panic(panic.as_ref())))
}

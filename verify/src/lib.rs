//! Puts Kew's scenarios to queues that others wrote, in any language, and lets the same checkers judge what was seen.
//!
//! A system is spoken for by an adapter (docs/adapters.md). In reading order: [`protocol`] and [`capability`] are what is
//! said, [`target`] is how an adapter is started, `link` and `fleet` are the processes, `fit` makes a scenario fit for
//! real time, `play` plays it (in virtual time `mover` moves the `clock`), `infer` works out what the queue must have done,
//! `judge` hands that to the checkers, and `run` does it for the whole library. Nothing here knows Kew's own runtime.

pub mod capability;
pub mod conformance;
pub mod honesty;
pub mod known;
pub mod local;
pub mod memory;
pub mod protocol;
pub mod result;
pub mod scenarios;
pub mod smoke;
mod stalls;
pub mod target;

mod bound;
mod clock;
mod doubt;
mod fit;
mod fleet;
mod infer;
mod judge;
mod lag;
mod link;
mod mover;
mod play;
mod probe;
mod proxy;
mod record;
mod repeat;
mod run;

use std::sync::Arc;

pub use judge::Judged;
/// Policies, statuses and scenarios, so that a crate which is tried needs no other of Kew's.
pub use kew_spec as spec;
pub use link::Error;
pub use run::{Options, Progress, Verified};

use fleet::System;
use local::Queue;
use target::Target;

/// The tokio runtime on which to verify `target`: one with several threads in real time; in virtual time one with a single
/// thread, whose clock can be moved.
///
/// # Errors
/// If the operating system refuses.
pub fn runtime(target: &Target) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match target.clock {
        target::Clock::Machine => tokio::runtime::Builder::new_multi_thread(),
        target::Clock::Virtual => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build()
}

/// Verifies the system that `target` speaks for. Call it on its [`runtime`].
pub async fn verify(target: &Target, options: &Options, tell: &(dyn Fn(Progress) + Sync)) -> Result<Verified, Error> {
    run::verify(&target.name, &System::Target(Arc::new(target.clone())), options, tell).await
}

/// Tries the adapter of `target` alone: each thing that docs/adapters.md asks of it, once. `tell` is called for each step
/// when it is over. Call it on the target's [`runtime`].
pub async fn smoke(target: &Target, tell: &(dyn Fn(&smoke::Step) + Sync)) -> Vec<smoke::Step> {
    smoke::smoke(&System::Target(Arc::new(target.clone())), tell).await
}

/// Verifies a queue in this process. `make` is called where one begins to be used. Call it on a tokio runtime with several
/// threads; or, if the queue goes by tokio's clock alone, on one whose clock is paused, where seconds pass in no time. Or use
/// [`conformance!`] in a test.
pub async fn verify_local<Q: Queue>(
    make: impl Fn() -> Q + Send + Sync + 'static,
    options: &Options,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<Verified, Error> {
    let start = move |line| drop(tokio::spawn(local::serve(Arc::new(make()), line)));
    run::verify("local", &System::Local(Arc::new(start)), options, tell).await
}

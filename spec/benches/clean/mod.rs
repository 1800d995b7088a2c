//! A clean history of any length, made by a small queue that keeps every promise: five queues with retries, batches, a
//! rate limit, deduplication, a schedule, dead letters, cancels, redrives, mails, sessions and reads of the status.
//!
//! It is drawn from one seed and shares no code with the runtime: the checkers are measured, not the queue.

mod draw;
mod queue;
mod tell;

use kew_spec::history::{Event, Header, Slack};

use queue::World;

/// The header of the histories made here.
pub(crate) fn header() -> Header {
    let slack = Slack { late_ms: 500, ..Slack::default() };
    Header { player: "bench".into(), slack, ..Header::new("bench 1") }
}

/// Hands about `events` events to `take`, in order, and answers how many it was and how many jobs there were.
pub(crate) fn play(events: u64, take: impl FnMut(Event)) -> Played {
    let mut world = World::new(take);
    world.play(events);
    world.played()
}

/// How much was played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Played {
    /// The events handed out.
    pub(crate) events: u64,
    /// The jobs made.
    pub(crate) jobs: u64,
}

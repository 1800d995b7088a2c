//! Random scenarios that shrink: all that a run needs is drawn as plain lists and numbers, and only then put together,
//! so that leaving out a job, an operation or a fault leaves the rest as it was.
//!
//! Families of faults, kinds of misbehaviour and kinds of queues are switched on and off as a whole (swarm testing): a run
//! with everything on hides what a run with one thing on shows.

mod assemble;
mod draw;
mod family;
mod policy;
mod swarm;

use proptest::strategy::Strategy;

use super::{Act, Scenario};
use draw::Focus;
use policy::Kind;
pub use swarm::sample;

/// The most jobs that a random scenario enqueues.
pub const JOBS_MAX: u32 = 120;

/// Any mix of jobs, operations and faults, on the five queues or on small ones near their limits.
pub fn scenario() -> impl Strategy<Value = Scenario> {
    draw::scenario(Focus { name: "random", ..Focus::ANYTHING })
}

/// As [`scenario`], in a world where nothing fails but handlers.
pub fn scenario_without_faults() -> impl Strategy<Value = Scenario> {
    draw::scenario(Focus { name: "random-without-faults", faults_max: 0, ..Focus::ANYTHING })
}

/// Failures, timeouts and crashes of attempts, on queues with few attempts.
pub fn retry_counts() -> impl Strategy<Value = Scenario> {
    draw::scenario(Focus { name: "retry-counts", kinds: &[Kind::Plain], ..Focus::FAILING })
}

/// As [`retry_counts`], with redrives and purges of what ends in the dead letter queue.
pub fn dead_letters() -> impl Strategy<Value = Scenario> {
    draw::scenario(Focus { name: "dead-letters", kinds: &[Kind::DeadLettering], ..Focus::FAILING })
}

/// Many jobs for few entities.
pub fn deduplication() -> impl Strategy<Value = Scenario> {
    draw::scenario(Focus { name: "deduplication", kinds: &[Kind::Deduplicating], ..Focus::FAILING })
}

/// Small batches with short waits.
pub fn batching() -> impl Strategy<Value = Scenario> {
    draw::scenario(Focus { name: "batching", kinds: &[Kind::Batching], ..Focus::FAILING })
}

/// Low limits on starts.
pub fn rate() -> impl Strategy<Value = Scenario> {
    draw::scenario(Focus { name: "rate", kinds: &[Kind::Limited], ..Focus::FAILING })
}

/// Ticks every few seconds.
pub fn schedule() -> impl Strategy<Value = Scenario> {
    draw::scenario(Focus { name: "schedule", kinds: &[Kind::Scheduled], ..Focus::FAILING })
}

/// Handlers that end shortly before or after their timeout, long after it, or never.
pub fn timeouts() -> impl Strategy<Value = Scenario> {
    let acts = &[Act::Succeed, Act::Hang, Act::Succeed, Act::Fail];
    let kinds = &[Kind::Plain, Kind::DeadLettering];
    draw::scenario(Focus { name: "timeouts", kinds, acts, ..Focus::FAILING })
}

//! Systems in this process: a crate of a queue implements [`Queue`] and has its promises tried by `cargo test`, without
//! an adapter that is a process.
//!
//! [`Handler`] is the one handler that Kew scripts. `serve` carries what the protocol says to a [`Queue`] and back.

mod handler;
mod serve;

use std::future::Future;

use kew_spec::queues::Policy;

pub use handler::{Handler, Running};
pub(crate) use serve::serve;

use crate::protocol::{About, Applied, DeadJob, Enqueued, Job, Standing, Which};

/// A queue that Kew is to create, as docs/adapters.md describes it under `configure`.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name.
    pub queue: String,
    /// What it promises: no more than what [`Queue::about`] declares.
    pub policy: Policy,
    /// How many handlers run side by side.
    pub slots: u32,
    /// All queues of the same play, this one included: where there are priorities, they share the slots.
    pub beside: Vec<String>,
}

/// A job queue that lives in this process, as Kew speaks with it. What a queue does not offer it leaves at its default, and
/// does not declare in [`about`](Queue::about).
///
/// Every `Err` is a refusal, surely without effect, and says why.
pub trait Queue: Send + Sync + 'static {
    /// Its name, version and capabilities.
    fn about(&self) -> About;

    /// The wall clock, as the play has it, stands at `now_ms` (milliseconds since the Unix epoch) and goes on as tokio's clock
    /// does. A queue that tells times, or has a schedule, goes by it in virtual time.
    fn set_clock(&self, now_ms: u64) {
        let _ = now_ms;
    }

    /// Creates a queue and calls `handler` for its jobs from now on. Answers with what of the policy is in force otherwise
    /// than asked for: `Applied::default()` for nothing.
    fn configure(&self, setup: Setup, handler: Handler) -> impl Future<Output = Result<Applied, String>> + Send;

    /// Takes a job. Answers with the job that was there already, if this made none.
    fn enqueue(&self, job: Job) -> impl Future<Output = Result<Enqueued, String>> + Send;

    /// All dead letters of a queue.
    fn dead_letters(&self, queue: String) -> impl Future<Output = Result<Vec<DeadJob>, String>> + Send {
        not_offered(queue)
    }

    /// How a job stands.
    fn status(&self, job: Which) -> impl Future<Output = Result<Standing, String>> + Send {
        not_offered(job)
    }

    /// Puts a dead letter back.
    fn redrive(&self, job: Which) -> impl Future<Output = Result<(), String>> + Send {
        not_offered(job)
    }

    /// Ends a job.
    fn cancel(&self, job: Which) -> impl Future<Output = Result<(), String>> + Send {
        not_offered(job)
    }

    /// Gives no deliveries of a queue.
    fn pause(&self, queue: String) -> impl Future<Output = Result<(), String>> + Send {
        not_offered(queue)
    }

    /// Goes on with it.
    fn resume(&self, queue: String) -> impl Future<Output = Result<(), String>> + Send {
        not_offered(queue)
    }
}

async fn not_offered<Asked, T>(_: Asked) -> Result<T, String> {
    Err("it is not offered".into())
}

//! The handler that Kew gives to a queue in this process: what it does with a job is the scenario's choice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::protocol::{Delivered, Event, JobResult, Said, Why};

/// Handlers at work, by invocation: where each waits to be told how it ends.
#[derive(Default)]
pub(super) struct Calls {
    next: AtomicU64,
    open: Mutex<BTreeMap<String, oneshot::Sender<Vec<JobResult>>>>,
}

impl Calls {
    /// The scenario says how a handler ends.
    pub(super) fn end(&self, invocation: &str, jobs: Vec<JobResult>) {
        let waits = self.open.lock().expect("nobody panics with it").remove(invocation);
        if let Some(waits) = waits {
            let _ = waits.send(jobs); // Nobody waits where the queue has let go of the handler.
        }
    }
}

/// The handler of one queue. Clones are the same handler.
#[derive(Clone)]
pub struct Handler {
    queue: String,
    calls: Arc<Calls>,
    said: UnboundedSender<Said>,
}

impl Handler {
    pub(super) fn new(queue: String, calls: Arc<Calls>, said: UnboundedSender<Said>) -> Self {
        Self { queue, calls, said }
    }

    /// Handles these jobs, and says for each how it ended. A handler that hangs never does. Whoever drops the future
    /// before that has stopped the handler for its timeout, as far as Kew can see.
    pub async fn call(&self, jobs: Vec<Delivered>) -> Vec<JobResult> {
        self.start(jobs).ended().await
    }

    /// The same for queues that have more to say of it than the end. The handler is called before this returns.
    pub fn start(&self, jobs: Vec<Delivered>) -> Running {
        let invocation = self.calls.next.fetch_add(1, Ordering::Relaxed).to_string();
        let (sender, end) = oneshot::channel();
        self.calls.open.lock().expect("nobody panics with it").insert(invocation.clone(), sender);
        let running = Running { invocation, end, is_over: false, said: self.said.clone() };
        let invocation = running.invocation.clone();
        running.say(Event::Invoke { invocation, queue: self.queue.clone(), jobs });
        running
    }
}

/// A handler at work.
pub struct Running {
    invocation: String,
    end: oneshot::Receiver<Vec<JobResult>>,
    /// It has ended, or somebody has said that it was stopped.
    is_over: bool,
    said: UnboundedSender<Said>,
}

impl Running {
    /// Waits until the handler ends by its own word, and may be called again after a wait that was given up.
    pub async fn ended(&mut self) -> Vec<JobResult> {
        match (&mut self.end).await {
            Ok(jobs) => {
                self.is_over = true;
                jobs
            }
            Err(_) => std::future::pending().await, // The play is over.
        }
    }

    /// The queue has stopped the handler. An answer may still come.
    pub fn stopped(&mut self, why: Why) {
        self.is_over = true;
        self.say(Event::Stopped { invocation: self.invocation.clone(), why });
    }

    /// The queue does not take the handler's answer, because the delivery was over.
    pub fn rejected(&self, error: &str) {
        self.say(Event::Rejected { invocation: self.invocation.clone(), error: error.to_owned() });
    }

    fn say(&self, event: Event) {
        let _ = self.said.send(Said::Event(event)); // After the end nobody listens.
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.stopped(Why::Timeout);
        }
    }
}

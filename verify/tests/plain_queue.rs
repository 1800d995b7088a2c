//! The smallest queue there is, as the author of a crate would have Kew's conformance tried on it: a channel, some tasks that
//! take from it, and a number of attempts. What it does not offer is not held against it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kew_verify::capability::{Capabilities, Feature};
use kew_verify::local::{Handler, Queue, Setup};
use kew_verify::protocol::{About, Applied, Delivered, Ending, Enqueued, Job};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

kew_verify::conformance!(Plain::default, kew_verify::Options { virtual_time: true, ..kew_verify::Options::default() });

#[derive(Default)]
struct Plain {
    queues: Mutex<BTreeMap<String, UnboundedSender<Job>>>,
}

impl Queue for Plain {
    fn about(&self) -> About {
        About::new("plain", "1.0", Capabilities { attempts: Feature::NATIVE, ..Capabilities::default() })
    }

    async fn configure(&self, setup: Setup, handler: Handler) -> Result<Applied, String> {
        let (sender, jobs) = unbounded_channel();
        let jobs = Arc::new(tokio::sync::Mutex::new(jobs));
        let attempts = setup.policy.attempts.max().ok_or("it retries only so often")?;
        for _ in 0..setup.slots {
            tokio::spawn(work(Arc::clone(&jobs), handler.clone(), attempts));
        }
        self.queues.lock().expect("nobody panics with it").insert(setup.queue, sender);
        Ok(Applied::default())
    }

    async fn enqueue(&self, job: Job) -> Result<Enqueued, String> {
        let queues = self.queues.lock().expect("nobody panics with it");
        queues.get(&job.queue).ok_or("there is no such queue")?.send(job).map_err(|error| error.to_string())?;
        Ok(Enqueued::default())
    }
}

async fn work(jobs: Arc<tokio::sync::Mutex<UnboundedReceiver<Job>>>, handler: Handler, attempts: u32) {
    loop {
        let job = jobs.lock().await.recv().await;
        let Some(Job { job, payload, .. }) = job else { return };
        for _ in 0..attempts {
            let delivered = Delivered { job: job.clone(), attempt: None, payload: payload.clone() };
            let results = handler.call(vec![delivered]).await;
            if results.iter().all(|result| result.result == Ending::Completed) {
                break;
            }
        }
    }
}

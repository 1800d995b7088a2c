//! The worker's part: an apalis worker for each queue, and the one handler.

use std::sync::Arc;
use std::time::Duration;

use apalis::layers::retry::backoff::{ExponentialBackoffMaker, MakeBackoff};
use apalis::layers::retry::{HasherRng, RetryPolicy};
use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use serde_json::{Value, json};
use sqlx::SqlitePool;

use crate::client::{ENDLESS, text};
use crate::say::{Calls, say};
use crate::{Args, HEARTBEAT, POLL};

/// A process with workers.
#[derive(Clone)]
pub struct Worker {
    pub name: String,
    pub pool: SqlitePool,
    pub calls: Arc<Calls>,
}

impl Worker {
    /// Consumes a queue, with a new worker when one gives up, as a process manager would do.
    pub async fn consume(self, line: Value) {
        for life in 0.. {
            let queue = text(&line, "queue");
            if let Err(error) = self.run(&queue, &format!("{}-{queue}-{life}", self.name), &line).await {
                eprintln!("the worker of {queue} ended: {error}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn run(&self, queue: &str, name: &str, line: &Value) -> Result<(), BoxDynError> {
        let config = Config::default().queue(queue).batch_size(1).heartbeat_interval(HEARTBEAT).missed_heartbeats(3);
        let backend = SqliteStorage::<Args>::new(&self.pool).with_config(config).poll_with_interval(POLL);
        let policy = &line["policy"];
        let timeout = Duration::from_millis(policy["timeout_ms"].as_u64().unwrap_or(3_600_000));
        let slots = line["slots"].as_u64().unwrap_or(1) as usize;
        let builder = WorkerBuilder::new(name).backend(backend).data(Arc::clone(&self.calls)).data(queue.to_owned());
        let builder = builder.concurrency(slots);
        let Some(backoff) = policy["backoff"]["exponential"].as_object() else {
            return Ok(builder.timeout(timeout).build(handle).run().await?);
        };
        let ms = |key: &str| Duration::from_millis(backoff.get(key).and_then(Value::as_u64).unwrap_or_default());
        let waits = ExponentialBackoffMaker::new(ms("first_ms"), ms("max_ms"), 0.0, HasherRng::new())?.make_backoff();
        let retries = policy["attempts"].as_u64().map_or(ENDLESS, |attempts| attempts as usize - 1);
        let retry = RetryPolicy::retries(retries).with_backoff(waits);
        Ok(builder.retry(retry).timeout(timeout).build(handle).run().await?)
    }
}

/// Tells that the handler was ended, if it goes before it has been told how it ends.
struct Ending {
    invocation: String,
    is_over: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.is_over {
            say(&json!({ "event": "stopped", "invocation": self.invocation, "why": "timeout" }));
        }
    }
}

/// The one handler: tells of its call, and waits to be told how it ends.
async fn handle(
    (job, payload): Args,
    calls: Data<Arc<Calls>>,
    queue: Data<String>,
    attempt: Attempt,
) -> Result<(), BoxDynError> {
    let (invocation, outcome) = calls.begin();
    let mut ending = Ending { invocation: invocation.clone(), is_over: false };
    say(&json!({ "event": "invoke", "invocation": invocation, "queue": *queue,
        "jobs": [{ "job": job, "attempt": attempt.current(), "payload": payload }] }));
    let told = outcome.await;
    ending.is_over = true;
    let told = told?;
    if told["result"] == "failed" {
        return Err(told["error"].as_str().unwrap_or("failed").into());
    }
    Ok(())
}

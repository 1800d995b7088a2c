//! Kew's notions in effectum's: job types, retries, and the one handler.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use effectum::{Error, Job, JobRunner, JobState, JobStatus, Queue, Retries, RunningJob, Worker};
use futures_util::FutureExt;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::say::{Calls, say};

/// What effectum is told with each job.
#[derive(Clone)]
pub struct Policy {
    retries: Retries,
    timeout: Duration,
}

impl Policy {
    /// Reads a policy, and tells which fields are in force otherwise: effectum counts whole seconds.
    pub fn read(policy: &Value) -> (Self, Value) {
        let seconds = |ms: u64| ms.div_ceil(1000).max(1);
        let timeout_s = seconds(policy["timeout_ms"].as_u64().unwrap_or(3_600_000));
        let mut applied = json!({ "timeout_ms": timeout_s * 1000 });
        let mut first_s = 0;
        if let Some(first_ms) = policy["backoff"]["exponential"]["first_ms"].as_u64() {
            first_s = seconds(first_ms);
            applied["backoff"] = policy["backoff"].clone();
            applied["backoff"]["exponential"]["first_ms"] = json!(first_s * 1000);
        }
        let attempts = policy["attempts"].as_u64();
        let retries = Retries {
            max_retries: attempts.map_or(i32::MAX as u32, |attempts| attempts as u32 - 1),
            backoff_initial_interval: Duration::from_secs(first_s),
            backoff_multiplier: 2.0,
            backoff_randomization: 0.0,
        };
        (Self { retries, timeout: Duration::from_secs(timeout_s) }, applied)
    }
}

/// The queue of effectum, with all jobs that it was given.
pub struct Jobs {
    queue: Queue,
    calls: Arc<Calls>,
    policies: Mutex<BTreeMap<String, Policy>>,
    /// The name of each job with its queue.
    names: Mutex<Vec<(String, String)>>,
    /// A worker ends when it is dropped.
    workers: Mutex<Vec<Worker>>,
}

impl Jobs {
    /// Opens the file.
    pub async fn open(file: &Path, calls: Arc<Calls>) -> Result<Self, Error> {
        let queue = Queue::new(file).await?;
        Ok(Self { queue, calls, policies: Mutex::default(), names: Mutex::default(), workers: Mutex::default() })
    }

    /// Consumes a queue with `slots` handlers side by side.
    pub async fn work(&self, queue: &str, policy: Policy, slots: u16) -> Result<(), Error> {
        self.policies.lock().expect("nobody panics with it").insert(queue.to_owned(), policy);
        let (named, calls) = (queue.to_owned(), Arc::clone(&self.calls));
        let runner =
            JobRunner::builder(queue, move |job: RunningJob, ()| handle(named.clone(), Arc::clone(&calls), job));
        let worker = Worker::builder(&self.queue, ()).max_concurrency(slots).jobs([runner.build()]).build().await?;
        self.workers.lock().expect("nobody panics with it").push(worker);
        Ok(())
    }

    /// Adds a job, or finds the one that has its idempotency key.
    pub async fn enqueue(&self, queue: &str, job: &str, payload: &str, key: Option<&str>) -> Result<Value, String> {
        let policy = self.policies.lock().expect("nobody panics with it").get(queue).cloned();
        let policy = policy.ok_or("there is no such queue")?;
        let id = key.map(|key| Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{queue}/{key}").as_bytes()));
        let mut added = Job::builder(queue.to_owned())
            .name(job)
            .payload(payload.as_bytes().to_vec())
            .retries(policy.retries)
            .timeout(policy.timeout)
            .build();
        added.id = id.unwrap_or(added.id);
        match (self.queue.add_job(added).await, id) {
            (Ok(_), _) => {
                self.names.lock().expect("nobody panics with it").push((queue.to_owned(), job.to_owned()));
                Ok(json!({}))
            }
            (Err(error), Some(id)) => match self.queue.get_job_status(id).await {
                Ok(there) => Ok(json!({ "job": there.name })),
                Err(_) => Err(error.to_string()),
            },
            (Err(error), None) => Err(error.to_string()),
        }
    }

    /// How effectum says that a job stands.
    pub async fn status(&self, job: &str) -> Result<Value, String> {
        let Some(it) = self.find(job).await? else { return Ok(json!({ "status": null })) };
        let tried = it.current_try.unwrap_or_default();
        let (status, is_final, retries) = match it.state {
            JobState::Pending if tried == 0 => ("pending", false, 0),
            JobState::Pending => ("failed", false, tried - 1),
            JobState::Running => ("processing", false, tried),
            JobState::Succeeded => ("completed", true, tried),
            _ => ("failed", true, tried),
        };
        let mut told = json!({ "status": status, "final": is_final, "retry_count": retries });
        if status == "failed" {
            told["error"] = if it.state == JobState::Cancelled { json!("cancelled") } else { error(&it) };
        }
        Ok(told)
    }

    /// Ends a job that waits.
    pub async fn cancel(&self, job: &str) -> Result<Value, String> {
        let it = self.find(job).await?.ok_or("there is no such job")?;
        self.queue.cancel_job(it.id).await.map_err(|error| error.to_string())?;
        Ok(json!({}))
    }

    /// The jobs of a queue that failed for good.
    pub async fn dead_letters(&self, queue: &str) -> Result<Value, String> {
        let names = self.names.lock().expect("nobody panics with it").clone();
        let mut jobs = Vec::new();
        for (_, job) in names.iter().filter(|(of, _)| of == queue) {
            if let Some(it) = self.find(job).await?.filter(|it| it.state == JobState::Failed) {
                jobs.push(json!({ "job": job, "payload": String::from_utf8_lossy(&it.payload), "error": error(&it) }));
            }
        }
        Ok(json!({ "jobs": jobs }))
    }

    async fn find(&self, job: &str) -> Result<Option<JobStatus>, String> {
        let found = self.queue.get_jobs_by_name(job.to_owned(), 1).await;
        Ok(found.map_err(|error| error.to_string())?.into_iter().next())
    }
}

/// What the last of its runs said.
fn error(job: &JobStatus) -> Value {
    let last = job.run_info.last().map(|run| run.info.get());
    last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The one handler: tells of its call, waits to be told how it ends, and tells effectum.
async fn handle(queue: String, calls: Arc<Calls>, job: RunningJob) -> Result<(), String> {
    let (invocation, outcome) = calls.begin();
    let name = job.name.clone().unwrap_or_default();
    let payload = String::from_utf8_lossy(&job.payload);
    say(&json!({ "event": "invoke", "invocation": invocation, "queue": queue,
        "jobs": [{ "job": name, "attempt": job.current_try + 1, "payload": payload }] }));
    let Ok(told) = outcome.await else { return Ok(()) }; // The harness is gone.
    let ended = async {
        match told["error"].as_str().filter(|_| told["result"] == "failed") {
            Some(error) => job.fail(error).await,
            None => job.complete(()).await,
        }
    };
    // A delivery that effectum has ended meanwhile can be told nothing more: it panics.
    let why = match AssertUnwindSafe(ended).catch_unwind().await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the job was over".to_owned(),
    };
    say(&json!({ "event": "rejected", "invocation": invocation, "error": why }));
    Ok(())
}

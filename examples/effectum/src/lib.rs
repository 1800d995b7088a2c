//! effectum as Kew speaks with it: a Kew queue is a job type with a worker of its own. `tests/conformance.rs` tries it.

mod policy;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use effectum::{Error, Job, JobRunner, JobState, JobStatus, RunningJob, Worker};
use futures_util::FutureExt;
use kew_verify::capability::{Capabilities, Feature, Is};
use kew_verify::local::{Handler, Queue, Setup};
use kew_verify::protocol::{self, About, Applied, DeadJob, Delivered, Ending, Enqueued, Standing, Which};
use kew_verify::spec::lifecycle::Status;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use policy::Policy;

/// effectum on a file of its own.
pub struct Effectum {
    /// Gone with the queue.
    dir: TempDir,
    /// Opened where it is first used, on the runtime that uses it.
    /// Never dropped: effectum closes itself on a runtime, which may be gone by then.
    opened: OnceCell<&'static effectum::Queue>,
    policies: Mutex<BTreeMap<String, Policy>>,
    /// The name of each job with its queue: effectum lists no failed jobs, so each is asked for.
    names: Mutex<Vec<(String, String)>>,
}

impl Effectum {
    /// A queue on a new file.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self {
            dir: TempDir::new().expect("a directory can be made"),
            opened: OnceCell::new(),
            policies: Mutex::default(),
            names: Mutex::default(),
        }
    }

    async fn queue(&self) -> Result<&'static effectum::Queue, String> {
        let file = self.dir.path().join("effectum.db");
        let open = || async { Ok(&*Box::leak(Box::new(effectum::Queue::new(&file).await?))) };
        self.opened.get_or_try_init(open).await.copied().map_err(text)
    }

    async fn find(&self, job: &str) -> Result<Option<JobStatus>, String> {
        Ok(self.queue().await?.get_jobs_by_name(job.to_owned(), 1).await.map_err(text)?.into_iter().next())
    }
}

impl Queue for Effectum {
    fn about(&self) -> About {
        let capabilities = Capabilities {
            attempts: Feature::NATIVE,
            infinite_attempts: Feature::NATIVE,
            exponential_backoff: Feature::NATIVE.without("jitter").without("cap"),
            timeout: Feature::NATIVE.without("stops"),
            dead_letters: Feature { is: Is::Emulated, ..Feature::NATIVE },
            cancel: Feature::NATIVE,
            status: Feature::NATIVE.without("times"),
            attempt_number: Feature::NATIVE,
            ..Capabilities::default()
        };
        About { quantum_ms: 1_000, ..About::new("effectum", "0.7.0", capabilities) }
    }

    async fn configure(&self, setup: Setup, handler: Handler) -> Result<Applied, String> {
        let (policy, applied) = Policy::of(&setup.policy);
        self.policies.lock().expect("nobody panics with it").insert(setup.queue.clone(), policy);
        let runner = JobRunner::builder(setup.queue, move |job: RunningJob, ()| handle(handler.clone(), job)).build();
        let worker = Worker::builder(self.queue().await?, ()).max_concurrency(setup.slots as u16).jobs([runner]);
        std::mem::forget(worker.build().await.map_err(text)?); // A worker ends when it is dropped.
        Ok(applied)
    }

    async fn enqueue(&self, job: protocol::Job) -> Result<Enqueued, String> {
        let policy = self.policies.lock().expect("nobody panics with it").get(&job.queue).cloned();
        let policy = policy.ok_or("there is no such queue")?;
        let added = Job::builder(job.queue.clone()).name(&job.job).payload(job.payload.into_bytes());
        let added = added.retries(policy.retries).timeout(policy.timeout);
        added.add_to(self.queue().await?).await.map_err(text)?;
        self.names.lock().expect("nobody panics with it").push((job.queue, job.job));
        Ok(Enqueued::default())
    }

    async fn dead_letters(&self, queue: String) -> Result<Vec<DeadJob>, String> {
        let names = self.names.lock().expect("nobody panics with it").clone();
        let mut dead = Vec::new();
        for (_, job) in names.into_iter().filter(|(of, _)| *of == queue) {
            if let Some(it) = self.find(&job).await?.filter(|it| it.state == JobState::Failed) {
                let (error, payload) = (last_error(&it), String::from_utf8_lossy(&it.payload).into_owned());
                dead.push(DeadJob { job, payload, error, attempts: None });
            }
        }
        Ok(dead)
    }

    async fn status(&self, which: Which) -> Result<Standing, String> {
        Ok(self.find(&which.job).await?.map(|it| standing(&it)).unwrap_or_default())
    }

    async fn cancel(&self, which: Which) -> Result<(), String> {
        let it = self.find(&which.job).await?.ok_or("there is no such job")?;
        self.queue().await?.cancel_job(it.id).await.map_err(text)
    }
}

/// Lets Kew's handler handle a job, and tells effectum how that ended.
async fn handle(handler: Handler, job: RunningJob) -> Result<(), String> {
    let name = job.name.clone().unwrap_or_default();
    let payload = String::from_utf8_lossy(&job.payload).into_owned();
    let mut running = handler.start(vec![Delivered { job: name, attempt: Some(job.current_try as u32 + 1), payload }]);
    let results = running.ended().await;
    let ended = async {
        match results.into_iter().find(|it| it.result == Ending::Failed) {
            Some(failed) => job.fail(failed.error.unwrap_or_default()).await,
            None => job.complete(()).await,
        }
    };
    // A delivery that effectum has ended meanwhile can be told nothing more: it panics.
    match AssertUnwindSafe(ended).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => running.rejected(&error.to_string()),
        Err(_) => running.rejected("the job was over"),
    }
    Ok(())
}

/// How effectum says that a job stands.
fn standing(job: &JobStatus) -> Standing {
    let tried = job.current_try.unwrap_or_default();
    let (status, is_final, retries) = match job.state {
        JobState::Pending if tried == 0 => (Status::Pending, false, 0),
        JobState::Pending => (Status::Failed, false, tried - 1),
        JobState::Running => (Status::Processing, false, tried),
        JobState::Succeeded => (Status::Completed, true, tried),
        _ => (Status::Failed, true, tried),
    };
    let error = match job.state {
        JobState::Cancelled => Some("cancelled".to_owned()),
        _ => last_error(job),
    };
    let error = error.filter(|_| status == Status::Failed);
    Standing { status: Some(status), is_final, retry_count: Some(retries as u32), error, ..Standing::default() }
}

fn last_error(job: &JobStatus) -> Option<String> {
    let last = job.run_info.last().map(|run| run.info.get().trim_matches('"').to_owned());
    last.filter(|text| text != "null")
}

fn text(error: Error) -> String {
    error.to_string()
}

//! A broker in memory. It keeps jobs, keys and ends, hands out the deliveries it is given, and can be out of reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{EnqueuedJob, JobRequest, Pulled, Queue, Refusal, Request, Response};
use kew_runtime::store::{DeadLetterRow, Depth, End, How, JobRow, Query, Rows};
use kew_spec::lifecycle::Status;
use tokio::sync::Notify;

/// When all of its jobs are made.
pub(crate) const NOW_MS: u64 = 1_795_488_171_007;

#[derive(Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    /// Everything that it was asked, as `Debug` shows it.
    pub(crate) asked: Vec<String>,
    pub(crate) jobs: Vec<JobRow>,
    pub(crate) keys: BTreeMap<(String, String), (String, String)>,
    pub(crate) dead: Vec<DeadLetterRow>,
    pub(crate) ends: Vec<End>,
    pub(crate) told: u64,
    /// Up to where ends are not kept any more.
    pub(crate) ends_forgotten: u64,
    pub(crate) paused: BTreeSet<String>,
    pub(crate) pulled: Pulled,
    /// The leases that hold.
    pub(crate) leases: BTreeSet<String>,
    /// How many answers to enqueues are lost from now on, after the work is done.
    pub(crate) lost_answers: u32,
    /// Whether it answers no question, though it does what it is asked to.
    pub(crate) is_mute: bool,
    /// Whether nothing reaches it.
    pub(crate) away: bool,
}

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Ends a job, and tells who waits for ends.
    pub(crate) fn end(&self, user: &str, job: &str, email: Option<&str>) -> u64 {
        let mut state = self.state();
        let seq = state.ends.len() as u64 + 1;
        state.ends.push(End {
            seq,
            job: job.into(),
            queue: "pdf_generation".into(),
            user: user.into(),
            status: Status::Failed,
            error: Some("broken".into()),
            dead_letter_queue: Some("pdf_generation_dlq".into()),
            email: email.map(Into::into),
            ended_ms: NOW_MS,
        });
        drop(state);
        self.ended.notify_waiters();
        seq
    }

    async fn ends(&self, after: u64, wait_ms: u64) -> Rows {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            let ends = self.state().ends_after(after, 2);
            if !ends.is_empty() || tokio::time::timeout_at(deadline, ended).await.is_err() {
                return Rows::Ends(ends);
            }
        }
    }
}

impl Queue for Fake {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Refusal>> {
        async move {
            if self.state().away {
                return Err(Refusal::Unavailable("the broker is away".into()));
            }
            match request {
                Request::Ends { after, wait_ms } => Ok(Response::Rows(self.ends(after, wait_ms).await)),
                request => self.state().answer(request),
            }
        }
        .boxed()
    }
}

impl State {
    fn answer(&mut self, request: Request) -> Result<Response, Refusal> {
        self.asked.push(format!("{request:?}"));
        match request {
            Request::Enqueue(jobs) => self.enqueue(jobs),
            Request::Cancel { job, user } => self.cancel(&job, user.as_deref()),
            Request::Pause { queue, paused } => {
                if paused {
                    self.paused.insert(queue)
                } else {
                    self.paused.remove(&queue)
                };
                Ok(Response::Done)
            }
            Request::Redrive { job } | Request::Purge { job } if job == "stuck" => {
                Err(Refusal::Conflict("job stuck cannot be redriven".into()))
            }
            Request::Redrive { job } | Request::Purge { job } => {
                self.dead.retain(|row| row.job.id != job);
                Ok(Response::Done)
            }
            Request::Pull(_) => Ok(Response::Pulled(self.pulled.clone())),
            Request::Settle(all) => {
                Ok(Response::Settled(all.iter().map(|it| self.leases.remove(&it.lease.to_string())).collect()))
            }
            Request::Told { through } => {
                self.told = through;
                Ok(Response::Done)
            }
            Request::Read(_) if self.is_mute => Err(Refusal::Unavailable("the store does not answer".into())),
            Request::Read(query) => Ok(Response::Rows(self.read(query))),
            Request::Ends { .. } => unreachable!("answered before"),
        }
    }

    fn enqueue(&mut self, jobs: Vec<JobRequest>) -> Result<Response, Refusal> {
        let conflicts = |job: &JobRequest| {
            let Some((key, fingerprint)) = &job.idempotency else { return false };
            self.keys.get(&(job.user.clone(), key.clone())).is_some_and(|(_, known)| known != fingerprint)
        };
        if jobs.iter().any(conflicts) {
            return Err(Refusal::KeyReused("the idempotency key was used for a different request".into()));
        }
        let enqueued = jobs.into_iter().map(|job| self.make(job)).collect();
        if 0 < self.lost_answers {
            self.lost_answers -= 1;
            return Err(Refusal::Unavailable("the reply was lost".into()));
        }
        Ok(Response::Enqueued(enqueued))
    }

    fn make(&mut self, job: JobRequest) -> EnqueuedJob {
        if self.jobs.iter().any(|row| row.id == job.id) {
            return EnqueuedJob { id: job.id, how: How::Replayed };
        }
        if let Some((key, fingerprint)) = job.idempotency {
            let fresh = (job.id.clone(), fingerprint);
            let (known, _) = self.keys.entry((job.user.clone(), key)).or_insert(fresh).clone();
            if known != job.id {
                return EnqueuedJob { id: known, how: How::Replayed };
            }
        }
        self.jobs.push(JobRow {
            id: job.id.clone(),
            queue: job.queue,
            status: Status::Pending,
            user_id: job.user,
            payload: job.payload,
            result: None,
            error: None,
            retry_count: 0,
            created_ms: NOW_MS,
            updated_ms: NOW_MS,
            completed_ms: None,
            dead_letter_queue: None,
        });
        EnqueuedJob { id: job.id, how: How::Created }
    }

    fn cancel(&mut self, job: &str, user: Option<&str>) -> Result<Response, Refusal> {
        let own = |row: &&mut JobRow| row.id == job && user.is_none_or(|user| row.user_id == user);
        let Some(row) = self.jobs.iter_mut().find(own) else {
            return Err(Refusal::NotFound(format!("there is no job {job}")));
        };
        row.status = Status::Failed;
        row.error = Some("cancelled".into());
        row.completed_ms = Some(NOW_MS + 1);
        Ok(Response::Done)
    }

    fn ends_after(&self, after: u64, limit: usize) -> Vec<End> {
        let kept = self.ends.iter().filter(|end| after.max(self.ends_forgotten) < end.seq);
        kept.take(limit).cloned().collect()
    }

    fn read(&self, query: Query) -> Rows {
        match query {
            Query::Job { job } => Rows::Jobs(self.jobs.iter().filter(|row| row.id == job).cloned().collect()),
            Query::JobsOf { user, after, limit } => {
                let own = self.jobs.iter().rev().filter(|row| row.user_id == user);
                let rest = own.skip_while(|row| after.as_ref().is_some_and(|after| row.id != *after));
                Rows::Jobs(rest.skip(usize::from(after.is_some())).take(limit as usize).cloned().collect())
            }
            Query::Depths => Rows::Depths(vec![Depth {
                queue: "pdf_generation".into(),
                waiting: self.jobs.len() as u64,
                processing: 0,
                oldest_created_ms: Some(NOW_MS - 500),
                paused: self.paused.contains("pdf_generation"),
            }]),
            Query::DeadLetters { limit, .. } => {
                Rows::DeadLetters(self.dead.iter().take(limit as usize).cloned().collect())
            }
            Query::DeadLetter { job } => {
                Rows::DeadLetters(self.dead.iter().filter(|row| row.job.id == job).cloned().collect())
            }
            Query::Told => Rows::Told { through: self.told, newest: self.ends.len() as u64 },
            Query::Ends { after, limit } => Rows::Ends(self.ends_after(after, limit as usize)),
        }
    }
}

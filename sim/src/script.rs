//! The scripted handler: every attempt does what the scenario says. It finds its script by the label in the payload.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::net::Client;
use kew_runtime::processor::{Delivery, Failure, Handler, Job, Report};
use kew_spec::history::{AttemptOutcome, Ended, Finished, Given, Started};
use kew_spec::queues::Policy;
use kew_spec::scenario::{Act, Behaviour, PlannedJob};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::hazards::Hazards;
use crate::record::{Recorder, fingerprint};

/// How long a handler waits for the world outside.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a paused host's handler looks whether it may go on.
const PAUSE_LOOK: Duration = Duration::from_millis(50);

/// The way from a handler to the world outside.
pub trait Way: Send + Sync {
    /// Brings `body` to the place `path` there. The error is what the handler fails with.
    fn bring<'a>(&'a self, path: &'static str, body: Vec<u8>) -> BoxFuture<'a, Result<(), Failure>>;
}

impl Way for Client {
    fn bring<'a>(&'a self, path: &'static str, body: Vec<u8>) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            match self.post(path, body, EFFECT_TIMEOUT).await {
                Ok(reply) if reply.status.is_success() => Ok(()),
                Ok(reply) => Err(Failure::new(format!("the world outside answered {}", reply.status))),
                Err(error) => Err(Failure::new(error.to_string())),
            }
        }
        .boxed()
    }
}

/// What each job of a scenario does.
pub type Script = Arc<BTreeMap<String, PlannedJob>>;

/// The handler of one queue on one processor.
pub struct Scripted {
    /// Where it runs.
    pub processor: String,
    /// The queue's policy: it tells which effect the queue's work has outside.
    pub policy: Policy,
    /// What each job does.
    pub script: Script,
    /// Where it writes down what it does.
    pub recorder: Recorder,
    /// The way to the world outside.
    pub outside: Arc<dyn Way>,
    /// How it dies with its processor, or is paused with it.
    pub hazards: Hazards,
}

/// The part of a scenario's payload that names its script.
#[derive(Deserialize)]
struct Label<'a> {
    #[serde(borrow)]
    label: Option<&'a str>,
}

impl Handler for Scripted {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let mut watch = Watch::begin(self, delivery);
            let plan: Vec<_> = delivery.jobs.iter().map(|job| (job, self.behaviour(job))).collect();
            self.work(&plan).await;
            let outcomes = self.outcomes(delivery, &plan).await;
            let crash = plan.iter().any(|(_, behaviour)| behaviour.act == Act::Crash);
            if crash {
                self.hazards.crash(&self.processor);
                return std::future::pending().await;
            }
            for (job, outcome) in &outcomes {
                report.job(&job.id, outcome.clone().map(|()| RawValue::TRUE.to_owned()));
            }
            watch.report(&outcomes);
            if plan.iter().any(|(_, behaviour)| behaviour.act == Act::Hang) {
                return std::future::pending().await;
            }
            watch.finish();
            Ok(())
        }
        .boxed()
    }
}

impl Scripted {
    fn behaviour(&self, job: &Job) -> Behaviour {
        let label = serde_json::from_str::<Label<'_>>(job.payload.get()).ok().and_then(|it| it.label);
        let planned = label.and_then(|label| self.script.get(label));
        planned.map_or(Behaviour::SUCCEED, |planned| planned.behaviour(job.attempt).clone())
    }

    /// Takes as long as the slowest job of the delivery, and while its host is paused does nothing.
    async fn work(&self, plan: &[(&Job, Behaviour)]) {
        let longest = plan.iter().map(|(_, behaviour)| behaviour.after_ms).max().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(longest)).await;
        while self.hazards.is_paused(&self.processor) {
            tokio::time::sleep(PAUSE_LOOK).await;
        }
    }

    /// The outcomes of those jobs whose attempt ends by itself, after their effect outside.
    async fn outcomes<'a>(
        &self,
        delivery: &Delivery,
        plan: &[(&'a Job, Behaviour)],
    ) -> Vec<(&'a Job, Result<(), Failure>)> {
        let with_effect: Vec<_> = plan
            .iter()
            .filter(|(_, behaviour)| behaviour.act == Act::Succeed || behaviour.effect)
            .map(|(job, _)| *job)
            .collect();
        let effect = self.effect(delivery, &with_effect).await;
        let ended = |(job, behaviour): &(&'a Job, Behaviour)| match behaviour.act {
            Act::Succeed => Some((*job, effect.clone())),
            Act::Fail => Some((*job, Err(Failure::new(format!("scripted failure of attempt {}", job.attempt))))),
            Act::Hang | Act::Crash => None,
        };
        plan.iter().filter_map(ended).collect()
    }

    /// What the work does outside: entities are put, events are stored, mails are sent. Other queues do nothing there.
    async fn effect(&self, delivery: &Delivery, jobs: &[&Job]) -> Result<(), Failure> {
        if jobs.is_empty() {
            return Ok(());
        }
        let entries: Vec<_> = jobs
            .iter()
            .map(|job| {
                json!({"job": job.id, "user": job.user, "key": job.key, "version": job.version,
                       "payload": job.payload.get()})
            })
            .collect();
        let path = match &self.policy {
            policy if policy.schedule.is_some() => "/events",
            policy if policy.deduplication => "/entities",
            _ if delivery.queue == "email_notification" => "/mails",
            _ => return Ok(()),
        };
        let body = json!({"queue": delivery.queue, "batch": delivery.batch, "entries": entries});
        self.outside.bring(path, body.to_string().into_bytes()).await
    }
}

/// Sees a handler begin and end, also when it is stopped: then it is dropped without having finished.
struct Watch<'a> {
    scripted: &'a Scripted,
    delivery: &'a Delivery,
    began: Instant,
    ended: BTreeMap<String, Ended>,
    finished: bool,
}

impl<'a> Watch<'a> {
    fn begin(scripted: &'a Scripted, delivery: &'a Delivery) -> Self {
        let given = delivery.jobs.iter().map(|job| Given {
            job: job.id.clone(),
            attempt: job.attempt,
            told: None,
            payload: fingerprint(job.payload.get()),
        });
        scripted.recorder.see(Started {
            processor: scripted.processor.clone(),
            delivery: Some(delivery.id.clone()),
            queue: delivery.queue.clone(),
            jobs: given.collect(),
        });
        Self { scripted, delivery, began: Instant::now(), ended: BTreeMap::new(), finished: false }
    }

    fn report(&mut self, outcomes: &[(&Job, Result<(), Failure>)]) {
        for (job, outcome) in outcomes {
            let (word, error) = match outcome {
                Ok(()) => (AttemptOutcome::Completed, None),
                Err(failure) => (AttemptOutcome::Failed, Some(failure.0.clone())),
            };
            self.ended
                .insert(job.id.clone(), Ended { job: job.id.clone(), attempt: job.attempt, outcome: word, error });
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.record(AttemptOutcome::Completed);
    }

    /// Jobs without a report of their own ended as `rest`.
    fn record(&mut self, rest: AttemptOutcome) {
        let jobs = self.delivery.jobs.iter().map(|job| {
            let reported = self.ended.remove(&job.id);
            reported.unwrap_or_else(|| Ended { job: job.id.clone(), attempt: job.attempt, outcome: rest, error: None })
        });
        let jobs = jobs.collect();
        let (processor, delivery) = (self.scripted.processor.clone(), Some(self.delivery.id.clone()));
        self.scripted.recorder.see(Finished { processor, delivery, jobs });
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // A dying processor takes its handlers with it; the line that says so tells of their end.
        if self.finished || self.scripted.hazards.is_down(&self.scripted.processor) {
            return;
        }
        let timeout = Duration::from_millis(self.delivery.timeout_ms);
        let stopped =
            if timeout <= self.began.elapsed() { AttemptOutcome::TimedOut } else { AttemptOutcome::Cancelled };
        self.record(stopped);
    }
}

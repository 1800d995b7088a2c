//! What handlers do: each does what the scenario says of its job's attempt.

use std::sync::Arc;
use std::time::Duration;

use kew_spec::history::{AttemptOutcome, Ended, Finished, Given, Started, Stored, What};
use kew_spec::scenario::{Act, Behaviour, PlannedJob};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Running, Seen, Stage, processor};
use crate::fit::AWAY_MS;
use crate::fleet::Heard;
use crate::protocol::{Ask, Delivered, Ending, Event, JobResult, Why};

/// How often a handler that may not go on looks whether it may.
const LOOK: Duration = Duration::from_millis(10);

/// One job of a handler's call, with what it is to do.
struct Part {
    job: String,
    outside: String,
    attempt: u32,
    key: Option<String>,
    payload: String,
    behaviour: Behaviour,
}

/// Hears of handlers until it is told to stop.
pub(super) async fn listen(stage: Arc<Stage>, mut heard: UnboundedReceiver<Heard>) {
    while let Some(Heard { worker, delivery, event }) = heard.recv().await {
        match event {
            Event::Invoke { queue, jobs, invocation } => {
                let queue = stage.inside(&queue).to_owned();
                let parts = begin(&stage, worker, &delivery, &queue, jobs);
                tokio::spawn(act(Arc::clone(&stage), worker, delivery, invocation, queue, parts));
            }
            Event::Stopped { why, .. } => stopped(&stage, &delivery, why),
            Event::Rejected { .. } => {} // That the answer changed nothing shows in what follows.
        }
    }
}

/// A handler is called.
fn begin(stage: &Stage, worker: usize, delivery: &str, queue: &str, jobs: Vec<Delivered>) -> Vec<Part> {
    let mut known = stage.lock();
    let mut parts = Vec::new();
    let mut given = Vec::new();
    for it in jobs {
        let job = stage.inside(&it.job).to_owned();
        let progress = known.jobs.entry(job.clone()).or_default();
        progress.deliveries += 1;
        let attempt = progress.deliveries;
        let plan = plan_of(stage, &it.payload).or_else(|| stage.plans.get(&job));
        given.push(Given { job: job.clone(), attempt, told: it.attempt, payload: it.payload.clone() });
        parts.push(Part {
            job,
            outside: it.job,
            attempt,
            key: plan.and_then(|plan| plan.key.clone()),
            payload: it.payload,
            behaviour: plan.map_or(&Behaviour::SUCCEED, |plan| plan.behaviour(attempt)).clone(),
        });
    }
    let timeout_ms = stage.fitted.policies.get(queue).map_or(u64::MAX, |policy| policy.timeout_ms);
    let until_ms = stage.recorder.now_ms().saturating_add(timeout_ms);
    let running = parts.iter().map(|part| (part.job.clone(), part.attempt)).collect();
    known.open.insert(delivery.to_owned(), Running { worker, until_ms, jobs: running });
    drop(known);
    stage.recorder.see(Started {
        processor: processor(worker),
        delivery: Some(delivery.to_owned()),
        queue: queue.to_owned(),
        jobs: given,
    });
    parts
}

/// The plan whose payload this is: a job that was coalesced does what its newest payload says.
fn plan_of<'a>(stage: &'a Stage, payload: &str) -> Option<&'a PlannedJob> {
    let value: serde_json::Value = serde_json::from_str(payload).ok()?;
    stage.plans.get(value.get("label")?.as_str()?)
}

async fn act(stage: Arc<Stage>, worker: usize, delivery: String, invocation: String, queue: String, parts: Vec<Part>) {
    let of = |act: Act| parts.iter().filter(move |part| part.behaviour.act == act);
    if let Some(crash) = of(Act::Crash).map(|part| part.behaviour.after_ms).min() {
        tokio::time::sleep(Duration::from_millis(crash)).await;
        if stage.lock().open.contains_key(&delivery) {
            die(&stage, worker).await;
        }
        return;
    }
    if of(Act::Hang).next().is_some() {
        return;
    }
    let lasts = parts.iter().map(|part| part.behaviour.after_ms).max().unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(lasts)).await;
    while stage.lock().paused.contains(&worker) {
        tokio::time::sleep(LOOK).await; // It stands still with its process.
    }
    if end(&stage, &delivery, &queue, &parts) {
        stage.fleet.tell(worker, Ask::Outcome { invocation, jobs: parts.iter().map(result).collect() });
    }
}

fn error_of(part: &Part) -> Option<String> {
    (part.behaviour.act == Act::Fail).then(|| format!("attempt {} failed as planned", part.attempt))
}

fn result(part: &Part) -> JobResult {
    let error = error_of(part);
    let result = if error.is_some() { Ending::Failed } else { Ending::Completed };
    JobResult { job: part.outside.clone(), result, error }
}

/// A handler ends by its own word. False if it has been killed meanwhile.
fn end(stage: &Stage, delivery: &str, queue: &str, parts: &[Part]) -> bool {
    let mut known = stage.lock();
    let Some(running) = known.open.remove(delivery) else {
        // Stopped by the system, but going on: its answer comes late, and without an effect.
        let Some(worker) = known.stopped.remove(delivery) else { return false };
        stage.recorder.see(finished(worker, delivery, parts));
        return true;
    };
    // What comes after the timeout may have been refused: the job may come again.
    let in_time = stage.recorder.now_ms() <= running.until_ms;
    for part in parts.iter().filter(|part| in_time && part.behaviour.act == Act::Succeed) {
        known.jobs.entry(part.job.clone()).or_default().completed = true;
    }
    // What is seen is written down before anything can strike in between.
    for part in parts.iter().filter(|part| part.key.is_some() && part.behaviour.act == Act::Succeed) {
        stage.recorder.see(Stored {
            queue: queue.to_owned(),
            jobs: vec![part.job.clone()],
            batch: None,
            key: part.key.clone(),
            payload: Some(part.payload.clone()),
            applied: true,
        });
    }
    stage.recorder.see(finished(running.worker, delivery, parts));
    known.answered.insert(delivery.to_owned(), running);
    true
}

/// What a handler says at its end.
fn finished(worker: usize, delivery: &str, parts: &[Part]) -> Finished {
    let jobs = parts.iter().map(|part| {
        let error = error_of(part);
        let outcome = if error.is_some() { AttemptOutcome::Failed } else { AttemptOutcome::Completed };
        Ended { job: part.job.clone(), attempt: part.attempt, outcome, error }
    });
    Finished { processor: processor(worker), delivery: Some(delivery.to_owned()), jobs: jobs.collect() }
}

/// The system has ended a handler.
fn stopped(stage: &Stage, delivery: &str, why: Why) {
    let mut known = stage.lock();
    if let Some(running) = known.open.remove(delivery) {
        known.stopped.insert(delivery.to_owned(), running.worker);
        drop(known);
        stage.recorder.see(ended_by_the_system(&running, delivery, why));
    } else if let Some(running) = known.answered.remove(delivery) {
        take_for_stopped(stage, &mut known, delivery, &running, why);
    }
}

/// The word of a handler crossed the news that it had been stopped: it reached nobody, so it comes late.
fn take_for_stopped(stage: &Stage, known: &mut Seen, delivery: &str, running: &Running, why: Why) {
    for (job, attempt) in &running.jobs {
        let again = known.open.values().flat_map(|it| &it.jobs).any(|(other, _)| other == job);
        let progress = known.jobs.entry(job.clone()).or_default();
        // A later delivery may have completed it.
        progress.completed &= *attempt < progress.deliveries && !again;
    }
    let its_end = |what: &What| matches!(what, What::Finished(it) if it.delivery.as_deref() == Some(delivery));
    let is_of_it = |job: &String| running.jobs.iter().any(|(of_it, _)| of_it == job);
    let its_effect = |what: &What| matches!(what, What::Stored(it) if it.jobs.iter().all(is_of_it));
    stage.recorder.stop_before(its_end, its_effect, ended_by_the_system(running, delivery, why));
}

fn ended_by_the_system(running: &Running, delivery: &str, why: Why) -> Finished {
    let outcome = match why {
        Why::Timeout => AttemptOutcome::TimedOut,
        Why::Cancelled => AttemptOutcome::Cancelled,
    };
    let jobs = running.jobs.iter();
    let jobs = jobs.map(|(job, attempt)| Ended { job: job.clone(), attempt: *attempt, outcome, error: None });
    Finished { processor: processor(running.worker), delivery: Some(delivery.to_owned()), jobs: jobs.collect() }
}

/// A worker dies with all that runs on it, and comes back.
async fn die(stage: &Arc<Stage>, worker: usize) {
    down(stage, worker);
    tokio::time::sleep(Duration::from_millis(AWAY_MS)).await;
    // An adapter that does not come up shows as the adapter's fault at the end of the play.
    if stage.fleet.restart(worker).await.is_ok() {
        stage.up(worker, true);
    }
}

/// A worker dies with all that runs on it.
pub(super) fn down(stage: &Stage, worker: usize) {
    let mut known = stage.lock();
    stage.fleet.kill(worker);
    known.open.retain(|_, running| running.worker != worker);
    stage.up(worker, false);
}

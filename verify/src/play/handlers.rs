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
    while let Some(Heard { worker, starts, delivery, event }) = heard.recv().await {
        match event {
            Event::Invoke { queue, jobs, invocation } => {
                let queue = stage.inside(&queue).to_owned();
                let parts = begin(&stage, (worker, starts), &delivery, &queue, jobs);
                tokio::spawn(act(Arc::clone(&stage), worker, delivery, invocation, queue, parts));
            }
            Event::Stopped { why, .. } => stopped(&stage, &delivery, why),
            Event::Rejected { .. } => {} // That the answer changed nothing shows in what follows.
        }
    }
}

/// A handler is called in the given start of a worker. If that has been killed meanwhile, the handler has died with it: its
/// word lay in the pipe. Nothing is to be done then.
fn begin(
    stage: &Stage,
    (worker, starts): (usize, u32),
    delivery: &str,
    queue: &str,
    jobs: Vec<Delivered>,
) -> Vec<Part> {
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
    let started = Started {
        processor: processor(worker),
        delivery: Some(delivery.to_owned()),
        queue: queue.to_owned(),
        jobs: given,
    };
    if known.killed.get(&worker).is_some_and(|killed| starts <= *killed) {
        let died = |what: &What| matches!(what, What::Processor(it) if !it.up && it.processor == processor(worker));
        stage.recorder.see_before(died, started);
        return Vec::new();
    }
    let timeout_ms = stage.fitted.policies.get(queue).map_or(u64::MAX, |policy| policy.timeout_ms);
    let until_ms = stage.recorder.now_ms().saturating_add(timeout_ms);
    let running = parts.iter().map(|part| (part.job.clone(), part.attempt)).collect();
    known.open.insert(delivery.to_owned(), Running { worker, until_ms, jobs: running });
    drop(known);
    stage.recorder.see(started);
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
    // That an adapter does not come up is its fault, which the fleet tells at the end of the play.
    if stage.fleet.restart(worker).await.is_ok() {
        stage.up(worker, true);
    }
}

/// A worker dies with all that runs on it.
pub(super) fn down(stage: &Stage, worker: usize) {
    let mut known = stage.lock();
    let starts = stage.fleet.kill(worker);
    known.killed.insert(worker, starts);
    known.open.retain(|_, running| running.worker != worker);
    stage.up(worker, false);
}

#[cfg(test)]
mod tests {
    use kew_spec::history::Processor;

    use super::super::by_hand::{ByHand, PREFIX, ok};
    use super::*;
    use crate::capability::Capabilities;

    async fn by_hand() -> ByHand {
        let by_hand = ByHand::new(Capabilities::default(), |_| ok(())).await;
        by_hand.has("j", 0);
        by_hand
    }

    /// A handler of the job is called, which writes down its entity as it succeeds.
    fn called(by_hand: &ByHand, delivery: &str) -> Vec<Part> {
        let given = Delivered { job: format!("{PREFIX}-j"), attempt: None, payload: "p".into() };
        let mut parts = begin(&by_hand.stage, (0, 1), delivery, "work", vec![given]);
        parts.iter_mut().for_each(|part| part.key = Some("one".into()));
        parts
    }

    fn succeeds(by_hand: &ByHand, delivery: &str, parts: &[Part]) {
        assert!(end(&by_hand.stage, delivery, "work", parts), "nothing has killed it");
    }

    fn is_completed(by_hand: &ByHand) -> bool {
        by_hand.stage.lock().jobs["j"].completed
    }

    /// What was seen, in a word each.
    fn seen(by_hand: &ByHand) -> Vec<String> {
        let word = |what: What| match what {
            What::Finished(it) => format!("{:?}", it.jobs[0].outcome),
            other => other.name().to_owned(),
        };
        by_hand.seen().into_iter().map(word).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_ends_by_its_own_word_completes_its_job() {
        let by_hand = by_hand().await;
        let parts = called(&by_hand, "d1");
        succeeds(&by_hand, "d1", &parts);
        assert!(is_completed(&by_hand));
        assert_eq!(seen(&by_hand), ["started", "stored", "Completed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_heard_after_its_worker_was_killed_was_before_that_and_comes_to_nothing() {
        let by_hand = by_hand().await;
        by_hand.stage.recorder.see(Processor { processor: processor(0), up: false, slots: 1 });
        by_hand.stage.lock().killed.insert(0, 1);
        assert!(called(&by_hand, "d1").is_empty());
        assert!(by_hand.stage.lock().open.is_empty());
        assert_eq!(by_hand.stage.lock().jobs["j"].deliveries, 1);
        by_hand.stage.recorder.see(Processor { processor: processor(0), up: true, slots: 1 });
        let given = Delivered { job: format!("{PREFIX}-j"), attempt: None, payload: "p".into() };
        assert_eq!(begin(&by_hand.stage, (0, 2), "d2", "work", vec![given]).len(), 1);
        assert_eq!(seen(&by_hand), ["started", "processor", "processor", "started"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_word_of_a_handler_that_was_stopped_before_comes_late() {
        let by_hand = by_hand().await;
        let parts = called(&by_hand, "d1");
        stopped(&by_hand.stage, "d1", Why::Timeout);
        succeeds(&by_hand, "d1", &parts);
        assert!(!is_completed(&by_hand));
        assert_eq!(seen(&by_hand), ["started", "TimedOut", "Completed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_that_crosses_the_news_of_the_stop_comes_late_and_without_an_effect() {
        let by_hand = by_hand().await;
        let parts = called(&by_hand, "d1");
        succeeds(&by_hand, "d1", &parts);
        stopped(&by_hand.stage, "d1", Why::Timeout);
        assert!(!is_completed(&by_hand));
        assert_eq!(seen(&by_hand), ["started", "TimedOut", "Completed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crossed_word_takes_nothing_from_a_later_delivery_that_has_completed_the_job() {
        let by_hand = by_hand().await;
        let first = called(&by_hand, "d1");
        succeeds(&by_hand, "d1", &first);
        let second = called(&by_hand, "d2");
        stopped(&by_hand.stage, "d1", Why::Timeout);
        assert!(!is_completed(&by_hand), "the second delivery is still at work");
        succeeds(&by_hand, "d2", &second);
        assert!(is_completed(&by_hand));
        let both = ["started", "TimedOut", "Completed", "started", "stored", "Completed"];
        assert_eq!(seen(&by_hand), both);
    }

    #[tokio::test(start_paused = true)]
    async fn news_of_the_stop_that_comes_after_a_later_delivery_has_completed_the_job_takes_nothing() {
        let by_hand = by_hand().await;
        let first = called(&by_hand, "d1");
        succeeds(&by_hand, "d1", &first);
        let second = called(&by_hand, "d2");
        succeeds(&by_hand, "d2", &second);
        stopped(&by_hand.stage, "d1", Why::Timeout);
        assert!(is_completed(&by_hand));
    }
}

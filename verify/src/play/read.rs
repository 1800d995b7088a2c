//! What is read of jobs: how they stand, and which lie in the dead letter queues.

use std::time::Duration;

use kew_spec::history::{DeadLetter, DeadLetters, Row, StatusRead};

use super::{Progress, Stage};
use crate::link::Error;
use crate::protocol::{Answer, Ask, Dead, DeadJob, Standing, Which};

/// How often to ask for what a server does not answer.
const ASKED_MAX: u32 = 25;

/// How long to wait before asking again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Reads all dead letter queues.
pub(super) async fn dead_letters(stage: &Stage) -> Result<(), Error> {
    for (queue, policy) in stage.fitted.policies.iter() {
        let Some(dead_letter_queue) = policy.dead_letter_queue.clone() else { continue };
        let asked_at = stage.recorder.now_ms();
        let ask = Ask::DeadLetters { queue: stage.outside(queue) };
        let Some(dead) = patiently(stage, ask).await? else { continue };
        let entries = dead.into_iter().map(|it| entry(stage, it)).collect();
        stage.recorder.see(DeadLetters { dead_letter_queue, asked_at, entries });
    }
    Ok(())
}

/// A server that has just come back may not answer at once; one that never does is not held to what it did not say.
async fn patiently(stage: &Stage, ask: Ask) -> Result<Option<Vec<DeadJob>>, Error> {
    for _ in 0..ASKED_MAX {
        let dead = once(stage, ask.clone()).await?;
        if dead.is_some() {
            return Ok(dead);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(None)
}

async fn once(stage: &Stage, ask: Ask) -> Result<Option<Vec<DeadJob>>, Error> {
    let Answer::Ok(value) = stage.fleet.client().ask(ask).await? else { return Ok(None) };
    let wrong = |error| stage.fleet.client().fault(format!("answered dead_letters with {error}"));
    serde_json::from_value(value).map(|dead: Dead| Some(dead.jobs)).map_err(wrong)
}

/// The jobs that lie in the dead letter queue of `queue` now, by the names that the scenario gives them; none if the system
/// does not answer.
pub(super) async fn dead(stage: &Stage, queue: &str) -> Result<Option<Vec<String>>, Error> {
    let dead = once(stage, Ask::DeadLetters { queue: stage.outside(queue) }).await?;
    Ok(dead.map(|dead| dead.iter().map(|it| stage.inside(&it.job).to_owned()).collect()))
}

fn entry(stage: &Stage, it: DeadJob) -> DeadLetter {
    let errors = stage.about.capabilities.dead_letters.has("errors");
    DeadLetter {
        job: stage.inside(&it.job).to_owned(),
        payload: it.payload,
        error: it.error.filter(|_| errors),
        attempts: it.attempts,
    }
}

/// Reads how every job stands.
pub(super) async fn statuses(stage: &Stage) -> Result<(), Error> {
    if !stage.about.capabilities.status.is_there() {
        return Ok(());
    }
    let jobs: Vec<_> = stage.lock().jobs.iter().map(|(job, it)| (job.clone(), it.clone())).collect();
    for (job, progress) in jobs.into_iter().filter(|(_, it)| it.acknowledged) {
        status(stage, &job, &progress).await?;
    }
    Ok(())
}

/// Reads the status of one job that was acknowledged.
pub(super) async fn status(stage: &Stage, job: &str, progress: &Progress) -> Result<(), Error> {
    // What the system does not tell is filled in as it stands when it is asked: `progress` may be older than that.
    let deliveries = stage.lock().jobs.get(job).map_or(0, |it| it.deliveries);
    let asked_at = stage.recorder.now_ms();
    let which = Which { queue: stage.outside(&progress.queue), job: stage.outside(job) };
    let row = match stage.fleet.client().ask(Ask::Status(which)).await? {
        Answer::Ok(value) => {
            let standing: Standing = serde_json::from_value(value)
                .map_err(|error| stage.fleet.client().fault(format!("answered status with {error}")))?;
            let told = standing.status.is_none() || (standing.created_at.is_some() && standing.updated_at.is_some());
            if !told && stage.about.capabilities.status.has("times") {
                return Err(stage.fleet.client().fault(
                    "declares `status` with its times, but answers without `created_at` and `updated_at`".to_owned(),
                ));
            }
            row(stage, standing, deliveries)
        }
        Answer::Refused(_) | Answer::Unknown(_) => return Ok(()), // It told nothing.
    };
    let cancelled = stage.lock().jobs.get(job).is_some_and(|it| it.cancelled);
    if row.is_none() && cancelled && !stage.about.capabilities.cancel.has("keeps") {
        return Ok(()); // It leaves no trace, as declared.
    }
    let user = stage.plans.get(job).map(|plan| plan.user.clone()).unwrap_or_default();
    stage.recorder.see(StatusRead { job: job.to_owned(), user, asked_at, row });
    Ok(())
}

/// What a system does not tell is filled in from what was seen, where no clause will be judged by it.
fn row(stage: &Stage, it: Standing, deliveries: u32) -> Option<Row> {
    let now = stage.recorder.epoch_ms() + stage.recorder.now_ms();
    let times = stage.about.capabilities.status.has("times");
    Some(Row {
        status: it.status?,
        retry_count: it.retry_count.unwrap_or_else(|| deliveries.saturating_sub(1)),
        result: it.result,
        error: it.error,
        created_at: it.created_at.unwrap_or(now),
        updated_at: it.updated_at.unwrap_or(now),
        completed_at: it.completed_at.or_else(|| (it.is_final && !times).then_some(now)),
        is_final: it.is_final,
        dead_letter_queue: it.dead_letter_queue,
    })
}

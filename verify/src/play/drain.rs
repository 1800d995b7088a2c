//! The end of a play: wait, at most for a bound that follows from the policies, until nothing is left to do; wait a
//! little longer for what should not come; then read all that can be read.

use std::sync::Arc;
use std::time::Duration;

use kew_spec::history::{DeadLetter, DeadLetters, Drained, Row, StatusRead};

use super::{Progress, Stage};
use crate::bound::{bound_ms, wait_ms};
use crate::link::Error;
use crate::protocol::{Answer, Ask, Dead, DeadJob, Standing, Which};

/// How often to look whether all is done.
const LOOK: Duration = Duration::from_millis(20);

/// How many bounds more a queue may take while it goes on to deliver.
const BOUNDS_MORE: u32 = 2;

/// How often to ask for what a server does not answer.
const ASKED_MAX: u32 = 25;

/// How long to wait for what should not come, at least and at most.
const QUIET_MS: (u64, u64) = (400, 3_000);

/// Waits for the end, and reads.
pub(super) async fn drain(stage: &Arc<Stage>, watching: tokio::task::JoinHandle<()>) -> Result<(), Error> {
    let bound_ms = bound_ms(&stage.fitted, &stage.about);
    let bound = Duration::from_millis(bound_ms);
    let mut until = tokio::time::Instant::now() + bound;
    let at_last = until + BOUNDS_MORE * bound;
    let mut ok = is_done(stage);
    let mut begun = begun(stage);
    while !ok && tokio::time::Instant::now() < until {
        if let Some(wrong) = stage.fleet.wrong() {
            return Err(wrong);
        }
        tokio::time::sleep(LOOK).await;
        ok = is_done(stage);
        // The bound is that of a machine which is not busy. A queue that works its backlog off on one that is gets on.
        let before = std::mem::replace(&mut begun, self::begun(stage));
        if before != begun {
            until = (tokio::time::Instant::now() + bound).min(at_last);
        }
    }
    if ok {
        wait_to_be_told(stage, tokio::time::Instant::now() + bound).await?;
    }
    tokio::time::sleep(Duration::from_millis(quiet_ms(stage))).await;
    watching.abort();
    stage.recorder.see(Drained { ok, bound_ms });
    read_dead_letters(stage).await?;
    read_statuses(stage).await?;
    stage.fleet.wrong().map_or(Ok(()), Err)
}

/// Waits until the system tells of every job that it has ended, if it tells: on a busy machine what handlers said last may
/// be under way for long.
async fn wait_to_be_told(stage: &Stage, until: tokio::time::Instant) -> Result<(), Error> {
    if !stage.about.capabilities.status.is_there() {
        return Ok(());
    }
    let mut open: Vec<_> = stage.lock().jobs.iter().map(|(job, it)| (job.clone(), it.clone())).collect();
    open.retain(|(_, it)| it.acknowledged && is_to_end(stage, it));
    while let Some((job, progress)) = open.last() {
        let which = Which { queue: stage.outside(&progress.queue), job: stage.outside(job) };
        let told = stage.fleet.client().ask(Ask::Status(which)).await?;
        // What is no answer to this is judged at the read that counts.
        let goes_on = match told {
            Answer::Ok(value) => serde_json::from_value::<Standing>(value)
                .is_ok_and(|standing| standing.status.is_some() && !standing.is_final),
            Answer::Refused(_) => false,
            Answer::Unknown(_) => true,
        };
        if !goes_on {
            open.pop();
        } else if tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        } else {
            break;
        }
    }
    Ok(())
}

/// Whether nothing keeps a job from its end: no pause, and no failures for ever.
fn is_to_end(stage: &Stage, it: &Progress) -> bool {
    let held = stage.lock().held.contains(&it.queue);
    let limited = stage.fitted.policies.get(&it.queue).is_some_and(|policy| policy.attempts.max().is_some());
    !held && (it.completed || it.cancelled || limited)
}

/// How many deliveries have begun.
fn begun(stage: &Stage) -> u32 {
    stage.lock().jobs.values().map(|job| job.deliveries).sum()
}

/// Whether nothing is left to do, as far as the player can see.
fn is_done(stage: &Stage) -> bool {
    let known = stage.lock();
    known.asking == 0
        && known.jobs.iter().all(|(job, progress)| {
            let held = known.held.contains(&progress.queue);
            let running = known.open.values().flat_map(|it| &it.jobs).any(|(other, _)| other == job);
            held || !progress.acknowledged || (!running && is_over(stage, job, progress))
        })
}

fn is_over(stage: &Stage, job: &str, progress: &Progress) -> bool {
    let Some(policy) = stage.fitted.policies.get(&progress.queue) else { return true };
    let scripted = stage.plans.get(job).map_or(0, |plan| plan.attempts.len() as u32);
    let max = policy.attempts.max().unwrap_or(scripted.max(1));
    progress.completed || progress.cancelled || max <= progress.deliveries
}

/// Long enough for one attempt too many to show.
fn quiet_ms(stage: &Stage) -> u64 {
    let (least, most) = QUIET_MS;
    let next = stage.fitted.policies.iter().map(|(_, policy)| wait_ms(policy, policy.attempts.max().unwrap_or(1)));
    let recovers_ms =
        if stage.fitted.strikes { stage.about.capabilities.recovers_ms(&stage.fitted.policies) } else { 0 };
    (least + next.max().unwrap_or(0)).min(most) + recovers_ms
}

async fn read_dead_letters(stage: &Stage) -> Result<(), Error> {
    for (queue, policy) in stage.fitted.policies.iter() {
        let Some(dead_letter_queue) = policy.dead_letter_queue.clone() else { continue };
        let asked_at = stage.recorder.now_ms();
        let ask = Ask::DeadLetters { queue: stage.outside(queue) };
        let Some(dead) = read_patiently(stage, ask).await? else { continue };
        let entries = dead.jobs.into_iter().map(|it| entry(stage, it)).collect();
        stage.recorder.see(DeadLetters { dead_letter_queue, asked_at, entries });
    }
    Ok(())
}

/// A server that has just come back may not answer at once; one that never does is not held to what it did not say.
async fn read_patiently(stage: &Stage, ask: Ask) -> Result<Option<Dead>, Error> {
    for _ in 0..ASKED_MAX {
        if let Answer::Ok(value) = stage.fleet.client().ask(ask.clone()).await? {
            let dead = serde_json::from_value(value);
            return dead
                .map(Some)
                .map_err(|error| stage.fleet.client().fault(format!("answered dead_letters with {error}")));
        }
        tokio::time::sleep(10 * LOOK).await;
    }
    Ok(None)
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

async fn read_statuses(stage: &Stage) -> Result<(), Error> {
    if !stage.about.capabilities.status.is_there() {
        return Ok(());
    }
    let jobs: Vec<_> = stage.lock().jobs.iter().map(|(job, it)| (job.clone(), it.clone())).collect();
    for (job, progress) in jobs.into_iter().filter(|(_, it)| it.acknowledged) {
        read_status(stage, &job, &progress).await?;
    }
    Ok(())
}

/// Reads the status of one job that was acknowledged.
pub(super) async fn read_status(stage: &Stage, job: &str, progress: &Progress) -> Result<(), Error> {
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

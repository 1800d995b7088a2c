//! The end of a play: wait, at most for a bound that follows from the policies, until nothing is left to do; wait a
//! little longer for what should not come; then read all that can be read.

use std::sync::Arc;
use std::time::Duration;

use kew_spec::history::Drained;

use super::{Progress, Stage, read};
use crate::bound::{bound_ms, wait_ms};
use crate::link::Error;
use crate::protocol::{Answer, Ask, Standing, Which};

/// How often to look whether all is done.
const LOOK: Duration = Duration::from_millis(20);

/// How many bounds more a queue may take while it goes on to deliver.
const BOUNDS_MORE: u32 = 2;

/// How long to wait for what should not come, at least and at most.
const QUIET_MS: (u64, u64) = (400, 3_000);

/// How long to wait at most for dead letters that are still to come: one is moved by the system's own consumer, maybe.
const DEAD_LETTERS_WAIT: Duration = Duration::from_secs(5);

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
    wait_for_the_dead(stage, tokio::time::Instant::now() + bound.min(DEAD_LETTERS_WAIT)).await?;
    watching.abort();
    stage.recorder.see(Drained { ok, bound_ms });
    read::dead_letters(stage).await?;
    read::statuses(stage).await?;
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

/// Waits until every job that nobody will deliver again lies in its dead letter queue.
async fn wait_for_the_dead(stage: &Stage, until: tokio::time::Instant) -> Result<(), Error> {
    if !stage.about.capabilities.dead_letters.is_there() {
        return Ok(());
    }
    for (queue, policy) in stage.fitted.policies.iter().filter(|(_, policy)| policy.dead_letter_queue.is_some()) {
        let given_up = |it: &Progress| {
            it.queue == *queue
                && it.acknowledged
                && !it.completed
                && !it.cancelled
                && policy.attempts.max().is_some_and(|max| max <= it.deliveries)
        };
        let jobs = stage.lock().jobs.clone();
        let due: Vec<_> = jobs.into_iter().filter(|(_, it)| given_up(it)).map(|(job, _)| job).collect();
        let all = |dead: Vec<String>| due.iter().all(|job| dead.contains(job));
        while !due.is_empty()
            && tokio::time::Instant::now() < until
            && !read::dead(stage, queue).await?.is_some_and(all)
        {
            tokio::time::sleep(LOOK).await;
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

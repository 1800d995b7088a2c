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

#[cfg(test)]
mod tests {
    use kew_spec::lifecycle::Status;
    use tokio::time::Instant;

    use super::super::by_hand::{ByHand, PREFIX, acknowledged, ok};
    use super::*;
    use crate::capability::{Capabilities, Feature};
    use crate::protocol::{Dead, DeadJob};

    /// How long it may wait in these tests.
    const BOUND_MS: u64 = 5_000;

    fn keeps_dead_letters() -> Capabilities {
        Capabilities { dead_letters: Feature::NATIVE, ..Capabilities::default() }
    }

    fn tells_status() -> Capabilities {
        Capabilities { status: Feature::NATIVE, ..Capabilities::default() }
    }

    fn has_passed(since: Instant, ms: u64) -> bool {
        Duration::from_millis(ms) <= since.elapsed()
    }

    /// A system in which these jobs are dead letters, each from so many milliseconds on.
    async fn dying(dead: &'static [(&'static str, u64)]) -> ByHand {
        let begun = Instant::now();
        let letter = |job: &str| DeadJob {
            job: format!("{PREFIX}-{job}"),
            payload: job.to_owned(),
            error: None,
            attempts: None,
        };
        let answer = move |_: &Ask| {
            let there = dead.iter().filter(|(_, from_ms)| has_passed(begun, *from_ms));
            ok(Dead { jobs: there.map(|(job, _)| letter(job)).collect() })
        };
        ByHand::new(keeps_dead_letters(), answer).await
    }

    /// A system that tells of every job that it has ended it from so many milliseconds on.
    async fn ending(from_ms: u64) -> ByHand {
        let begun = Instant::now();
        let answer = move |_: &Ask| {
            let is_final = has_passed(begun, from_ms);
            ok(Standing { status: Some(Status::Processing), is_final, ..Standing::default() })
        };
        ByHand::new(tells_status(), answer).await
    }

    /// How long the end waits for dead letters, to a tenth of a second.
    async fn waits_for_the_dead(by_hand: &ByHand) -> u64 {
        let begun = Instant::now();
        let waited = wait_for_the_dead(&by_hand.stage, begun + Duration::from_millis(BOUND_MS)).await;
        waited.expect("the adapter does nothing wrong");
        begun.elapsed().as_millis() as u64 / 100 * 100
    }

    /// How long the end waits for what the system tells, to a tenth of a second.
    async fn waits_to_be_told(by_hand: &ByHand) -> u64 {
        let begun = Instant::now();
        let waited = wait_to_be_told(&by_hand.stage, begun + Duration::from_millis(BOUND_MS)).await;
        waited.expect("the adapter does nothing wrong");
        begun.elapsed().as_millis() as u64 / 100 * 100
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_until_each_job_that_is_given_up_is_a_dead_letter() {
        let by_hand = dying(&[("one", 200), ("other", 1_000), ("third", 600)]).await;
        by_hand.has("one", 2).has("other", 2).has("third", 3);
        assert_eq!(waits_for_the_dead(&by_hand).await, 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_dead_letters_no_longer_than_it_may() {
        let by_hand = dying(&[("one", 0)]).await;
        by_hand.has("one", 2).has("other", 2);
        assert_eq!(waits_for_the_dead(&by_hand).await, BOUND_MS);
        let silent = ByHand::new(keeps_dead_letters(), |_| Answer::Unknown("it is down".into())).await;
        assert_eq!(waits_for_the_dead(silent.has("one", 2)).await, BOUND_MS);
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_wait_for_jobs_that_are_not_given_up() {
        let by_hand = dying(&[]).await;
        by_hand
            .has("tried again", 1)
            .has_as("unknown", Progress { acknowledged: false, deliveries: 2, ..acknowledged() })
            .has_as("completed", Progress { completed: true, deliveries: 2, ..acknowledged() })
            .has_as("cancelled", Progress { cancelled: true, deliveries: 2, ..acknowledged() });
        assert_eq!(waits_for_the_dead(&by_hand).await, 0);
        assert!(by_hand.asked().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_wait_for_dead_letters_that_are_not_offered() {
        let by_hand = ByHand::new(Capabilities::default(), |_| Answer::Refused("it has none".into())).await;
        assert_eq!(waits_for_the_dead(by_hand.has("one", 2)).await, 0);
        assert!(by_hand.asked().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_until_the_system_tells_of_every_end() {
        let by_hand = ending(1_000).await;
        by_hand.has("one", 1).has("other", 2);
        assert_eq!(waits_to_be_told(&by_hand).await, 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_to_be_told_no_longer_than_it_may() {
        let by_hand = ending(u64::MAX).await;
        assert_eq!(waits_to_be_told(by_hand.has("one", 1)).await, BOUND_MS);
        let silent = ByHand::new(tells_status(), |_| Answer::Unknown("it is down".into())).await;
        assert_eq!(waits_to_be_told(silent.has("one", 1)).await, BOUND_MS);
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_wait_to_be_told_of_what_nobody_tells_or_nothing_ends() {
        let mute = ByHand::new(Capabilities::default(), |_| Answer::Refused("it tells nothing".into())).await;
        assert_eq!(waits_to_be_told(mute.has("one", 1)).await, 0);
        assert!(mute.asked().is_empty());
        let refusing = ByHand::new(tells_status(), |_| Answer::Refused("there is no such job".into())).await;
        assert_eq!(waits_to_be_told(refusing.has("one", 1)).await, 0);
        let paused = ending(u64::MAX).await;
        paused.stage.lock().held.insert("work".into());
        assert_eq!(waits_to_be_told(paused.has("one", 1)).await, 0);
        let unknown = ending(u64::MAX).await;
        unknown.has_as("one", Progress { acknowledged: false, ..acknowledged() });
        assert_eq!(waits_to_be_told(&unknown).await, 0);
    }
}

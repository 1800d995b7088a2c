//! What is read of jobs: how they stand, and which lie in the dead letter queues.

use std::time::Duration;

use kew_spec::history::{DeadLetter, DeadLetters, Row, StatusRead};
use kew_spec::lifecycle::Status;

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
        for _ in 0..ASKED_MAX {
            match status(stage, &job, &progress).await? {
                Told::Status => break,
                Told::Nothing => tokio::time::sleep(ASK_AGAIN).await,
                // Else a job that is lost would go unseen.
                Told::Refused(why) => {
                    let what = "refused the status of a job that it had acknowledged (one that is not there has the status null)";
                    return Err(stage.fleet.client().fault(format!("{what}: {why}")));
                }
            }
        }
    }
    Ok(())
}

/// What came of a question for a status.
pub(super) enum Told {
    /// It was told.
    Status,
    /// Nothing is known.
    Nothing,
    /// The question was refused, with this reason.
    Refused(String),
}

/// Reads the status of one job that was acknowledged.
pub(super) async fn status(stage: &Stage, job: &str, progress: &Progress) -> Result<Told, Error> {
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
            let uncounted = standing.status == Some(Status::Completed) && standing.retry_count.is_none();
            if uncounted && stage.about.capabilities.status.has("retry_count") {
                return Err(stage.fleet.client().fault(
                    "declares `status` with its `retry_count`, but tells of a completed job without it".to_owned(),
                ));
            }
            row(stage, standing, deliveries)
        }
        Answer::Refused(why) => return Ok(Told::Refused(why)),
        Answer::Unknown(_) => return Ok(Told::Nothing),
    };
    let cancelled = stage.lock().jobs.get(job).is_some_and(|it| it.cancelled);
    if row.is_none() && cancelled && !stage.about.capabilities.cancel.has("keeps") {
        return Ok(Told::Status); // It leaves no trace, as declared.
    }
    let user = stage.plans.get(job).map(|plan| plan.user.clone()).unwrap_or_default();
    stage.recorder.see(StatusRead { job: job.to_owned(), user, asked_at, row });
    Ok(Told::Status)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use kew_spec::history::What;

    use super::super::by_hand::{ByHand, ok};
    use super::*;
    use crate::capability::{Capabilities, Feature};

    /// What the end reads of one job from a system whose answers to the first, the second … question are these.
    async fn read(status: Feature, answers: Vec<Answer>) -> (Result<(), Error>, ByHand) {
        let next = AtomicU32::new(0);
        let answer = move |_: &Ask| {
            let place = next.fetch_add(1, Ordering::Relaxed) as usize;
            answers[place.min(answers.len() - 1)].clone()
        };
        let by_hand = ByHand::new(Capabilities { status, ..Capabilities::default() }, answer).await;
        let read = statuses(&by_hand.has("j", 1).stage).await;
        (read, by_hand)
    }

    fn completed(retry_count: Option<u32>) -> Answer {
        let (status, is_final) = (Some(Status::Completed), true);
        ok(Standing { status, is_final, retry_count, ..Standing::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_is_not_told_at_the_end_is_asked_for_again() {
        let without_times = Feature::NATIVE.without("times");
        let down = || Answer::Unknown("it is down".into());
        let (read, by_hand) = read(without_times.clone(), vec![down(), down(), completed(Some(0))]).await;
        read.expect("the adapter does nothing wrong");
        assert_eq!((by_hand.asked().len(), by_hand.seen().len()), (3, 1));
        let (read, by_hand) = super::tests::read(without_times, vec![down()]).await;
        read.expect("a server that never comes back is not held to what it did not say");
        assert_eq!((by_hand.asked().len(), by_hand.seen().len()), (ASKED_MAX as usize, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_is_refused_for_a_job_that_was_acknowledged_is_the_adapters_fault() {
        let refused = Answer::Refused("KeyError".into());
        let (read, _) = read(Feature::NATIVE.without("times"), vec![refused]).await;
        let wrong = read.expect_err("else what is lost would go unseen").to_string();
        assert!(wrong.contains("refused the status of a job that it had acknowledged"), "{wrong}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_completed_job_has_the_retry_count_that_is_declared() {
        let status = Feature::NATIVE.without("times");
        let (told, _) = read(status.clone(), vec![completed(None)]).await;
        assert!(told.expect_err("it is declared").to_string().contains("completed job without it"));
        let (told, by_hand) = read(status.without("retry_count"), vec![completed(None)]).await;
        told.expect("it is not declared");
        assert!(matches!(&by_hand.seen()[..], [What::StatusRead(it)] if it.row.is_some()));
    }
}

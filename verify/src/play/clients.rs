//! What clients and operators do: they enqueue, cancel, put back and pause when the scenario says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kew_spec::history::{Cancel, Enqueue, Pause, Redrive, Reply, Resume, Told};
use kew_spec::scenario::{OpAct, OpSpec, PlannedJob};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{Progress, Stage, read};
use crate::link::{Error, Posted};
use crate::protocol::{Answer, Ask, Enqueued, Job, Which};

/// One thing to do at its time.
enum Deed {
    Enqueue(PlannedJob),
    Operate(OpSpec),
}

/// Requests for one entity or idempotency key are sent one after another, so that their order is known.
#[derive(Default)]
struct Turns(BTreeMap<String, Arc<Mutex<()>>>);

impl Turns {
    async fn take(&mut self, job: &PlannedJob) -> Option<OwnedMutexGuard<()>> {
        let key = job.key.as_ref().or(job.idempotency_key.as_ref())?;
        let turn = self.0.entry(format!("{}/{key}", job.queue)).or_default();
        Some(Arc::clone(turn).lock_owned().await)
    }
}

/// Does all of it, and waits for the last request to be sent.
pub(super) async fn act(stage: &Arc<Stage>) -> Result<(), Error> {
    let scenario = &stage.fitted.scenario;
    let jobs = scenario.jobs().into_iter().map(|job| (job.at_ms, Deed::Enqueue(job)));
    let ops = scenario.ops.iter().cloned().map(|op| (op.at_ms, Deed::Operate(op)));
    let mut deeds: Vec<_> = jobs.chain(ops).collect();
    deeds.sort_by_key(|(at_ms, _)| *at_ms);
    let (mut turns, mut asked) = (Turns::default(), BTreeMap::new());
    for (at_ms, deed) in deeds {
        tokio::time::sleep_until(stage.recorder.moment(at_ms)).await;
        match deed {
            Deed::Enqueue(job) => {
                let turn = turns.take(&job).await;
                let times: &mut u32 = asked.entry(job.label.clone()).or_default();
                *times += 1;
                let name = if *times == 1 { job.label.clone() } else { format!("{}~{times}", job.label) };
                enqueue(stage, &job, name, turn);
            }
            Deed::Operate(op) => operate_until_known(stage, &op).await?,
        }
    }
    Ok(())
}

/// How often clients look at their jobs while they wait.
const LOOK: Duration = Duration::from_millis(250);

/// How often an operator asks for a queue to be resumed, if there is no answer.
const RESUMED_MAX: u32 = 40;

/// How many jobs they look at.
const LOOKED_AT_MAX: usize = 8;

/// Reads some jobs' statuses all the while, where the system tells them.
pub(super) async fn watch(stage: Arc<Stage>) {
    while stage.about.capabilities.status.is_there() {
        let jobs: Vec<_> = {
            let known = stage.lock();
            let there = known.jobs.iter().filter(|(_, it)| it.acknowledged).take(LOOKED_AT_MAX);
            there.map(|(job, it)| (job.clone(), it.clone())).collect()
        };
        for (job, progress) in jobs {
            if read::status(&stage, &job, &progress).await.is_err() {
                return; // The end of the play tells of an adapter at fault.
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn enqueue(stage: &Arc<Stage>, job: &PlannedJob, name: String, turn: Option<OwnedMutexGuard<()>>) {
    let op = stage.next_op();
    let payload = job.payload();
    {
        let mut known = stage.lock();
        known.names.insert(op, name.clone());
        known.jobs.entry(name.clone()).or_default().queue.clone_from(&job.queue);
        known.asking += 1;
    }
    stage.recorder.see(Enqueue {
        op,
        user: job.user.clone(),
        queue: job.queue.clone(),
        payload: payload.clone(),
        key: job.key.clone(),
        idempotency_key: job.idempotency_key.clone(),
        email: false,
    });
    let posted = stage.fleet.client().post(Ask::Enqueue(Job {
        queue: stage.outside(&job.queue),
        job: stage.outside(&name),
        payload,
        user: job.user.clone(),
        key: job.key.clone(),
        // Keys hold beyond a play, so they are the play's own.
        idempotency_key: job.idempotency_key.as_ref().map(|key| stage.outside(key)),
    }));
    tokio::spawn(hear(Arc::clone(stage), op, name, posted, turn));
}

/// Waits for the answer to an enqueue.
async fn hear(stage: Arc<Stage>, op: u64, name: String, posted: Posted, turn: Option<OwnedMutexGuard<()>>) {
    let mut made = None;
    let reply = match stage.fleet.client().answered(posted).await {
        Ok(Answer::Ok(value)) => {
            let enqueued = serde_json::from_value::<Enqueued>(value);
            if let Err(error) = &enqueued {
                stage.fleet.client().give_up(&format!("answered enqueue with something else: {error}"));
            }
            let other = enqueued.ok().and_then(|enqueued| enqueued.job);
            let job = other.map_or(name, |job| stage.inside(&job).to_owned());
            made = Some(job.clone());
            Reply { op, outcome: Told::Ok, job: Some(job), error: None }
        }
        Ok(Answer::Refused(why)) => Reply { op, outcome: Told::Refused, job: None, error: Some(why) },
        Ok(Answer::Unknown(why)) => Reply { op, outcome: Told::Unknown, job: None, error: Some(why) },
        Err(error) => Reply { op, outcome: Told::Unknown, job: None, error: Some(error.to_string()) },
    };
    stage.recorder.see(reply);
    let mut known = stage.lock();
    // Nobody reads it before its answer is written down.
    made.into_iter().for_each(|job| known.jobs.entry(job).or_default().acknowledged = true);
    known.asking -= 1;
    drop(known);
    drop(turn);
}

/// An operator who was not told whether a queue goes on asks again: nothing that is left to do would ever be done.
async fn operate_until_known(stage: &Arc<Stage>, it: &OpSpec) -> Result<(), Error> {
    for _ in 0..RESUMED_MAX {
        if operate(stage, it).await? != Told::Unknown || it.act != OpAct::Resume {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Asks for what an operator does, and tells what the answer was.
async fn operate(stage: &Arc<Stage>, it: &OpSpec) -> Result<Told, Error> {
    let op = stage.next_op();
    let job = it.job.clone().unwrap_or_default();
    let queue = it.queue.clone().unwrap_or_default();
    let of = || Which {
        queue: stage.outside(&stage.lock().jobs.get(&job).map(|it| it.queue.clone()).unwrap_or_default()),
        job: stage.outside(&job),
    };
    let user = || stage.plans.get(&job).map(|plan| plan.user.clone()).unwrap_or_default();
    let ask = match it.act {
        OpAct::Cancel => {
            stage.recorder.see(Cancel { op, user: it.user.clone().unwrap_or_else(user), job: job.clone() });
            Ask::Cancel(of())
        }
        OpAct::Redrive => {
            stage.recorder.see(Redrive { op, job: job.clone() });
            Ask::Redrive(of())
        }
        OpAct::Pause => {
            stage.recorder.see(Pause { op, queue: queue.clone() });
            Ask::Pause { queue: stage.outside(&queue) }
        }
        OpAct::Resume => {
            stage.recorder.see(Resume { op, queue: queue.clone() });
            Ask::Resume { queue: stage.outside(&queue) }
        }
        // A scenario with these is not played: `fit` sees to that.
        OpAct::Purge | OpAct::Connect | OpAct::Disconnect => return Ok(Told::Ok),
    };
    // From the question on it may have been done; a refusal takes that back.
    let before = stage.lock().jobs.get(&job).cloned();
    note(stage, it.act, &job, &queue);
    let answer = stage.fleet.client().ask(ask).await?;
    let (outcome, error) = match answer {
        Answer::Ok(_) => (Told::Ok, None),
        Answer::Refused(why) => (Told::Refused, Some(why)),
        Answer::Unknown(why) => (Told::Unknown, Some(why)),
    };
    stage.recorder.see(Reply { op, outcome, job: None, error });
    if outcome == Told::Refused {
        take_back(stage, it.act, &job, &queue, before);
    }
    Ok(outcome)
}

fn take_back(stage: &Stage, act: OpAct, job: &str, queue: &str, before: Option<Progress>) {
    let mut known = stage.lock();
    match (act, known.jobs.get_mut(job), before) {
        (OpAct::Cancel, Some(progress), Some(before)) => progress.cancelled = before.cancelled,
        // What was delivered meanwhile comes on top of what had been.
        (OpAct::Redrive, Some(progress), Some(before)) => progress.deliveries += before.deliveries,
        (OpAct::Pause, ..) => drop(known.held.remove(queue)),
        _ => {}
    }
}

fn note(stage: &Stage, act: OpAct, job: &str, queue: &str) {
    let mut known = stage.lock();
    match act {
        OpAct::Cancel => known.jobs.entry(job.to_owned()).or_default().cancelled = true,
        OpAct::Redrive => known.jobs.entry(job.to_owned()).or_default().deliveries = 0,
        OpAct::Pause => drop(known.held.insert(queue.to_owned())),
        OpAct::Resume => drop(known.held.remove(queue)),
        OpAct::Purge | OpAct::Connect | OpAct::Disconnect => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kew_spec::history::What;

    use super::super::by_hand::{ByHand, ok};
    use super::*;
    use crate::capability::Capabilities;

    /// An operator does `act` to the queue or the job, and is answered with each of `answers`, and then with the last.
    async fn operated(act: OpAct, answers: Vec<Answer>) -> ByHand {
        let next = AtomicUsize::new(0);
        let answer = move |_: &Ask| {
            let place = next.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            answers[place].clone()
        };
        let by_hand = ByHand::new(Capabilities::default(), answer).await;
        let (job, queue) = match act {
            OpAct::Pause | OpAct::Resume => (None, Some("work".to_owned())),
            _ => (Some("j".to_owned()), None),
        };
        let op = OpSpec { at_ms: 0, act, job, queue, user: None };
        operate_until_known(&by_hand.has("j", 2).stage, &op).await.expect("the adapter does nothing wrong");
        by_hand
    }

    fn unknown() -> Answer {
        Answer::Unknown("no answer in time".into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_who_is_not_told_whether_a_queue_goes_on_asks_again() {
        let by_hand = operated(OpAct::Resume, vec![unknown(), unknown(), ok(())]).await;
        let names: Vec<_> = by_hand.seen().iter().map(What::name).collect();
        assert_eq!(names, ["resume", "reply", "resume", "reply", "resume", "reply"]);
        let told: Vec<_> = by_hand.seen().into_iter().filter_map(outcome).collect();
        assert_eq!(told, [(1, Told::Unknown), (2, Told::Unknown), (3, Told::Ok)]);
        let resume = Ask::Resume { queue: by_hand.stage.outside("work") };
        assert_eq!(by_hand.asked(), vec![resume; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_who_is_never_told_gives_up() {
        let by_hand = operated(OpAct::Resume, vec![unknown()]).await;
        assert_eq!(by_hand.asked().len(), RESUMED_MAX as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_who_is_told_or_who_ends_a_thing_asks_once() {
        let refused = operated(OpAct::Resume, vec![Answer::Refused("it is not paused".into())]).await;
        assert_eq!(refused.asked().len(), 1);
        for act in [OpAct::Pause, OpAct::Cancel, OpAct::Redrive] {
            assert_eq!(operated(act, vec![unknown()]).await.asked().len(), 1, "{act:?}");
        }
    }

    fn outcome(what: What) -> Option<(u64, Told)> {
        if let What::Reply(it) = what { Some((it.op, it.outcome)) } else { None }
    }
}

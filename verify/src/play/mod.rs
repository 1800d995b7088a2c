//! One play: a scenario put to a system in real time, and what was seen of it.
//!
//! `clients` asks, `handlers` does what the scenario says that handlers do, `faults` strikes, `drain` waits for the end,
//! `read` reads how jobs stand.
//! They share the [`Stage`].

#[cfg(test)]
mod by_hand;
mod clients;
mod drain;
mod faults;
mod handlers;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use kew_spec::history::{Event, Processor};
use kew_spec::queues::Queues;
use kew_spec::scenario::PlannedJob;
use tokio::sync::mpsc::unbounded_channel;

use crate::clock::Clock;
use crate::fit::Fitted;
use crate::fleet::Fleet;
use crate::link::Error;
use crate::protocol::{About, Ask};
use crate::record::Recorder;
use crate::stalls::Stalls;

/// What was seen of one play.
pub(crate) struct Played {
    /// The policies that were in force.
    pub(crate) policies: Queues,
    /// What was seen, outside alone.
    pub(crate) events: Vec<Event>,
    /// The job that each enqueue asked for, by operation.
    pub(crate) names: BTreeMap<u64, String>,
    /// The wall clock at the play's time 0.
    pub(crate) epoch_ms: u64,
    /// Whether the machine stood still meanwhile.
    pub(crate) stalled: bool,
}

/// What the parts of a play share.
pub(crate) struct Stage {
    fleet: Arc<Fleet>,
    about: Arc<About>,
    fitted: Fitted,
    /// What the names of its queues and jobs begin with, so that plays can go on side by side.
    prefix: String,
    recorder: Recorder,
    plans: BTreeMap<String, PlannedJob>,
    ops: AtomicU64,
    known: Mutex<Seen>,
    /// How many processors the play has.
    processors: usize,
    /// How many deliveries each runs side by side.
    slots: u32,
}

/// What the play knows of its jobs and deliveries.
#[derive(Default)]
struct Seen {
    names: BTreeMap<u64, String>,
    jobs: BTreeMap<String, Progress>,
    /// Open deliveries: the worker and the jobs with their attempts.
    open: BTreeMap<String, Running>,
    /// Deliveries that the system has stopped, and whose handler goes on, on which worker.
    stopped: BTreeMap<String, usize>,
    /// Deliveries whose handlers have ended by their own word.
    answered: BTreeMap<String, Running>,
    /// Workers that stand still.
    paused: BTreeSet<usize>,
    /// Workers that have been killed, and in which of their starts the last time.
    killed: BTreeMap<usize, u32>,
    /// Queues under a pause.
    held: BTreeSet<String>,
    /// Operations without an answer.
    asking: u64,
}

/// How far a job has come, as the player sees it.
#[derive(Clone, Debug, Default)]
struct Progress {
    queue: String,
    acknowledged: bool,
    /// Deliveries since it was created or put back.
    deliveries: u32,
    completed: bool,
    cancelled: bool,
}

/// A handler at work.
struct Running {
    worker: usize,
    /// When its timeout is over, on the play's clock.
    until_ms: u64,
    jobs: Vec<(String, u32)>,
}

/// Plays `fitted` on `fleet`, while `stalls` are noted.
pub(crate) async fn play(
    fleet: Arc<Fleet>,
    about: Arc<About>,
    fitted: Fitted,
    prefix: String,
    clock: &Clock,
    stalls: &Stalls,
) -> Result<Played, Error> {
    let began = tokio::time::Instant::now();
    let (sender, heard) = unbounded_channel();
    let wanted = fitted.scenario.processors as usize;
    let processors = if fleet.is_apart() { wanted.clamp(1, fleet.workers()) } else { 1 };
    let slots =
        if fleet.is_apart() { fitted.scenario.slots } else { fitted.scenario.slots * fitted.scenario.processors };
    let plans = fitted.scenario.jobs().into_iter().map(|job| (job.label.clone(), job)).collect();
    let mut fitted = fitted;
    let (mut policies, mut really) = (Vec::new(), slots);
    let beside: Vec<_> = fitted.policies.iter().map(|(queue, _)| format!("{prefix}-{queue}")).collect();
    for (queue, policy) in fitted.policies.iter() {
        let name = format!("{prefix}-{queue}");
        fleet.route(&name, sender.clone());
        let mut asked = policy.clone();
        asked.dead_letter_queue = asked.dead_letter_queue.map(|it| format!("{prefix}-{it}"));
        let ask = Ask::Configure { queue: name, policy: Box::new(asked), slots, beside: beside.clone() };
        let configured = fleet.configure(ask, processors).await?;
        let applied = configured.applied.unwrap_or_default();
        really = really.min(applied.slots.unwrap_or(slots));
        policies.push((queue.to_owned(), applied.to(policy.clone())));
    }
    fitted.policies = policies.into_iter().collect();
    fitted.scenario.slots = really; // The drain bound goes by them.
    let slots = really;
    let stage = Arc::new(Stage {
        fleet,
        about,
        fitted,
        prefix,
        recorder: Recorder::new(clock),
        plans,
        ops: 1.into(),
        known: Mutex::default(),
        processors,
        slots,
    });
    (0..processors).for_each(|worker| stage.up(worker, true));
    let listening = tokio::spawn(handlers::listen(Arc::clone(&stage), heard));
    let played = stage.run().await;
    listening.abort();
    played?;
    let names = stage.lock().names.clone();
    Ok(Played {
        policies: stage.fitted.policies.clone(),
        events: stage.recorder.events(),
        names,
        epoch_ms: stage.recorder.epoch_ms(),
        stalled: stalls.since(began),
    })
}

impl Stage {
    async fn run(self: &Arc<Self>) -> Result<(), Error> {
        let striking = tokio::spawn(faults::strike(Arc::clone(self)));
        let watching = tokio::spawn(clients::watch(Arc::clone(self)));
        clients::act(self).await?;
        tokio::time::sleep_until(self.recorder.moment(self.fitted.scenario.length_ms())).await;
        striking.await.expect("it does not panic")?;
        drain::drain(self, watching).await
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.known.lock().expect("nobody panics with it")
    }

    fn next_op(&self) -> u64 {
        self.ops.fetch_add(1, Ordering::Relaxed)
    }

    /// A queue's or a job's name as the adapter knows it.
    fn outside(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// The same as the history knows it.
    fn inside<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name)
    }

    fn up(&self, worker: usize, up: bool) {
        self.recorder.see(Processor { processor: processor(worker), up, slots: self.slots });
    }
}

/// A worker's name in a history.
fn processor(worker: usize) -> String {
    format!("processor-{}", worker + 1)
}

//! Tries an adapter alone, step by step, and tells its own mistakes from what may be the system's: what is said against
//! the protocol is the adapter's, what is seen against its own declaration may be either's.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use kew_spec::lifecycle::Status;
use kew_spec::queues::{Attempts, Backoff, Exponential, Policy, Priority};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep, timeout};

use crate::capability::{Capabilities, Is};
use crate::fleet::{Fleet, Heard, System};
use crate::link::Error;
use crate::mover::Mover;
use crate::protocol::{
    About, Answer, Ask, Configured, Dead, Delivered, Ending, Enqueued, Event, Job, JobResult, Standing, Which,
};
use crate::run::Options;

/// How long one step may wait: no step has much to do.
const WAIT: Duration = Duration::from_secs(10);

/// How long nothing may happen for it to count as not happening.
const QUIET: Duration = Duration::from_secs(1);

/// How often is asked again what takes a moment to be so.
const LOOK: Duration = Duration::from_millis(100);

/// What is hard to hand through: quotes, escapes, other scripts, a newline that was escaped before.
const PAYLOAD: &str = r#"{"label": "é 你 \" \\n </x>", "empty": ""}"#;

/// What the handler of the job that fails says.
const ERROR: &str = "no fonts";

/// One step, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is tried.
    pub name: &'static str,
    /// What came of it.
    pub came: Came,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// It went as it should; with what is worth knowing.
    Right(String),
    /// It did not apply, and why.
    Left(String),
    /// The adapter said or did what the protocol does not allow.
    Adapter(String),
    /// What was seen is not what was declared: the adapter hands it on wrongly, declares too much, or the system fails.
    Either(String),
}

impl Step {
    /// Whether something went wrong.
    pub fn is_wrong(&self) -> bool {
        matches!(self.came, Came::Adapter(_) | Came::Either(_))
    }
}

/// The step is over without the end that the next ones need.
struct Over(Came);

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        Self(Came::Adapter(error.to_string()))
    }
}

type Done = Result<Came, Over>;

/// Runs all steps.
pub(crate) async fn smoke(system: &System, tell: &(dyn Fn(&Step) + Sync)) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut note = |name, came| {
        let step = Step { name, came };
        tell(&step);
        steps.push(step);
    };
    let clock = system.clock(&Options::default());
    let (fleet, about) = match Fleet::start(system, &clock, 1, false).await {
        Ok(started) => started,
        Err(error) => {
            note("starts and answers hello", Came::Adapter(error.to_string()));
            return steps;
        }
    };
    note("starts and answers hello", Came::Right(about.title()));
    note("declares what it can do", declared(&about.capabilities));
    let queue = format!("k{}smoke", std::process::id() % 100_000);
    let (sender, heard) = unbounded_channel();
    fleet.route(&queue, sender);
    let fleet = Arc::new(fleet);
    let mover = system.is_moved().then(|| Mover::begin(&fleet, &clock));
    let mut trial = Trial { fleet, about, queue, heard };
    trial.run(&mut note).await;
    if let Some(mover) = mover {
        mover.end().await;
    }
    let wrong = trial.fleet.wrong();
    let lines = wrong.map_or(Came::Right(String::new()), |error| Came::Adapter(error.to_string()));
    note("says nothing that is not of the protocol", lines);
    let bye = Arc::into_inner(trial.fleet).expect("nobody else has it any more").end().await;
    note("answers bye and exits", bye.map_or_else(|error| Over::from(error).0, |()| Came::Right(String::new())));
    steps
}

/// What is declared, a line each.
fn declared(can: &Capabilities) -> Came {
    let mut text = String::new();
    for (name, feature) in can.iter() {
        let is = match feature.is {
            Is::Native => "native",
            Is::Emulated => "emulated",
            Is::Absent => "absent",
        };
        let _ = write!(text, "\n{name:<20} {is:<9}");
        if !feature.without.is_empty() {
            let _ = write!(text, " without {}", feature.without.join(", "));
        }
        if let Some(recovers_ms) = feature.recovers_ms {
            let _ = write!(text, " recovers in {recovers_ms} ms");
        }
        if let Some(note) = &feature.note {
            let _ = write!(text, " ({note})");
        }
    }
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    Came::Right(lines.join("\n").trim_start().to_owned())
}

/// A fleet under trial.
struct Trial {
    fleet: Arc<Fleet>,
    about: About,
    queue: String,
    heard: UnboundedReceiver<Heard>,
}

impl Trial {
    /// The steps between hello and bye. Those that need one that went wrong are left out.
    async fn run(&mut self, note: &mut impl FnMut(&'static str, Came)) {
        let steps = "creates a queue and consumes it";
        let Some(()) = take(note, steps, self.configure().await) else { return };
        let Some(()) = take(note, "acknowledges an enqueue", self.enqueue("good").await) else { return };
        let invoked = self.invoked("good", 1).await;
        let Some(heard) = keep(note, "reports the call of its handler", invoked) else { return };
        self.end(&heard, Ending::Completed);
        let Some(()) = take(note, "hands on `completed`", self.quiet("good").await) else { return };
        note("tells a status", self.status("good", Status::Completed).await.unwrap_or_else(|over| over.0));
        let Some(()) = take(note, "acknowledges a second enqueue", self.enqueue("bad").await) else { return };
        let invoked = self.invoked("bad", 1).await;
        let Some(heard) = keep(note, "reports its call", invoked) else { return };
        self.end(&heard, Ending::Failed);
        if !self.is_tried_again() {
            note("hands on `failed`", Came::Left("nothing is tried again: `attempts` is not declared".into()));
            return;
        }
        let again = self.invoked("bad", 2).await;
        let Some(heard) = keep(note, "hands on `failed`: it is delivered again", again) else { return };
        let ending = if self.is_spent() { Ending::Failed } else { Ending::Completed };
        self.end(&heard, ending);
        let Some(()) = take(note, "is not delivered after its end", self.quiet("bad").await) else { return };
        note("lists the dead letter", self.dead_letter("bad").await.unwrap_or_else(|over| over.0));
    }

    fn is_tried_again(&self) -> bool {
        self.about.capabilities.attempts.is_there() || self.about.capabilities.infinite_attempts.is_there()
    }

    /// Whether a second failure is the last.
    fn is_spent(&self) -> bool {
        self.about.capabilities.attempts.is_there()
    }

    fn policy(&self) -> Policy {
        let can = &self.about.capabilities;
        let first_ms = (5 * self.about.quantum_ms).max(300);
        let backoff = Exponential { first_ms, max_ms: 10 * first_ms, jitter_percent: 0 };
        Policy {
            priority: Priority::Medium,
            attempts: match (self.is_spent(), self.is_tried_again()) {
                (true, _) => Attempts::Limited(2),
                (_, true) => Attempts::INFINITE,
                _ => Attempts::Limited(1),
            },
            backoff: if can.exponential_backoff.is_there() { Backoff::Exponential(backoff) } else { Backoff::None },
            timeout_ms: if can.timeout.is_there() { 30_000 } else { 3_600_000 },
            dead_letter_queue: can.dead_letters.is_there().then(|| format!("{}-dead", self.queue)),
            rate_limit: None,
            batch: None,
            deduplication: false,
            schedule: None,
        }
    }

    async fn configure(&self) -> Done {
        let (queue, policy) = (self.queue.clone(), Box::new(self.policy()));
        let ask = Ask::Configure { queue: queue.clone(), policy, slots: 1, beside: vec![queue] };
        let asked = timeout(WAIT, self.fleet.configure(ask, 1)).await;
        let Configured { applied } = asked.map_err(|_| self.late("configure"))??;
        Ok(Came::Right(applied.map(|_| "not all of the policy as it was asked for".to_owned()).unwrap_or_default()))
    }

    async fn enqueue(&self, job: &str) -> Done {
        let job = Job {
            queue: self.queue.clone(),
            job: self.outside(job),
            payload: PAYLOAD.into(),
            user: "ada".into(),
            key: None,
            idempotency_key: None,
        };
        let name = job.job.clone();
        let asked = timeout(WAIT, self.fleet.client().ask_for::<Enqueued>("enqueue", Ask::Enqueue(job))).await;
        match asked.map_err(|_| self.late("enqueue"))??.job {
            Some(other) if other != name => {
                Err(Over(Came::Adapter(format!("it answered with the job {other}, but {name} is a new one"))))
            }
            _ => Ok(Came::Right(String::new())),
        }
    }

    /// Waits for the handler's call with `job`.
    async fn invoked(&mut self, job: &str, attempt: u32) -> Result<(Heard, Came), Over> {
        let wanted = self.outside(job);
        let until = Instant::now() + WAIT + Duration::from_millis(20 * self.about.quantum_ms);
        let heard = loop {
            if let Ok(Some(heard)) = timeout(LOOK, self.heard.recv()).await {
                break heard;
            }
            if let Some(error) = self.fleet.wrong() {
                return Err(error.into());
            }
            if until <= Instant::now() {
                return Err(Over(Came::Either(format!(
                    "no `invoke` with {wanted} and the queue {} arrived in {} s",
                    self.queue,
                    WAIT.as_secs()
                ))));
            }
        };
        let Event::Invoke { jobs, .. } = &heard.event else {
            return Err(Over(Came::Either(format!("in place of a call came {:?}", heard.event))));
        };
        let [it] = jobs.as_slice() else {
            return Err(Over(Came::Either(format!("one job was enqueued, and {} arrived in one call", jobs.len()))));
        };
        let came = self.as_enqueued(it, &wanted, attempt)?;
        Ok((heard, came))
    }

    fn as_enqueued(&self, it: &Delivered, wanted: &str, attempt: u32) -> Done {
        if it.job != wanted {
            return Err(Over(Came::Either(format!("the job {} arrived, where {wanted} was due", it.job))));
        }
        if it.payload != PAYLOAD {
            return Err(Over(Came::Either(format!("the payload was {PAYLOAD} and arrived as {}", it.payload))));
        }
        match it.attempt {
            None if self.about.capabilities.attempt_number.is_there() => {
                Err(Over(Came::Adapter("it declares `attempt_number`, and reports no `attempt`".into())))
            }
            Some(told) if told != attempt => {
                Err(Over(Came::Either(format!("attempt {attempt} was reported as attempt {told}"))))
            }
            _ => Ok(Came::Right(String::new())),
        }
    }

    fn end(&self, heard: &Heard, result: Ending) {
        let Event::Invoke { invocation, jobs, .. } = &heard.event else { return };
        let error = (result == Ending::Failed).then(|| ERROR.to_owned());
        let jobs = jobs.iter().map(|it| JobResult { job: it.job.clone(), result, error: error.clone() }).collect();
        self.fleet.tell(heard.worker, Ask::Outcome { invocation: invocation.clone(), jobs });
    }

    /// Nothing may happen for a while.
    async fn quiet(&mut self, job: &str) -> Done {
        let quiet = QUIET + Duration::from_millis(10 * self.about.quantum_ms);
        let heard = timeout(quiet, self.heard.recv()).await;
        match heard.ok().flatten().map(|heard| heard.event) {
            Some(Event::Invoke { .. }) => {
                let job = self.outside(job);
                Err(Over(Came::Either(format!("{job} was delivered again, although it was over"))))
            }
            Some(Event::Rejected { error, .. }) => {
                Err(Over(Came::Either(format!("the outcome came at once, and was rejected: {error}"))))
            }
            Some(Event::Stopped { why, .. }) => {
                Err(Over(Came::Either(format!("the handler was over, and then reported as stopped: {why:?}"))))
            }
            None => Ok(Came::Right(format!("nothing more came of it for {} ms", quiet.as_millis()))),
        }
    }

    async fn status(&self, job: &str, wanted: Status) -> Done {
        let can = &self.about.capabilities.status;
        if !can.is_there() {
            return Ok(Came::Left("`status` is not declared".into()));
        }
        let until = Instant::now() + WAIT;
        loop {
            let which = Which { queue: self.queue.clone(), job: self.outside(job) };
            let standing: Standing = self.read("status", Ask::Status(which)).await?;
            let is_told = standing.created_at.is_some() && standing.updated_at.is_some();
            if standing.status == Some(wanted) && can.has("times") && !is_told {
                let why = "it declares `status` with its times, and answers without `created_at` and `updated_at`";
                return Ok(Came::Adapter(why.into()));
            }
            if standing.status == Some(wanted) && standing.is_final {
                return Ok(Came::Right("completed, and final".into()));
            }
            if until <= Instant::now() {
                return Ok(Came::Either(format!(
                    "its job is completed, and the status is {:?}, final {}",
                    standing.status, standing.is_final
                )));
            }
            sleep(LOOK).await;
        }
    }

    async fn dead_letter(&self, job: &str) -> Done {
        let can = &self.about.capabilities.dead_letters;
        if !can.is_there() || !self.is_spent() {
            return Ok(Came::Left("`dead_letters` is not declared".into()));
        }
        let (wanted, until) = (self.outside(job), Instant::now() + WAIT);
        loop {
            let dead: Dead = self.read("dead_letters", Ask::DeadLetters { queue: self.queue.clone() }).await?;
            if let Some(it) = dead.jobs.iter().find(|it| it.job == wanted) {
                let error = it.error.as_deref().unwrap_or_default();
                return Ok(match () {
                    () if it.payload != PAYLOAD => Came::Either(format!("its payload is {}", it.payload)),
                    () if can.has("errors") && !error.contains(ERROR) => {
                        Came::Either(format!("its last error was {ERROR:?}, and is {error:?}"))
                    }
                    () => Came::Right(String::new()),
                });
            }
            if until <= Instant::now() {
                let listed: Vec<_> = dead.jobs.iter().map(|it| it.job.as_str()).collect();
                return Ok(Came::Either(format!("{wanted} is not among [{}]", listed.join(", "))));
            }
            sleep(LOOK).await;
        }
    }

    /// Reads something that the system may not tell yet.
    async fn read<T: serde::de::DeserializeOwned>(&self, what: &str, ask: Ask) -> Result<T, Over> {
        let client = self.fleet.client();
        match timeout(WAIT, client.ask(ask)).await.map_err(|_| self.late(what))?? {
            Answer::Ok(value) => serde_json::from_value(value)
                .map_err(|error| client.fault(format!("answered {what} with something else: {error}")).into()),
            Answer::Refused(why) => Err(Over(Came::Adapter(format!("it declares `{what}`, and refuses it: {why}")))),
            Answer::Unknown(why) => Err(Over(Came::Either(format!("{what} could not be read: {why}")))),
        }
    }

    fn outside(&self, job: &str) -> String {
        format!("{}-{job}", self.queue)
    }

    fn late(&self, what: &str) -> Over {
        Over(Came::Adapter(format!("it did not answer {what} within {} s", WAIT.as_secs())))
    }
}

/// Notes a step. Nothing where those that follow have no sense.
fn take(note: &mut impl FnMut(&'static str, Came), name: &'static str, done: Done) -> Option<()> {
    keep(note, name, done.map(|came| ((), came)))
}

fn keep<T>(note: &mut impl FnMut(&'static str, Came), name: &'static str, done: Result<(T, Came), Over>) -> Option<T> {
    match done {
        Ok((kept, came)) => {
            note(name, came);
            Some(kept)
        }
        Err(Over(came)) => {
            note(name, came);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Came, smoke};
    use crate::fleet::System;
    use crate::local;
    use crate::memory::{Lie, Memory};

    async fn steps(make: impl Fn() -> Memory + Send + Sync + 'static) -> Vec<(&'static str, Came)> {
        let start = move |line| drop(tokio::spawn(local::serve(Arc::new(make()), line)));
        let steps = smoke(&System::Local(Arc::new(start)), &|_| {}).await;
        steps.into_iter().map(|step| (step.name, step.came)).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_wrong_with_the_queue_in_memory() {
        let steps = steps(Memory::new).await;
        let wrong = steps.iter().filter(|(_, came)| !matches!(came, Came::Right(_)));
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&(&str, Came)>::new());
        assert_eq!(steps.last().map(|(name, _)| *name), Some("answers bye and exits"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_payload_that_is_changed_is_seen() {
        let steps = steps(|| Memory::lying(Lie::PayloadTidied)).await;
        assert!(steps.iter().any(|(_, came)| matches!(came, Came::Either(what) if what.contains("payload"))));
    }
}

//! Users and the operator: each does what its plan says, one thing after the other, straight on the broker's handle. What
//! they know is what they were told; it outlives the power cut, as they are elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kew_runtime::broker::{EnqueuedJob, JobRequest, Queue, Refusal, Request, Response};
use kew_runtime::ids::Ids;
use kew_runtime::store::{Query, Rows};
use kew_spec::history::{Cancel, Enqueue, Notified, Pause, Purge, Redrive, Reply, Resume, Session, Told, Via, What};
use kew_spec::scenario::{OpAct, OpSpec, PlannedJob};
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::reading::Reading;
use super::workload::{Act, Step, Workload};
use crate::clock;
use crate::record::{Recorder, fingerprint};

/// How often an operation whose job is not there yet is tried: a redrive has to wait until its job has died.
const TRIES_MAX: u32 = 3;

/// How long to wait before it is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(1_500);

/// How often it is looked whether everything is done.
const LOOK: Duration = Duration::from_millis(400);

/// How long a session waits at the broker for ends.
const ENDS_WAIT_MS: u64 = 10_000;

/// What all of them know.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Jobs that were acknowledged, by id: whose.
    pub(super) jobs: BTreeMap<String, String>,
    /// The job of each label.
    of_label: BTreeMap<String, String>,
    steps: BTreeMap<usize, Progress>,
    /// The last end that the sessions were told.
    told: u64,
    /// How many sessions each user has had.
    sessions: u64,
}

/// How far a step has come; one that has not begun has none.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// Asked by this operation, and not answered yet.
    Asking(u64),
    Over,
}

impl Known {
    /// The connection is cut: whoever waits for an answer will not get one. Returns the operations that stay unknown.
    pub(super) fn cut(&mut self, workload: &Workload) -> Vec<u64> {
        let repeatable =
            |id: usize| {
                workload.plans.iter().flatten().any(|step| {
                    step.id == id && matches!(&step.act, Act::Enqueue(job) if job.idempotency_key.is_some())
                })
            };
        let asking = |(id, progress): (&usize, &Progress)| match progress {
            Progress::Asking(op) => Some((*id, *op)),
            Progress::Over => None,
        };
        let open: Vec<_> = self.steps.iter().filter_map(asking).collect();
        for (id, _) in &open {
            match repeatable(*id) {
                true => drop(self.steps.remove(id)),
                false => drop(self.steps.insert(*id, Progress::Over)),
            }
        }
        open.into_iter().map(|(_, op)| op).collect()
    }
}

/// The users while the broker is up.
#[derive(Clone)]
pub(super) struct Users {
    pub(super) workload: Arc<Workload>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) recorder: Recorder,
    pub(super) known: Arc<Mutex<Known>>,
    pub(super) ids: Ids,
}

impl Users {
    /// Opens everybody's session; each goes on where the last one ended.
    pub(super) fn open_sessions(&self) {
        let (sessions, resumed) = {
            let mut known = self.known();
            known.sessions += 1;
            (known.sessions, 1 < known.sessions)
        };
        for user in &self.workload.users {
            let session = session(user, sessions);
            self.recorder.see(Session { session, user: user.clone(), open: true, resumed });
        }
    }

    /// Tells the sessions of every end, until it is dropped.
    async fn follow(self) {
        loop {
            let Known { told: after, sessions, .. } = *self.known();
            let Ok(Response::Rows(Rows::Ends(ends))) =
                self.queue.call(Request::Ends { after, wait_ms: ENDS_WAIT_MS }).await
            else {
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            };
            for end in ends {
                self.known().told = end.seq;
                let session = Some(session(&end.user, sessions));
                let (user, job, status) = (end.user, end.job, end.status);
                self.recorder.see(Notified { user, via: Via::Websocket, session, job, status });
            }
        }
    }

    /// Does what is left of all plans on `tasks`, side by side, and waits until everything is done, which it must be
    /// by `end_ms`; false if it is not. It has to be so at two looks in a row: an end may yet make a mail.
    pub(super) async fn play_all(&self, tasks: &mut JoinSet<()>, end_ms: u64) -> bool {
        tasks.spawn(self.clone().follow());
        for plan in 0..self.workload.plans.len() {
            let mut user = self.clone();
            user.ids = Ids::from_seed(self.ids.clone().random() ^ plan as u64);
            tasks.spawn(user.play(plan));
        }
        let mut looks = 0;
        while looks < 2 {
            if end_ms < clock::now_ms() {
                return false;
            }
            tokio::time::sleep(LOOK).await;
            looks = if self.nothing_left().await { looks + 1 } else { 0 };
        }
        true
    }

    /// Reads every job that was acknowledged, and returns how many are not there.
    pub(super) async fn read_all(&self) -> u64 {
        let jobs = self.known().jobs.clone();
        let mut lost = 0;
        for (job, user) in jobs {
            lost += u64::from(self.reading().status(&user, &job).await == Some(false));
        }
        lost
    }

    /// Reads every dead letter queue.
    pub(super) async fn read_dead_letters(&self) {
        let queues = self.workload.queues.iter();
        for dead_letter_queue in queues.filter_map(|(_, policy)| policy.dead_letter_queue.as_deref()) {
            self.reading().dead_letters(dead_letter_queue).await;
        }
    }

    /// Does what is left of one plan.
    async fn play(mut self, plan: usize) {
        let workload = self.workload.clone();
        for step in &workload.plans[plan] {
            if self.known().steps.contains_key(&step.id) {
                continue;
            }
            let wait_ms = step.at_ms.saturating_sub(clock::now_ms());
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            match &step.act {
                Act::Enqueue(job) => self.enqueue(step, job).await,
                Act::Operate(op) => self.operate(step, op).await,
            }
        }
    }

    async fn enqueue(&mut self, step: &Step, job: &PlannedJob) {
        let op = self.begin(step);
        let payload = job.payload();
        self.recorder.see(Enqueue {
            op,
            user: job.user.clone(),
            queue: job.queue.clone(),
            payload: fingerprint(&payload),
            key: job.key.clone(),
            idempotency_key: job.idempotency_key.clone(),
            email: job.email,
        });
        let request = JobRequest {
            id: self.ids.next(clock::EPOCH_MS + clock::now_ms()),
            queue: job.queue.clone(),
            user: job.user.clone(),
            key: job.key.clone(),
            idempotency: job.idempotency_key.clone().map(|key| (key, fingerprint(&payload))),
            email: job.email.then(|| format!("{}@example.org", job.user)),
            payload: RawValue::from_string(payload).expect("a planned job's payload is JSON"),
        };
        let answer = self.queue.call(Request::Enqueue(vec![request])).await;
        let (outcome, error) = told(&answer);
        let id = match answer {
            Ok(Response::Enqueued(made)) => made.into_iter().next().map(|EnqueuedJob { id, .. }| id),
            _ => None,
        };
        if let Some(id) = &id {
            let mut known = self.known();
            known.jobs.insert(id.clone(), job.user.clone());
            known.of_label.insert(job.label.clone(), id.clone());
        }
        self.end(step, Reply { op, outcome, job: id.clone(), error });
        if let Some(id) = id {
            self.reading().status(&job.user, &id).await;
        }
    }

    async fn operate(&mut self, step: &Step, it: &OpSpec) {
        for _ in 0..TRIES_MAX {
            let op = self.begin(step);
            let Some((what, request)) = self.operation(it, op) else {
                self.known().steps.insert(step.id, Progress::Over);
                return;
            };
            self.recorder.see(what);
            let (outcome, error) = told(&self.queue.call(request).await);
            self.end(step, Reply { op, outcome, job: None, error });
            if outcome != Told::Refused {
                return;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// What `it` asks; nothing if its job was never acknowledged.
    fn operation(&self, it: &OpSpec, op: u64) -> Option<(What, Request)> {
        let job = || self.known().of_label.get(it.job.as_deref()?).cloned();
        let queue = it.queue.clone().unwrap_or_default();
        Some(match it.act {
            OpAct::Cancel => {
                let (job, user) = (job()?, it.user.clone()?);
                let what = Cancel { op, user: user.clone(), job: job.clone() }.into();
                (what, Request::Cancel { job, user: Some(user) })
            }
            OpAct::Redrive => (Redrive { op, job: job()? }.into(), Request::Redrive { job: job()? }),
            OpAct::Purge => (Purge { op, job: job()? }.into(), Request::Purge { job: job()? }),
            OpAct::Pause => (Pause { op, queue: queue.clone() }.into(), Request::Pause { queue, paused: true }),
            OpAct::Resume => (Resume { op, queue: queue.clone() }.into(), Request::Pause { queue, paused: false }),
            OpAct::Disconnect | OpAct::Connect => return None,
        })
    }

    fn begin(&self, step: &Step) -> u64 {
        let op = self.recorder.next_op();
        self.known().steps.insert(step.id, Progress::Asking(op));
        op
    }

    fn end(&self, step: &Step, reply: Reply) {
        self.known().steps.insert(step.id, Progress::Over);
        self.recorder.see(reply);
    }

    /// Whether every plan is through.
    fn are_through(&self) -> bool {
        let steps = self.workload.plans.iter().flatten().count();
        let known = self.known();
        known.steps.len() == steps && known.steps.values().all(|step| matches!(step, Progress::Over))
    }

    /// Whether nothing is left to do: every plan is through and no job is live.
    async fn nothing_left(&self) -> bool {
        let Ok(Response::Rows(Rows::Depths(depths))) = self.queue.call(Request::Read(Query::Depths)).await else {
            return false;
        };
        self.are_through() && depths.iter().all(|depth| depth.waiting + depth.processing == 0)
    }

    /// How they read.
    pub(super) fn reading(&self) -> Reading {
        Reading { queue: self.queue.clone(), recorder: self.recorder.clone() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a user's `n`th session.
fn session(user: &str, n: u64) -> String {
    format!("{user}-{n}")
}

/// The ends of the sessions that were open when the connection was cut.
pub(super) fn closed_sessions(workload: &Workload, known: &Known) -> Vec<Session> {
    let closed = |user: &String| Session {
        session: session(user, known.sessions),
        user: user.clone(),
        open: false,
        resumed: false,
    };
    let were_open = if known.sessions == 0 { &[] } else { workload.users.as_slice() };
    were_open.iter().map(closed).collect()
}

/// What a client concludes from an answer.
fn told(answer: &Result<Response, Refusal>) -> (Told, Option<String>) {
    match answer {
        Ok(_) => (Told::Ok, None),
        Err(Refusal::Unavailable(reason)) => (Told::Unknown, Some(reason.clone())),
        Err(refusal) => (Told::Refused, Some(refusal.to_string())),
    }
}

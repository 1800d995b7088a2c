//! The store as its contract tells it, in plain vectors and maps, with no thought for speed. It shares no code with the
//! store and no idea of how one is built: whether a job is blocked, say, is asked of all other jobs each time.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::store::*;
use kew_spec::lifecycle::Status;
use serde_json::value::RawValue;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A job from its making on, whatever becomes of it.
struct Job {
    row: JobRow,
    key: Option<String>,
    email: Option<String>,
    /// The order of enqueueing.
    order: u64,
    version: u64,
    ready_ms: u64,
    is_live: bool,
    lease: Option<Lease>,
    attempt: u32,
    fence: u32,
    batch: Option<String>,
    attempts: Vec<FailedAttempt>,
    died: Option<(u64, u64)>,
}

struct Lease {
    delivery: String,
    started_ms: u64,
    until_ms: u64,
}

/// The model of a store.
#[derive(Default)]
pub(crate) struct Model {
    jobs: Vec<Job>,
    /// By user and key: fingerprint, job, until when.
    keys: BTreeMap<(String, String), (String, String, u64)>,
    paused: BTreeSet<String>,
    /// Per queue, the time of each claimed job, and the last window claimed with.
    claims: BTreeMap<String, (Vec<u64>, u64)>,
    ends: Vec<End>,
    ended: u64,
    died: u64,
    told: u64,
    version: u64,
    last_ms: u64,
}

impl Model {
    pub(crate) fn apply(&mut self, commands: &[Command]) -> Vec<Answer> {
        commands.iter().map(|command| self.carry_out(command)).collect()
    }

    fn carry_out(&mut self, command: &Command) -> Answer {
        let (now_ms, answer) = match command {
            Command::Enqueue(job) => (job.now_ms, self.enqueue(job)),
            Command::Claim(claim) => (claim.now_ms, Answer::Claimed(self.claim(claim))),
            Command::Settle(settle) => (settle.now_ms, Answer::Settled { accepted: self.settle(settle) }),
            Command::Cancel { job, user, now_ms } => (*now_ms, Answer::Ended(self.cancel(job, user, *now_ms))),
            Command::Redrive { job, ready_ms, now_ms } => {
                (*now_ms, Answer::Ended(self.redrive(job, *ready_ms, *now_ms)))
            }
            Command::Purge { job, now_ms } => (*now_ms, Answer::Ended(self.purge(job))),
            Command::Pause { queue, paused, now_ms } => {
                if *paused {
                    self.paused.insert(queue.clone())
                } else {
                    self.paused.remove(queue)
                };
                (*now_ms, Answer::Done)
            }
            Command::Told { through, now_ms } => {
                self.told = self.told.max(*through);
                (*now_ms, Answer::Done)
            }
            Command::Prune { now_ms } => {
                self.prune(*now_ms);
                (*now_ms, Answer::Done)
            }
        };
        self.last_ms = self.last_ms.max(now_ms);
        answer
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.jobs.iter().position(|job| job.row.id == id)
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn enqueue(&mut self, new: &NewJob) -> Answer {
        let replayed = |job: &str| Answer::Enqueued { job: job.into(), how: How::Replayed };
        let used = new.idempotency.as_ref().and_then(|it| self.keys.get(&(new.user.clone(), it.key.clone())));
        if let (Some(given), Some((fingerprint, job, until_ms))) = (&new.idempotency, used)
            && new.now_ms < *until_ms
        {
            return if *fingerprint == given.fingerprint { replayed(job) } else { Answer::IdempotencyConflict };
        }
        if self.find(&new.id).is_some() {
            return replayed(&new.id);
        }
        let version = self.next_version();
        let same_key = |job: &&mut Job| new.key.is_some() && job.key == new.key && job.row.queue == new.queue;
        let mut waiting = self.jobs.iter_mut().filter(|job| job.is_live && job.lease.is_none());
        let (id, how) = match waiting.by_ref().filter(same_key).max_by_key(|job| job.order) {
            Some(job) => {
                job.version = version;
                job.row.payload = new.payload.clone();
                job.row.updated_ms = new.now_ms;
                job.email = new.email.clone().or(job.email.take());
                (job.row.id.clone(), How::Coalesced)
            }
            None => {
                self.jobs.push(made(new, version));
                (new.id.clone(), How::Created)
            }
        };
        if let Some(given) = &new.idempotency {
            let memory = (given.fingerprint.clone(), id.clone(), given.until_ms);
            self.keys.insert((new.user.clone(), given.key.clone()), memory);
        }
        Answer::Enqueued { job: id, how }
    }

    /// Whether an older live job has the same queue and key.
    fn is_blocked(&self, job: &Job) -> bool {
        let older = |it: &Job| it.is_live && it.order < job.order && it.row.queue == job.row.queue;
        job.key.is_some() && self.jobs.iter().any(|it| older(it) && it.key == job.key)
    }

    /// Jobs of a queue that no lease holds and no older one blocks, the longest waiting first.
    fn waiting(&self, queue: &str) -> Vec<usize> {
        let waits = |job: &Job| job.row.queue == queue && job.is_live && job.lease.is_none() && !self.is_blocked(job);
        let mut waiting: Vec<_> = (0..self.jobs.len()).filter(|&it| waits(&self.jobs[it])).collect();
        waiting.sort_by_key(|&it| (self.jobs[it].ready_ms, self.jobs[it].order));
        waiting
    }

    fn ready(&self, queue: &str, now_ms: u64) -> Vec<usize> {
        self.waiting(queue).into_iter().filter(|&it| self.jobs[it].ready_ms <= now_ms).collect()
    }

    fn claim(&mut self, claim: &Claim) -> Option<Claimed> {
        let mut limit = claim.max as usize;
        if let Some((starts, window_ms)) = claim.rate {
            let past = self.claims.get(&claim.queue).map_or(&[][..], |claims| &claims.0);
            let counted = past.iter().filter(|&&at_ms| claim.now_ms < at_ms + window_ms).count();
            limit = limit.min((starts as usize).saturating_sub(counted));
        }
        let ready = self.ready(&claim.queue, claim.now_ms);
        if limit == 0 || ready.is_empty() || self.paused.contains(&claim.queue) {
            return None;
        }
        let kept = self.jobs[ready[0]].batch.clone();
        let taken: Vec<_> = ready.into_iter().filter(|&it| self.jobs[it].batch == kept).take(limit).collect();
        let batch = kept.unwrap_or(claim.batch.clone());
        if let Some((_, window_ms)) = claim.rate {
            let claims = self.claims.entry(claim.queue.clone()).or_default();
            claims.0.extend(taken.iter().map(|_| claim.now_ms));
            claims.1 = window_ms;
        }
        let jobs = taken.into_iter().map(|it| self.jobs[it].begin(claim, &batch)).collect();
        Some(Claimed { batch, jobs })
    }

    fn settle(&mut self, settle: &Settle) -> bool {
        let Some(at) = self.find(&settle.lease.job) else { return false };
        let job = &mut self.jobs[at];
        let LeaseId { queue, attempt, fence, .. } = &settle.lease;
        let is_same = job.row.queue == *queue && job.attempt == *attempt && job.fence == *fence;
        let is_lost = matches!(settle.outcome, Outcome::Lost(_));
        let holds = job.lease.as_ref().is_some_and(|lease| is_lost || settle.now_ms < lease.until_ms);
        if !(is_same && holds) {
            return false;
        }
        let lease = job.lease.take().expect("it holds");
        let failure = match &settle.outcome {
            Outcome::Completed(_) => None,
            Outcome::Failed(error) => Some(("failed", error)),
            Outcome::TimedOut(error) => Some(("timed-out", error)),
            Outcome::Lost(error) => Some(("lost", error)),
        };
        job.row.error = failure.map(|(_, error)| error.clone());
        job.row.updated_ms = settle.now_ms;
        job.attempts.extend(failure.map(|(outcome, error)| FailedAttempt {
            attempt: *attempt,
            outcome: outcome.into(),
            error: error.clone(),
            started_ms: lease.started_ms,
            ended_ms: settle.now_ms,
        }));
        job.row.status = Status::Failed;
        if !settle.keep_batch {
            job.batch = None;
        }
        match &settle.then {
            Then::RetryAt(ready_ms) => job.ready_ms = *ready_ms,
            Then::Fail => self.end(at, settle.now_ms),
            Then::Complete => {
                job.row.status = Status::Completed;
                job.row.error = None;
                job.row.result = match &settle.outcome {
                    Outcome::Completed(result) => Some(result.clone()),
                    _ => None,
                };
                self.end(at, settle.now_ms);
            }
            Then::DeadLetter(to) => {
                job.row.dead_letter_queue = Some(to.clone());
                self.died += 1;
                job.died = Some((self.died, settle.now_ms));
                self.end(at, settle.now_ms);
            }
        }
        true
    }

    fn end(&mut self, at: usize, now_ms: u64) {
        let job = &mut self.jobs[at];
        job.is_live = false;
        job.lease = None;
        job.batch = None;
        job.row.updated_ms = now_ms;
        job.row.completed_ms = Some(now_ms);
        self.ended += 1;
        self.ends.push(End {
            seq: self.ended,
            job: job.row.id.clone(),
            queue: job.row.queue.clone(),
            user: job.row.user_id.clone(),
            status: job.row.status,
            error: job.row.error.clone(),
            dead_letter_queue: job.row.dead_letter_queue.clone(),
            email: job.email.clone(),
            ended_ms: now_ms,
        });
    }

    fn cancel(&mut self, job: &str, user: &Option<String>, now_ms: u64) -> Ending {
        let is_theirs = |it: &usize| user.as_ref().is_none_or(|user| *user == self.jobs[*it].row.user_id);
        let Some(at) = self.find(job).filter(is_theirs) else { return Ending::NotFound };
        if !self.jobs[at].is_live {
            return Ending::NotAllowed;
        }
        let delivery = self.jobs[at].lease.take().map(|lease| lease.delivery);
        self.jobs[at].row.status = Status::Failed;
        self.jobs[at].row.error = Some("cancelled".into());
        self.end(at, now_ms);
        Ending::Done { delivery }
    }

    fn redrive(&mut self, id: &str, ready_ms: u64, now_ms: u64) -> Ending {
        let Some(at) = self.find(id) else { return Ending::NotFound };
        if self.jobs[at].died.is_none() {
            return Ending::NotAllowed;
        }
        let (queue, key) = (self.jobs[at].row.queue.clone(), self.jobs[at].key.clone());
        let mut live = self.jobs.iter().filter(|job| job.is_live && job.row.queue == queue);
        if key.is_some() && live.any(|job| job.key == key) {
            return Ending::KeyTaken;
        }
        let job = &mut self.jobs[at];
        job.exhume();
        (job.is_live, job.ready_ms, job.attempt) = (true, ready_ms, 0);
        let JobRow { status, error, retry_count, updated_ms, completed_ms, .. } = &mut job.row;
        (*status, *error, *retry_count, *updated_ms, *completed_ms) = (Status::Pending, None, 0, now_ms, None);
        Ending::Done { delivery: None }
    }

    fn purge(&mut self, id: &str) -> Ending {
        let Some(at) = self.find(id) else { return Ending::NotFound };
        if self.jobs[at].died.is_none() {
            return Ending::NotAllowed;
        }
        self.jobs[at].exhume();
        Ending::Done { delivery: None }
    }

    fn prune(&mut self, now_ms: u64) {
        self.keys.retain(|_, (_, _, until_ms)| now_ms < *until_ms);
        let told = self.told;
        self.ends.retain(|end| told < end.seq || now_ms < end.ended_ms + DAY_MS);
    }
}

fn made(new: &NewJob, version: u64) -> Job {
    let row = JobRow {
        id: new.id.clone(),
        queue: new.queue.clone(),
        status: Status::Pending,
        user_id: new.user.clone(),
        payload: new.payload.clone(),
        result: None::<Box<RawValue>>,
        error: None,
        retry_count: 0,
        created_ms: new.now_ms,
        updated_ms: new.now_ms,
        completed_ms: None,
        dead_letter_queue: None,
    };
    Job {
        row,
        key: new.key.clone(),
        email: new.email.clone(),
        order: version,
        version,
        ready_ms: new.ready_ms,
        is_live: true,
        lease: None,
        attempt: 0,
        fence: 0,
        batch: None,
        attempts: Vec::new(),
        died: None,
    }
}

impl Job {
    fn begin(&mut self, claim: &Claim, batch: &str) -> ClaimedJob {
        self.attempt += 1;
        self.fence += 1;
        self.batch = Some(batch.into());
        self.lease =
            Some(Lease { delivery: claim.delivery.clone(), started_ms: claim.now_ms, until_ms: claim.lease_until_ms });
        self.row.status = Status::Processing;
        self.row.retry_count = self.attempt - 1;
        self.row.updated_ms = claim.now_ms;
        let lease = self.lease_id();
        let (user, key, payload) = (self.row.user_id.clone(), self.key.clone(), self.row.payload.clone());
        ClaimedJob { lease, user, version: self.version, key, payload, created_ms: self.row.created_ms }
    }

    fn lease_id(&self) -> LeaseId {
        let (queue, job) = (self.row.queue.clone(), self.row.id.clone());
        LeaseId { queue, job, attempt: self.attempt, fence: self.fence }
    }

    fn exhume(&mut self) {
        self.died = None;
        self.row.dead_letter_queue = None;
        self.attempts.clear();
    }
}

/// What the model answers to questions.
impl Model {
    pub(crate) fn last_ms(&self) -> u64 {
        self.last_ms
    }

    fn live(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| job.is_live)
    }

    pub(crate) fn outlook(&self, now_ms: u64) -> Outlook {
        let names: BTreeSet<_> = self.live().map(|job| job.row.queue.clone()).collect();
        let leases = || self.live().filter_map(|job| Some((job.lease.as_ref()?.until_ms, job.order, job.lease_id())));
        let mut expired: Vec<_> = leases().filter(|lease| lease.0 <= now_ms).collect();
        expired.sort();
        Outlook {
            queues: names.into_iter().map(|queue| self.queue_outlook(queue, now_ms)).collect(),
            expired: expired.into_iter().map(|lease| lease.2).collect(),
            next_lease_ms: leases().map(|lease| lease.0).filter(|&until_ms| now_ms < until_ms).min(),
        }
    }

    fn queue_outlook(&self, queue: String, now_ms: u64) -> QueueOutlook {
        let ready = self.ready(&queue, now_ms);
        let head = ready.first().map(|&it| &self.jobs[it]);
        let later = self.waiting(&queue).into_iter().map(|it| self.jobs[it].ready_ms);
        let recent = self
            .claims
            .get(&queue)
            .map(|(claims, window_ms)| claims.iter().copied().filter(|at_ms| now_ms < at_ms + window_ms).collect());
        QueueOutlook {
            paused: self.paused.contains(&queue),
            oldest_ready_ms: head.map(|job| job.ready_ms),
            ready: ready.len() as u32,
            head_keeps_batch: head.is_some_and(|job| job.batch.is_some()),
            next_ready_ms: later.filter(|&ready_ms| now_ms < ready_ms).min(),
            recent_claims_ms: recent.unwrap_or_default(),
            queue,
        }
    }

    pub(crate) fn read(&self, query: &Query) -> Rows {
        match query {
            Query::Job { job } => Rows::Jobs(self.find(job).map(|at| self.jobs[at].row.clone()).into_iter().collect()),
            Query::JobsOf { user, after, limit } => {
                let before = after.as_ref().map(|after| self.find(after).map_or(0, |at| at));
                let older = self.jobs[..before.unwrap_or(self.jobs.len())].iter().rev();
                let theirs = older.filter(|job| job.row.user_id == *user).take(*limit as usize);
                Rows::Jobs(theirs.map(|job| job.row.clone()).collect())
            }
            Query::Depths => Rows::Depths(self.depths()),
            Query::DeadLetters { dead_letter_queue, after, limit } => {
                let mut dead: Vec<_> = self.jobs.iter().filter(|job| job.died.is_some()).collect();
                dead.retain(|job| job.row.dead_letter_queue.as_ref() == Some(dead_letter_queue));
                dead.sort_by_key(|job| job.died);
                let passed = after.as_ref().map(|after| {
                    let found = self.find(after).and_then(|at| self.jobs[at].died);
                    dead.iter().filter(|job| found.is_none_or(|found| job.died <= Some(found))).count()
                });
                let rows = dead.into_iter().skip(passed.unwrap_or(0)).take(*limit as usize);
                Rows::DeadLetters(rows.map(dead_letter).collect())
            }
            Query::DeadLetter { job } => {
                let job = self.find(job).map(|at| &self.jobs[at]).filter(|job| job.died.is_some());
                Rows::DeadLetters(job.map(dead_letter).into_iter().collect())
            }
            Query::Ends { after, limit } => {
                let later = self.ends.iter().filter(|end| *after < end.seq);
                Rows::Ends(later.take(*limit as usize).cloned().collect())
            }
            Query::Told => Rows::Told { through: self.told, newest: self.ended },
        }
    }

    fn depths(&self) -> Vec<Depth> {
        let live = self.live().map(|job| job.row.queue.clone());
        let names: BTreeSet<_> = live.chain(self.paused.iter().cloned()).collect();
        let depth = |queue: String| {
            let jobs: Vec<_> = self.live().filter(|job| job.row.queue == queue).collect();
            let processing = jobs.iter().filter(|job| job.lease.is_some()).count() as u64;
            Depth {
                paused: self.paused.contains(&queue),
                waiting: jobs.len() as u64 - processing,
                processing,
                oldest_created_ms: jobs.iter().map(|job| job.row.created_ms).min(),
                queue,
            }
        };
        names.into_iter().map(depth).collect()
    }
}

fn dead_letter(job: &Job) -> DeadLetterRow {
    let (_, died_ms) = job.died.expect("only dead letters are asked for");
    DeadLetterRow { job: job.row.clone(), died_ms, attempts: job.attempts.clone() }
}

//! The store as its contract tells it, in plain vectors and maps, with no thought for speed. It shares no code with the
//! store and no idea of how one is built: whether a job is blocked, say, is asked of all other jobs each time.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::store::*;
use kew_spec::lifecycle::Status;
use serde_json::value::RawValue;

/// A job from its making on, whatever becomes of it.
pub(crate) struct Job {
    pub(crate) row: JobRow,
    pub(crate) key: Option<String>,
    pub(crate) email: Option<String>,
    /// The order of enqueueing.
    pub(crate) order: u64,
    pub(crate) version: u64,
    pub(crate) ready_ms: u64,
    pub(crate) is_live: bool,
    pub(crate) lease: Option<Lease>,
    pub(crate) attempt: u32,
    pub(crate) fence: u32,
    pub(crate) batch: Option<String>,
    pub(crate) attempts: Vec<FailedAttempt>,
    pub(crate) died: Option<(u64, u64)>,
    /// The number of its last end.
    pub(crate) end: u64,
}

pub(crate) struct Lease {
    pub(crate) started_ms: u64,
    pub(crate) until_ms: u64,
    pub(crate) keeps_attempt: bool,
}

/// The model of a store.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) jobs: Vec<Job>,
    /// By user and key: fingerprint, job, until when.
    pub(crate) keys: BTreeMap<(String, String), (String, String, u64)>,
    /// By user and the id that a request brought along: the job that took its payload, until when it is known.
    pub(crate) coalesced: BTreeMap<(String, String), (String, u64)>,
    pub(crate) paused: BTreeSet<String>,
    /// Per queue, the time of each claimed job, and the last window claimed with.
    pub(crate) claims: BTreeMap<String, (Vec<u64>, u64)>,
    pub(crate) ends: Vec<End>,
    pub(crate) ended: u64,
    pub(crate) died: u64,
    pub(crate) told: u64,
    pub(crate) forgotten: u64,
    pub(crate) version: u64,
    pub(crate) last_ms: u64,
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
            Command::Prune { ended_before_ms, now_ms } => {
                self.prune(*ended_before_ms, *now_ms);
                (*now_ms, Answer::Pruned { more: false })
            }
        };
        self.last_ms = self.last_ms.max(now_ms);
        answer
    }

    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.jobs.iter().position(|job| job.row.id == id)
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn enqueue(&mut self, new: &NewJob) -> Answer {
        let replayed = |job: &str| Answer::Enqueued { job: job.into(), how: How::Replayed };
        let used = new.idempotency.as_ref().and_then(|it| self.keys.get_mut(&(new.user.clone(), it.key.clone())));
        if let (Some(given), Some((fingerprint, job, until_ms))) = (&new.idempotency, used)
            && new.now_ms < *until_ms
        {
            if *fingerprint != given.fingerprint {
                return Answer::IdempotencyConflict;
            }
            *until_ms = given.until_ms.max(*until_ms);
            return replayed(job);
        }
        let own = (new.user.clone(), new.id.clone());
        match self.coalesced.get(&own) {
            Some((job, until_ms)) if new.idempotency.is_none() && new.key.is_some() && new.now_ms < *until_ms => {
                return replayed(job);
            }
            _ => {}
        }
        if self.find(&new.id).is_some() {
            return replayed(&new.id);
        }
        let same_key = |job: &Job| new.key.is_some() && job.key == new.key && job.row.queue == new.queue;
        let waits = |job: &Job| job.is_live && job.lease.is_none() && same_key(job);
        let waiting = (0..self.jobs.len()).filter(|&at| waits(&self.jobs[at])).max_by_key(|&at| self.jobs[at].order);
        if waiting.is_some_and(|at| self.jobs[at].row.user_id != new.user) {
            return Answer::OthersEntity;
        }
        let version = self.next_version();
        let (id, how) = match waiting.map(|at| &mut self.jobs[at]) {
            Some(job) => {
                job.version = version;
                job.row.payload = new.payload.clone();
                job.row.updated_ms = new.now_ms;
                job.email = new.email.clone().or(job.email.take());
                job.batch = None;
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
        } else if how == How::Coalesced {
            self.coalesced.insert(own, (id.clone(), new.repeats_until_ms));
        }
        Answer::Enqueued { job: id, how }
    }

    /// Whether an older live job has the same queue and key.
    fn is_blocked(&self, job: &Job) -> bool {
        let older = |it: &Job| it.is_live && it.order < job.order && it.row.queue == job.row.queue;
        job.key.is_some() && self.jobs.iter().any(|it| older(it) && it.key == job.key)
    }

    /// When a job that waits is ready, and its order among those that are so then: with a batch, that of its last job;
    /// `None` while one of its batch is leased.
    fn place(&self, job: &Job) -> Option<(u64, u64)> {
        let is_mate = |it: &&Job| it.is_live && it.row.queue == job.row.queue && it.batch == job.batch;
        match job.batch {
            None => Some((job.ready_ms, job.order)),
            Some(_) if self.jobs.iter().filter(is_mate).any(|it| it.lease.is_some()) => None,
            Some(_) => self.jobs.iter().filter(is_mate).map(|it| (it.ready_ms, it.order)).max(),
        }
    }

    /// Jobs of a queue that no lease holds and no older one blocks, and when they are ready; the longest waiting first.
    pub(crate) fn waiting(&self, queue: &str) -> Vec<(u64, usize)> {
        let waits = |job: &Job| job.row.queue == queue && job.is_live && job.lease.is_none() && !self.is_blocked(job);
        let jobs = self.jobs.iter().enumerate().filter(|(_, job)| waits(job));
        let mut waiting: Vec<_> =
            jobs.filter_map(|(at, job)| Some((self.place(job)?, (job.ready_ms, job.order), at))).collect();
        waiting.sort();
        waiting.into_iter().map(|((ready_ms, _), _, at)| (ready_ms, at)).collect()
    }

    pub(crate) fn ready(&self, queue: &str, now_ms: u64) -> Vec<(u64, usize)> {
        self.waiting(queue).into_iter().filter(|&(ready_ms, _)| ready_ms <= now_ms).collect()
    }

    /// How many of the jobs that are `ready` belong to the batch of the first, which is tried again as a whole.
    pub(crate) fn kept(&self, ready: &[(u64, usize)]) -> Option<usize> {
        let first = self.jobs[ready.first()?.1].batch.as_ref()?;
        Some(ready.iter().filter(|(_, at)| self.jobs[*at].batch.as_ref() == Some(first)).count())
    }

    fn claim(&mut self, claim: &Claim) -> Option<Claimed> {
        let mut room = usize::MAX;
        if let Some((starts, window_ms)) = claim.rate {
            let past = self.claims.get(&claim.queue).map_or(&[][..], |claims| &claims.0);
            let counted = past.iter().filter(|&&at_ms| claim.now_ms < at_ms + window_ms).count();
            room = (starts as usize).saturating_sub(counted);
        }
        let limit = room.min(claim.max as usize);
        let ready = self.ready(&claim.queue, claim.now_ms);
        if limit == 0 || ready.is_empty() || self.paused.contains(&claim.queue) {
            return None;
        }
        let size = self.kept(&ready);
        let can_fit = |size| claim.rate.is_none_or(|(starts, _)| size <= starts as usize);
        if size.is_some_and(|size| room < size && can_fit(size)) {
            return None;
        }
        let kept = self.jobs[ready[0].1].batch.clone();
        let limit = if kept.is_some() { room } else { limit };
        let ready = ready.into_iter().map(|(_, at)| at);
        let taken: Vec<_> = ready.filter(|&it| self.jobs[it].batch == kept).take(limit).collect();
        let whole = kept.filter(|_| size == Some(taken.len()));
        let batch = whole.or(claim.is_batch.then(|| claim.delivery.clone()));
        if let Some((_, window_ms)) = claim.rate {
            let claims = self.claims.entry(claim.queue.clone()).or_default();
            claims.0.extend(taken.iter().map(|_| claim.now_ms));
            claims.1 = window_ms;
        }
        let jobs = taken.into_iter().map(|it| self.jobs[it].begin(claim, &batch)).collect();
        Some(Claimed { batch: batch.unwrap_or(claim.delivery.clone()), jobs })
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
        job.attempts.extend(failure.filter(|_| lease.keeps_attempt).map(|(outcome, error)| FailedAttempt {
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
        job.end = self.ended;
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
        self.jobs[at].lease = None;
        self.jobs[at].row.status = Status::Failed;
        self.jobs[at].row.error = Some("cancelled".into());
        self.end(at, now_ms);
        Ending::Done
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
        Ending::Done
    }

    fn purge(&mut self, id: &str) -> Ending {
        let Some(at) = self.find(id) else { return Ending::NotFound };
        if self.jobs[at].died.is_none() {
            return Ending::NotAllowed;
        }
        self.jobs[at].exhume();
        self.forget_jobs();
        Ending::Done
    }

    /// Jobs whose last end has been passed over and which nothing keeps.
    fn forget_jobs(&mut self) {
        let forgotten = self.forgotten;
        self.jobs.retain(|job| job.is_live || job.died.is_some() || forgotten < job.end);
    }

    fn prune(&mut self, ended_before_ms: u64, now_ms: u64) {
        self.keys.retain(|_, (_, _, until_ms)| now_ms < *until_ms);
        for end in self.ends.iter().filter(|end| end.ended_ms < ended_before_ms) {
            self.forgotten = self.forgotten.max(end.seq);
        }
        self.forget_jobs();
        let done = self.told.min(self.forgotten);
        self.ends.retain(|end| done < end.seq);
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
        end: 0,
    }
}

impl Job {
    fn begin(&mut self, claim: &Claim, batch: &Option<String>) -> ClaimedJob {
        self.attempt += 1;
        self.fence += 1;
        self.batch = batch.clone();
        let (started_ms, until_ms) = (claim.now_ms, claim.lease_until_ms);
        self.lease = Some(Lease { started_ms, until_ms, keeps_attempt: claim.keep_attempts });
        self.row.status = Status::Processing;
        self.row.retry_count = self.attempt - 1;
        self.row.updated_ms = claim.now_ms;
        let lease = self.lease_id();
        let (user, key, payload) = (self.row.user_id.clone(), self.key.clone(), self.row.payload.clone());
        ClaimedJob { lease, user, version: self.version, key, payload, created_ms: self.row.created_ms }
    }

    pub(crate) fn lease_id(&self) -> LeaseId {
        let (queue, job) = (self.row.queue.clone(), self.row.id.clone());
        LeaseId { queue, job, attempt: self.attempt, fence: self.fence }
    }

    fn exhume(&mut self) {
        self.died = None;
        self.row.dead_letter_queue = None;
        self.attempts.clear();
    }
}

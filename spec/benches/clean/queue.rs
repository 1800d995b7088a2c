//! The small queue itself: jobs come in, wait, are granted as the policies say, end, and are told of.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use kew_spec::history::{
    Accepted, AttemptOutcome, Cancel, Cancelled, DeadAttempt, DeadLetter, DeadLetters, Drained, Ended, Enqueue, Event,
    Finished, Given, Granted, How, Lease, Notified, Processor, Redrive, Redriven, Reply, Session, Settled, Started,
    Stored, Then, Told, Via, What,
};
use kew_spec::lifecycle::Status;
use kew_spec::queues::{Jitter, Policy, Queues};

use super::Played;
use super::draw::Draw;
use super::tell;

/// The queue's clock at the player's zero: a tick of the schedule.
const EPOCH: u64 = 1_699_999_800_000;
/// How many users, entities and processors there are.
const USERS: u64 = 1_000;
const ENTITIES: u64 = 5_000;
const PROCESSORS: u64 = 8;
/// Slots of each processor: enough that none ever waits for one.
const SLOTS: u32 = 2_000;
/// New jobs come every so many milliseconds.
const ARRIVAL_MS: u64 = 5;

const PDF: &str = "pdf_generation";
const AI: &str = "ai_enhancement";
const MAIL: &str = "email_notification";
const SYNC: &str = "data_sync";
const EVENTS: &str = "analytics_processing";
const QUEUES: [&str; 5] = [PDF, AI, MAIL, SYNC, EVENTS];
const MAIL_AT: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    Waiting,
    Leased,
    Completed,
    Failed,
    Dead,
}

pub(super) struct Job {
    pub(super) id: String,
    user: u32,
    queue: u8,
    email: bool,
    pub(super) stand: Stand,
    /// Since it was made or redriven.
    pub(super) attempts: u32,
    key: Option<u32>,
    payload: String,
    pub(super) error: Option<&'static str>,
    pub(super) created: u64,
    pub(super) updated: u64,
    ready: u64,
    /// The job that this is the mail of.
    mail_of: Option<u32>,
    /// When and why its attempts failed.
    ends: Vec<(u64, &'static str)>,
}

impl Job {
    pub(super) fn user(&self) -> String {
        user(self.user)
    }
}

fn user(number: u32) -> String {
    format!("user-{number}")
}

fn entity(number: u32) -> String {
    format!("entity-{number}")
}

/// What happens later.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Arrive,
    Finish(u64),
    Read(u32),
    Cancel(u32),
    Redrive(u32),
    Look,
}

struct Delivery {
    id: String,
    batch: Option<String>,
    queue: usize,
    processor: String,
    jobs: Vec<(u32, AttemptOutcome)>,
}

pub(super) struct World<F> {
    take: F,
    draw: Draw,
    policies: Vec<Policy>,
    at: u64,
    events: u64,
    op: u64,
    seq: u64,
    later: BinaryHeap<Reverse<(u64, u64, Later)>>,
    jobs: Vec<Job>,
    /// Per queue, what waits and is not blocked: by when it is due.
    waiting: [BTreeSet<(u64, u32)>; 5],
    keys: BTreeMap<u32, VecDeque<u32>>,
    deliveries: BTreeMap<u64, Delivery>,
    starts: VecDeque<u64>,
}

impl<F: FnMut(Event)> World<F> {
    pub(super) fn new(take: F) -> Self {
        let queues = Queues::default();
        let policy = |name: &&str| queues.get(name).expect("it is one of the five").clone();
        Self {
            take,
            draw: Draw::new(7),
            policies: QUEUES.iter().map(policy).collect(),
            at: 0,
            events: 0,
            op: 0,
            seq: 0,
            later: BinaryHeap::new(),
            jobs: Vec::new(),
            waiting: Default::default(),
            keys: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            starts: VecDeque::new(),
        }
    }

    pub(super) fn played(&self) -> Played {
        Played { events: self.events, jobs: self.jobs.len() as u64 }
    }

    /// Jobs arrive until `events` are nearly told, then all ends, and all is read.
    pub(super) fn play(&mut self, events: u64) {
        for n in 1..=PROCESSORS {
            self.tell(Processor { processor: format!("processor-{n}"), up: true, slots: SLOTS });
        }
        for n in 0..USERS as u32 {
            self.tell(Session { session: format!("session-{n}"), user: user(n), open: true, resumed: false });
        }
        self.plan(ARRIVAL_MS, Later::Arrive);
        while let Some(Reverse((at, ..))) = self.later.peek() {
            self.at = *at;
            while self.later.peek().is_some_and(|Reverse((at, ..))| *at <= self.at) {
                let Some(Reverse((_, _, later))) = self.later.pop() else { break };
                let arrivals = self.events + self.jobs.len() as u64 + 2 < events;
                self.happen(later, arrivals);
            }
            self.grant_all();
        }
        self.end();
    }

    fn clock(&self) -> u64 {
        EPOCH + self.at
    }

    fn tell(&mut self, what: impl Into<What>) {
        self.events += 1;
        (self.take)(Event { at: self.at, what: what.into() });
    }

    fn plan(&mut self, at: u64, later: Later) {
        self.seq += 1;
        self.later.push(Reverse((at, self.seq, later)));
    }

    fn happen(&mut self, later: Later, arrivals: bool) {
        match later {
            Later::Arrive if arrivals => {
                self.arrive();
                self.plan(self.at + ARRIVAL_MS, Later::Arrive);
            }
            Later::Arrive | Later::Look => {}
            Later::Finish(number) => self.finish(number),
            Later::Read(job) => self.read(job),
            Later::Cancel(job) => self.cancel(job),
            Later::Redrive(job) => self.redrive(job),
        }
    }

    fn arrive(&mut self) {
        let queue = match self.draw.below(200) {
            0..60 => 0,
            60..68 => 1,
            68..110 => 2,
            110..160 => 3,
            _ => 4,
        };
        let who = self.draw.below(USERS) as u32;
        let key = (queue == 3).then(|| self.draw.below(ENTITIES) as u32);
        let payload = self.draw.fingerprint();
        let email = queue == 0 && self.draw.percent(5);
        let idempotency_key = (queue == 0 && self.draw.percent(5)).then(|| self.draw.fingerprint());
        let ask = Enqueue {
            op: 0,
            user: user(who),
            queue: QUEUES[queue].into(),
            payload: payload.clone(),
            key: key.map(entity),
            idempotency_key,
            email,
        };
        let waiting = key.and_then(|key| self.waiting_of(key));
        let op = self.ask(&ask);
        let job = match waiting {
            Some(job) => {
                self.jobs[job as usize].payload.clone_from(&payload);
                self.accept(job, &ask, How::Coalesced);
                job
            }
            None => {
                let job = self.make(queue, who, payload, key, email, None);
                self.accept(job, &ask, How::Created);
                self.enter(job);
                job
            }
        };
        self.reply(op, Some(job));
        if ask.idempotency_key.is_some() && self.draw.percent(30) {
            let op = self.ask(&ask);
            self.accept(job, &ask, How::Replayed);
            self.reply(op, Some(job));
        }
        if waiting.is_none() && self.draw.percent(25) {
            let read_at = self.at + 1 + self.draw.below(2_000);
            self.plan(read_at, Later::Read(job));
        }
        if queue == MAIL_AT && self.draw.percent(2) {
            self.plan(self.at + 50, Later::Cancel(job));
        }
    }

    fn ask(&mut self, ask: &Enqueue) -> u64 {
        self.op += 1;
        self.tell(Enqueue { op: self.op, ..ask.clone() });
        self.op
    }

    fn reply(&mut self, op: u64, job: Option<u32>) {
        let job = job.map(|job| self.jobs[job as usize].id.clone());
        self.tell(Reply { op, outcome: Told::Ok, job, error: None });
    }

    /// The newest job of the entity that waits, for its first delivery or for a retry.
    fn waiting_of(&self, key: u32) -> Option<u32> {
        let jobs = self.keys.get(&key)?;
        jobs.iter().rev().copied().find(|&job| self.jobs[job as usize].stand == Stand::Waiting)
    }

    fn make(
        &mut self,
        queue: usize,
        user: u32,
        payload: String,
        key: Option<u32>,
        email: bool,
        mail_of: Option<u32>,
    ) -> u32 {
        let clock = self.clock();
        let job = Job {
            id: self.draw.id(clock),
            user,
            queue: queue as u8,
            email,
            stand: Stand::Waiting,
            attempts: 0,
            key,
            payload,
            error: None,
            created: clock,
            updated: clock,
            ready: self.policies[queue].first_ready_at(clock),
            mail_of,
            ends: Vec::new(),
        };
        self.jobs.push(job);
        self.jobs.len() as u32 - 1
    }

    fn accept(&mut self, job: u32, ask: &Enqueue, how: How) {
        let it = &self.jobs[job as usize];
        let accepted = Accepted {
            job: it.id.clone(),
            queue: ask.queue.clone(),
            user: ask.user.clone(),
            payload: ask.payload.clone(),
            how,
            key: ask.key.clone(),
            email: ask.email,
            clock: self.clock(),
        };
        self.tell(accepted);
    }

    fn enter(&mut self, job: u32) {
        if let Some(key) = self.jobs[job as usize].key {
            self.keys.entry(key).or_default().push_back(job);
        }
        self.wait(job);
    }

    fn wait(&mut self, job: u32) {
        let it = &self.jobs[job as usize];
        let (queue, ready) = (it.queue as usize, it.ready);
        if it.key.is_none_or(|key| self.keys.get(&key).and_then(|jobs| jobs.front()) == Some(&job)) {
            self.waiting[queue].insert((ready, job));
            let wait_ms = self.policies[queue].batch.as_ref().and_then(|batch| batch.wait_ms).unwrap_or(0);
            let due = ready.max(self.clock()) + wait_ms;
            if self.clock() < due {
                self.plan(due - EPOCH, Later::Look);
            }
        }
    }

    /// Grants whatever may be granted now, the highest level first.
    fn grant_all(&mut self) {
        loop {
            let clock = self.clock();
            let level = |queue: usize| {
                let (ready, _) = self.head(queue)?;
                Some((self.policies[queue].priority.level_after(clock - ready), Reverse(queue)))
            };
            let Some((_, Reverse(queue))) = (0..QUEUES.len()).filter_map(level).max() else { return };
            self.grant(queue);
        }
    }

    /// The longest waiting job of `queue`, if the queue may deliver.
    fn head(&self, queue: usize) -> Option<(u64, u32)> {
        let clock = self.clock();
        let head = self.waiting[queue].first().copied().filter(|(ready, _)| *ready <= clock)?;
        let policy = &self.policies[queue];
        if let Some((batch, wait_ms)) = policy.batch.as_ref().and_then(|batch| Some((batch, batch.wait_ms?))) {
            let full =
                self.waiting[queue].iter().take_while(|(ready, _)| *ready <= clock).count() >= batch.size as usize;
            (full || head.0 + wait_ms <= clock).then_some(())?;
        }
        if let Some(limit) = &policy.rate_limit {
            let full = limit.starts as usize <= self.starts.len();
            (!full || self.starts[0] + limit.per_ms <= clock).then_some(())?;
        }
        Some(head)
    }

    fn grant(&mut self, queue: usize) {
        let clock = self.clock();
        let (size, timeout_ms) = (self.policies[queue].batch_size_max(), self.policies[queue].timeout_ms);
        let due = self.waiting[queue].iter().copied().take_while(|(ready, _)| *ready <= clock);
        let taken: Vec<(u64, u32)> = due.take(size as usize).collect();
        for entry in &taken {
            self.waiting[queue].remove(entry);
        }
        if let Some(limit) = &self.policies[queue].rate_limit {
            self.starts.push_back(clock);
            if (limit.starts as usize) < self.starts.len() {
                self.starts.pop_front();
            }
            if limit.starts as usize == self.starts.len() && !self.waiting[queue].is_empty() {
                self.plan(self.starts[0] + limit.per_ms - EPOCH, Later::Look);
            }
        }
        self.seq += 1;
        let number = self.seq;
        let delivery = Delivery {
            id: self.draw.id(clock),
            batch: (1 < size).then(|| self.draw.id(clock)),
            queue,
            processor: format!("processor-{}", 1 + number % PROCESSORS),
            jobs: Vec::new(),
        };
        self.hand_over(number, delivery, &taken, timeout_ms);
    }

    fn hand_over(&mut self, number: u64, mut delivery: Delivery, taken: &[(u64, u32)], timeout_ms: u64) {
        let (clock, queue) = (self.clock(), delivery.queue);
        let timed_out = 1 == taken.len() && self.draw.below(500) == 0;
        let (mut leases, mut given) = (Vec::new(), Vec::new());
        for (_, job) in taken {
            let fails = self.draw.percent(4);
            let it = &mut self.jobs[*job as usize];
            it.stand = Stand::Leased;
            it.attempts += 1;
            it.updated = clock;
            leases.push(Lease { job: it.id.clone(), attempt: it.attempts });
            given.push(Given { job: it.id.clone(), attempt: it.attempts, told: None, payload: it.payload.clone() });
            let outcome = match (timed_out, fails) {
                (true, _) => AttemptOutcome::TimedOut,
                (false, true) => AttemptOutcome::Failed,
                (false, false) => AttemptOutcome::Completed,
            };
            delivery.jobs.push((*job, outcome));
        }
        self.tell(Granted {
            delivery: delivery.id.clone(),
            batch: delivery.batch.clone(),
            queue: QUEUES[queue].into(),
            processor: delivery.processor.clone(),
            jobs: leases,
            lease_until: clock + timeout_ms + 5_000,
            clock,
        });
        self.tell(Started {
            processor: delivery.processor.clone(),
            delivery: Some(delivery.id.clone()),
            queue: QUEUES[queue].into(),
            jobs: given,
        });
        let lasts_ms = if timed_out { timeout_ms } else { 20 + self.draw.below(500) };
        self.plan(self.at + lasts_ms, Later::Finish(number));
        self.deliveries.insert(number, delivery);
    }

    fn finish(&mut self, number: u64) {
        let Some(delivery) = self.deliveries.remove(&number) else { return };
        self.store(&delivery);
        let ended = |&(job, outcome): &(u32, AttemptOutcome)| {
            let it = &self.jobs[job as usize];
            let error = (outcome == AttemptOutcome::Failed).then(|| error_of(outcome).to_owned());
            Ended { job: it.id.clone(), attempt: it.attempts, outcome, error }
        };
        let jobs = delivery.jobs.iter().map(ended).collect();
        self.tell(Finished { processor: delivery.processor.clone(), delivery: Some(delivery.id.clone()), jobs });
        for &(job, outcome) in &delivery.jobs {
            self.settle(job, outcome);
        }
    }

    fn store(&mut self, delivery: &Delivery) {
        let done = delivery.jobs.iter().filter(|(_, outcome)| *outcome == AttemptOutcome::Completed);
        let done: Vec<u32> = done.map(|(job, _)| *job).collect();
        let Some(&first) = done.first().filter(|_| 3 <= delivery.queue) else { return };
        let first = &self.jobs[first as usize];
        let of_entity = delivery.queue == 3;
        let stored = Stored {
            queue: QUEUES[delivery.queue].into(),
            jobs: done.iter().map(|&job| self.jobs[job as usize].id.clone()).collect(),
            batch: delivery.batch.clone(),
            key: first.key.map(entity),
            payload: of_entity.then(|| first.payload.clone()),
            applied: true,
        };
        self.tell(stored);
    }

    fn settle(&mut self, job: u32, outcome: AttemptOutcome) {
        let (clock, at) = (self.clock(), self.at);
        let jitter = Jitter::from_random(self.draw.next());
        let it = &mut self.jobs[job as usize];
        let policy = &self.policies[it.queue as usize];
        it.updated = clock;
        let then = match (outcome, policy.retry_at(it.attempts, clock, jitter)) {
            (AttemptOutcome::Completed, _) => Then::Completed,
            (_, Some(due)) => Then::RetryAt(due),
            (_, None) if policy.dead_letter_queue.is_some() => Then::DeadLetter,
            (_, None) => Then::Failed,
        };
        it.error = (outcome != AttemptOutcome::Completed).then(|| error_of(outcome));
        it.ends.extend(it.error.map(|error| (clock, error)));
        it.stand = match then {
            Then::Completed => Stand::Completed,
            Then::RetryAt(_) => Stand::Waiting,
            Then::Failed => Stand::Failed,
            Then::DeadLetter => Stand::Dead,
        };
        let settled = Settled {
            job: it.id.clone(),
            attempt: it.attempts,
            outcome,
            accepted: true,
            then: Some(then),
            error: it.error.map(str::to_owned),
            delay_asked_ms: None,
            clock,
        };
        self.tell(settled);
        match then {
            Then::RetryAt(due) => {
                self.jobs[job as usize].ready = due;
                self.wait(job);
            }
            Then::DeadLetter if self.draw.percent(30) => {
                self.plan(at + 3_000, Later::Redrive(job));
                self.ended(job);
            }
            _ => self.ended(job),
        }
    }

    /// Tells the user, asks for the mail, and lets the next of the entity come forward.
    fn ended(&mut self, job: u32) {
        let it = &self.jobs[job as usize];
        let status = if it.stand == Stand::Completed { Status::Completed } else { Status::Failed };
        let (who, email, mail_of, key) = (it.user, it.email, it.mail_of, it.key);
        let told = |job: &Job, via, session| Notified { user: user(who), via, session, job: job.id.clone(), status };
        let by_session = told(it, Via::Websocket, Some(format!("session-{who}")));
        let by_mail = mail_of.filter(|_| status == Status::Completed).map(|of| {
            let of = &self.jobs[of as usize];
            let status = if of.stand == Stand::Completed { Status::Completed } else { Status::Failed };
            Notified { status, ..told(of, Via::Email, None) }
        });
        by_mail.into_iter().for_each(|it| self.tell(it));
        self.tell(by_session);
        if email {
            let payload = self.draw.fingerprint();
            let mail = self.make(MAIL_AT, who, payload.clone(), None, false, Some(job));
            let ask = Enqueue {
                op: 0,
                user: user(who),
                queue: MAIL.into(),
                payload,
                key: None,
                idempotency_key: None,
                email: false,
            };
            self.accept(mail, &ask, How::Created);
            self.enter(mail);
        }
        if self.draw.percent(30) {
            let read_at = self.at + 1 + self.draw.below(1_000);
            self.plan(read_at, Later::Read(job));
        }
        let Some(key) = key else { return };
        let Some(jobs) = self.keys.get_mut(&key) else { return };
        jobs.pop_front();
        match jobs.front().copied() {
            Some(next) => self.wait(next),
            None => drop(self.keys.remove(&key)),
        }
    }

    fn read(&mut self, job: u32) {
        let it = &self.jobs[job as usize];
        let dead_letter_queue = self.policies[it.queue as usize].dead_letter_queue.as_deref();
        let what = tell::read(it, self.at, dead_letter_queue);
        self.tell(what);
    }

    fn cancel(&mut self, job: u32) {
        let it = &mut self.jobs[job as usize];
        if it.stand != Stand::Waiting || it.attempts != 0 {
            return;
        }
        self.waiting[it.queue as usize].remove(&(it.ready, job));
        it.stand = Stand::Failed;
        it.error = Some("cancelled");
        it.updated = EPOCH + self.at;
        let (id, who) = (it.id.clone(), it.user());
        self.op += 1;
        let op = self.op;
        self.tell(Cancel { op, user: who, job: id.clone() });
        self.tell(Cancelled { job: id, clock: self.clock() });
        self.tell(Reply { op, outcome: Told::Ok, job: None, error: None });
        self.ended(job);
    }

    fn redrive(&mut self, job: u32) {
        let clock = self.clock();
        let it = &mut self.jobs[job as usize];
        it.stand = Stand::Waiting;
        (it.attempts, it.ready, it.updated, it.error) = (0, clock, clock, None);
        it.ends.clear();
        let id = it.id.clone();
        self.op += 1;
        let op = self.op;
        self.tell(Redrive { op, job: id.clone() });
        self.tell(Redriven { job: id, clock });
        self.tell(Reply { op, outcome: Told::Ok, job: None, error: None });
        self.enter(job);
    }

    /// All has ended: the queue has drained, and every status and the dead letter queue are read.
    fn end(&mut self) {
        self.at += 2_000;
        self.tell(Drained { ok: true, bound_ms: 60_000 });
        self.at += 10;
        for job in 0..self.jobs.len() as u32 {
            self.read(job);
        }
        let dead = self.jobs.iter().filter(|job| job.stand == Stand::Dead);
        let entries = dead.map(|job| DeadLetter {
            job: job.id.clone(),
            payload: job.payload.clone(),
            error: job.error.map(str::to_owned),
            attempts: Some(attempts_of(job)),
        });
        let entries = entries.collect();
        self.at += 1;
        self.tell(DeadLetters { dead_letter_queue: "pdf_generation_dlq".into(), asked_at: self.at, entries });
    }
}

fn attempts_of(job: &Job) -> Vec<DeadAttempt> {
    let ends = job.ends.iter().zip(1..);
    ends.map(|(&(ended_at, error), attempt)| DeadAttempt { attempt, error: error.to_owned(), ended_at }).collect()
}

fn error_of(outcome: AttemptOutcome) -> &'static str {
    if outcome == AttemptOutcome::TimedOut { "timed out" } else { "the handler failed" }
}

//! How far the history has come: jobs with their state and last attempt, processors, open operations, faults, sessions.
//! It believes the queue's word, since it judges nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::history::{
    Accepted, AttemptOutcome, Event, Fault, Finished, Granted, Header, How, Processor, Reply, Settled, Started, Then,
    Told, What,
};
use crate::queues::{Policy, Queues};

/// The bookkeeping that moments and cells are told from. It stands as it was before the event that is looked at.
pub(super) struct Story {
    pub(super) queues: Queues,
    pub(super) jobs: BTreeMap<String, Job>,
    /// Jobs that wait, by queue: when each is due on the queue's clock.
    pub(super) waiting: BTreeMap<String, BTreeSet<(u64, String)>>,
    /// Jobs of an entity that have not ended.
    pub(super) of_entity: BTreeMap<(String, String), BTreeSet<String>>,
    /// Every processor that was ever seen.
    pub(super) processors: BTreeMap<String, Slots>,
    /// Operations without an answer.
    pub(super) ops: BTreeMap<u64, Op>,
    /// By user and idempotency key: whether a request's reply was lost.
    pub(super) lost_replies: BTreeSet<(String, String)>,
    pub(super) faults: BTreeMap<u64, Fault>,
    /// Open sessions: when each was opened, and whether to go on where another had ended.
    pub(super) sessions: BTreeMap<String, (u64, bool)>,
    pub(super) last_grant: Option<(u64, Granted)>,
    /// The last starts of queues with a rate limit, on the queue's clock, the oldest first.
    pub(super) starts: BTreeMap<String, VecDeque<u64>>,
    clock: Option<(u64, u64)>,
    dead_letters: usize,
    ended: usize,
}

/// What is known of a job.
pub(super) struct Job {
    pub(super) queue: String,
    pub(super) key: Option<String>,
    pub(super) created_at: u64,
    pub(super) state: State,
    /// Attempts since it was created or redriven.
    pub(super) attempts: u32,
    /// How many attempts were lost.
    pub(super) lost: u32,
    pub(super) redriven: bool,
    pub(super) last: Option<Attempt>,
    /// When it ended, on the player's clock.
    pub(super) ended_at: Option<u64>,
}

/// A job's state, as a fault may find it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Due at this time of the queue's clock.
    Waiting(u64),
    Processing,
    DeadLettered,
    Ended,
}

/// A job's last attempt.
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) processor: String,
    pub(super) lease_until: u64,
    pub(super) is_running: bool,
    /// Its processor has gone down since.
    pub(super) is_orphan: bool,
    pub(super) outcome: Option<AttemptOutcome>,
}

/// A processor's slots and what it holds.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) is_up: bool,
    pub(super) slots: usize,
    /// Per delivery the jobs that are not settled.
    pub(super) busy: BTreeMap<String, BTreeSet<String>>,
}

/// An operation without an answer.
pub(super) struct Op {
    pub(super) at: u64,
    pub(super) what: What,
    /// The queue has done it.
    pub(super) is_committed: bool,
}

impl Story {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            queues: header.queues.clone(),
            jobs: BTreeMap::new(),
            waiting: BTreeMap::new(),
            of_entity: BTreeMap::new(),
            processors: BTreeMap::new(),
            ops: BTreeMap::new(),
            lost_replies: BTreeSet::new(),
            faults: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_grant: None,
            starts: BTreeMap::new(),
            clock: None,
            dead_letters: 0,
            ended: 0,
        }
    }

    pub(super) fn policy(&self, queue: &str) -> Option<&Policy> {
        self.queues.get(queue)
    }

    /// The policy of a job's queue.
    pub(super) fn policy_of(&self, job: &str) -> Option<&Policy> {
        self.policy(&self.jobs.get(job)?.queue)
    }

    /// What the queue's clock shows at the player's `at`, going by its last reading.
    pub(super) fn clock(&self, at: u64) -> u64 {
        self.clock.map_or(at, |(read_at, clock)| clock + (at - read_at))
    }

    /// Which of [`super::STATES`] some job is in. Of a processor that is named, only its own work is processing.
    pub(super) fn states(&self, at: u64, processor: Option<&str>) -> [bool; 5] {
        let clock = self.clock(at);
        let lines = || self.waiting.values().filter(|line| !line.is_empty());
        let is_busy = |slots: &Slots| !slots.busy.is_empty();
        [
            lines().any(|line| line.first().is_some_and(|(due, _)| *due <= clock)),
            lines().any(|line| line.last().is_some_and(|(due, _)| clock < *due)),
            match processor {
                Some(name) => self.processors.get(name).is_some_and(is_busy),
                None => self.processors.values().any(is_busy),
            },
            0 < self.dead_letters,
            0 < self.ended,
        ]
    }

    /// Takes in one event.
    pub(super) fn apply(&mut self, event: &Event) {
        let at = event.at;
        match &event.what {
            What::Accepted(it) => self.accept(at, it),
            What::Granted(it) => self.grant(at, it),
            What::Settled(it) if it.accepted => self.settle(at, it),
            What::Cancelled(it) => self.end(at, it.clock, &it.job, State::Ended),
            What::Purged(it) => self.end(at, it.clock, &it.job, State::Ended),
            What::Redriven(it) => self.redrive(at, it.clock, &it.job),
            What::Started(it) => self.start(it),
            What::Finished(it) => self.finish(it),
            What::Processor(it) => self.processor(it),
            What::Fault(it) if it.active => drop(self.faults.insert(it.fault, it.clone())),
            What::Fault(it) => drop(self.faults.remove(&it.fault)),
            What::Session(it) if it.open => drop(self.sessions.insert(it.session.clone(), (at, it.resumed))),
            What::Session(it) => drop(self.sessions.remove(&it.session)),
            What::Reply(it) => self.reply(it),
            What::Enqueue(it) => self.ask(at, it.op, &event.what),
            What::Cancel(it) => self.ask(at, it.op, &event.what),
            What::Redrive(it) => self.ask(at, it.op, &event.what),
            _ => {}
        }
    }

    fn read_clock(&mut self, at: u64, clock: u64) {
        self.clock = Some((at, clock));
    }

    fn ask(&mut self, at: u64, op: u64, what: &What) {
        self.ops.insert(op, Op { at, what: what.clone(), is_committed: false });
    }

    fn reply(&mut self, it: &Reply) {
        let Some(op) = self.ops.remove(&it.op) else { return };
        if let What::Enqueue(asked) = op.what
            && let (Told::Unknown, Some(key)) = (it.outcome, asked.idempotency_key)
        {
            self.lost_replies.insert((asked.user, key));
        }
    }

    /// The oldest open request that `it` may be of counts as done.
    fn commit(&mut self, it: &Accepted) {
        let is_it = |op: &&mut Op| match &op.what {
            What::Enqueue(asked) => {
                !op.is_committed && (&asked.user, &asked.queue, &asked.payload) == (&it.user, &it.queue, &it.payload)
            }
            _ => false,
        };
        if let Some(op) = self.ops.values_mut().find(is_it) {
            op.is_committed = true;
        }
    }

    fn accept(&mut self, at: u64, it: &Accepted) {
        self.read_clock(at, it.clock);
        self.commit(it);
        if it.how != How::Created {
            return;
        }
        let due = self.policy(&it.queue).map_or(it.clock, |policy| policy.first_ready_at(it.clock));
        if let Some(key) = &it.key {
            self.of_entity.entry((it.queue.clone(), key.clone())).or_default().insert(it.job.clone());
        }
        self.waiting.entry(it.queue.clone()).or_default().insert((due, it.job.clone()));
        let job = Job {
            queue: it.queue.clone(),
            key: it.key.clone(),
            created_at: at,
            state: State::Waiting(due),
            attempts: 0,
            lost: 0,
            redriven: false,
            last: None,
            ended_at: None,
        };
        self.jobs.insert(it.job.clone(), job);
    }

    fn grant(&mut self, at: u64, it: &Granted) {
        self.read_clock(at, it.clock);
        let open = it.jobs.iter().map(|lease| lease.job.clone()).collect();
        self.processors.entry(it.processor.clone()).or_default().busy.insert(it.delivery.clone(), open);
        for lease in &it.jobs {
            self.move_to(&lease.job, State::Processing);
            if let Some(job) = self.jobs.get_mut(&lease.job) {
                job.attempts += 1;
                job.last = Some(Attempt {
                    number: lease.attempt,
                    processor: it.processor.clone(),
                    lease_until: it.lease_until,
                    is_running: false,
                    is_orphan: false,
                    outcome: None,
                });
            }
        }
        if let Some(limit) = self.policy(&it.queue).and_then(|policy| policy.rate_limit.clone()) {
            let starts = self.starts.entry(it.queue.clone()).or_default();
            starts.extend(it.jobs.iter().map(|_| it.clock));
            let surplus = starts.len().saturating_sub(limit.starts as usize);
            starts.drain(..surplus);
        }
        self.last_grant = Some((at, it.clone()));
    }

    fn settle(&mut self, at: u64, it: &Settled) {
        self.read_clock(at, it.clock);
        let Some(job) = self.jobs.get_mut(&it.job) else { return };
        job.lost += u32::from(it.outcome == AttemptOutcome::Lost);
        if let Some(last) = &mut job.last {
            last.outcome = Some(it.outcome);
        }
        self.leave(&it.job);
        match it.then {
            Some(Then::RetryAt(due)) => self.move_to(&it.job, State::Waiting(due)),
            Some(Then::DeadLetter) => self.end(at, it.clock, &it.job, State::DeadLettered),
            Some(Then::Completed | Then::Failed) => self.end(at, it.clock, &it.job, State::Ended),
            None => {}
        }
    }

    /// The job is off its delivery; with its last job a delivery frees its slot.
    fn leave(&mut self, job: &str) {
        for slots in self.processors.values_mut() {
            slots.busy.retain(|_, open| {
                open.remove(job);
                !open.is_empty()
            });
        }
    }

    fn end(&mut self, at: u64, clock: u64, job: &str, state: State) {
        self.read_clock(at, clock);
        self.leave(job);
        self.move_to(job, state);
        let Some(it) = self.jobs.get_mut(job) else { return };
        it.ended_at = Some(at);
        if let Some(key) = &it.key
            && let Some(jobs) = self.of_entity.get_mut(&(it.queue.clone(), key.clone()))
        {
            jobs.remove(job);
        }
    }

    fn redrive(&mut self, at: u64, clock: u64, job: &str) {
        self.read_clock(at, clock);
        let due = self.policy_of(job).map_or(clock, |policy| policy.first_ready_at(clock));
        self.move_to(job, State::Waiting(due));
        if let Some(it) = self.jobs.get_mut(job) {
            it.redriven = true;
            it.attempts = 0;
            it.last = None;
            it.ended_at = None;
        }
    }

    fn move_to(&mut self, job: &str, state: State) {
        let Some(it) = self.jobs.get_mut(job) else { return };
        let line = self.waiting.entry(it.queue.clone()).or_default();
        match it.state {
            State::Waiting(due) => drop(line.remove(&(due, job.to_owned()))),
            State::DeadLettered => self.dead_letters -= 1,
            State::Ended => self.ended -= 1,
            State::Processing => {}
        }
        match state {
            State::Waiting(due) => drop(line.insert((due, job.to_owned()))),
            State::DeadLettered => self.dead_letters += 1,
            State::Ended => self.ended += 1,
            State::Processing => {}
        }
        it.state = state;
    }

    fn start(&mut self, it: &Started) {
        for given in &it.jobs {
            if let Some(last) = self.attempt(&given.job, given.attempt) {
                last.is_running = true;
            }
        }
    }

    fn finish(&mut self, it: &Finished) {
        for ended in &it.jobs {
            if let Some(last) = self.attempt(&ended.job, ended.attempt) {
                last.is_running = false;
            }
        }
    }

    fn attempt(&mut self, job: &str, number: u32) -> Option<&mut Attempt> {
        let last = self.jobs.get_mut(job)?.last.as_mut()?;
        (last.number == number).then_some(last)
    }

    fn processor(&mut self, it: &Processor) {
        let slots = self.processors.entry(it.processor.clone()).or_default();
        slots.is_up = it.up;
        if it.up {
            slots.slots = it.slots as usize;
            return;
        }
        for job in slots.busy.values().flatten() {
            if let Some(last) = self.jobs.get_mut(job).and_then(|job| job.last.as_mut()) {
                last.is_orphan = true;
                last.is_running = false;
            }
        }
    }
}

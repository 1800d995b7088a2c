//! What a history has said so far: jobs with their attempts, open operations, processors, queues, and calm time.
//!
//! A live job is kept in full. An ended one shrinks to an [`End`], so that memory is bounded by what is open and a small
//! remainder per ended job, which resurrections are told by.

use std::rc::Rc;

use super::calm::Calm;
use super::named::{Known, Named};
use super::number::{Job, Key, Number, PerNumber, Processor, Queue, User};
use super::print::{Print, Table};
use super::slots::Processors;
use super::waiting::{Line, Place};
use crate::history::{
    Accepted, AttemptOutcome, Event, Granted, Header, How, Reply, Settled, Sight, Slack, Started, Then, Told, What,
};
use crate::queues::{Backoff, Policy};

/// The bookkeeping of one history.
pub(super) struct Ledger {
    pub(super) header: Header,
    /// The names behind the numbers.
    pub(super) known: Known,
    /// How each job stands by the queue's own word.
    jobs: PerNumber<Standing>,
    /// Dead letters as they stood: they must keep all this, and may come back.
    dead: Table<Job, Box<Live>>,
    /// Operations without a reply yet.
    open_ops: Table<u64, Asked>,
    /// How often a purge of each job was asked for and not refused.
    purges: Table<Job, u64>,
    /// Deliveries of which some job is still leased.
    deliveries: Table<Print, Delivery>,
    queues: PerNumber<AtQueue>,
    /// The policies, of the first queues by number.
    policies: Vec<Policy>,
    /// Processors that are up, with their slots and what they are at work on.
    pub(super) processors: Processors,
    pub(super) calm: Calm,
    /// The queue's clock, as last read.
    pub(super) clock: u64,
}

/// A job as the queue's word has it. One whose id is used again after its end is live and ended.
#[derive(Debug, Default)]
struct Standing {
    live: Option<Box<Live>>,
    end: Option<End>,
}

/// What a client asked for and was not answered yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) line: u64,
    pub(super) named: Named,
    pub(super) what: Question,
}

/// The kind of a client's question, with what of it is no name.
#[derive(Debug)]
pub(super) enum Question {
    Enqueue(Enqueue),
    Cancel,
    Redrive,
    Purge,
    Pause,
    Resume,
}

/// What is kept of a client's enqueue.
#[derive(Debug)]
pub(super) struct Enqueue {
    pub(super) op: u64,
    pub(super) payload: Rc<str>,
    pub(super) idempotency_key: Option<Box<str>>,
    pub(super) email: bool,
}

/// How it stands with one queue.
#[derive(Debug, Default)]
pub(super) struct AtQueue {
    /// What waits in it.
    pub(super) line: Line,
    /// Whether it is under a pause.
    pub(super) paused: bool,
    /// When it was last resumed, on the player's clock; 0 if it never was.
    pub(super) resumed_at: u64,
    /// When a delivery of it last ended, on the player's clock; 0 if none did.
    pub(super) delivered_at: u64,
    /// How many of its deliveries are open.
    pub(super) deliveries: usize,
}

/// A job that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// Its place among those that wait.
    place: Place,
    pub(super) queue: Queue,
    pub(super) user: User,
    pub(super) key: Option<Key>,
    /// The newest accepted payload.
    pub(super) payload: Rc<str>,
    pub(super) email: bool,
    /// The queue's time when it was created (or redriven).
    pub(super) created_clock: u64,
    /// The queue's time from which on it waits: created, released by a retry's backoff, redriven.
    pub(super) ready_clock: u64,
    /// The player's time of the event since which it waits and no older job of its key is in the way.
    pub(super) waits_from: u64,
    /// The queue's time when the older job of its key ended that was in its way; 0 if there was none.
    pub(super) freed_clock: u64,
    /// The attempts since it was created (or redriven), in order.
    pub(super) attempts: Vec<Attempt>,
    /// Deliveries over its whole life, redrives included.
    pub(super) deliveries: u32,
    /// The lines that speak of it, the newest [`LINES_MAX`].
    pub(super) lines: Vec<u64>,
}

/// How many lines per job are remembered to show in a finding.
const LINES_MAX: usize = 40;

/// How many lines speak of a job whose first attempt completes: made, granted, settled.
const LINES_USUAL: usize = 4;

/// One attempt, as the queue granted it.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// The number the queue gave it.
    pub(super) number: u32,
    delivery: Print,
    /// What the outside world knows the delivery's batch by.
    batch: Option<Print>,
    pub(super) processor: Processor,
    pub(super) granted_at: u64,
    pub(super) granted_clock: u64,
    pub(super) granted_line: u64,
    pub(super) lease_until: u64,
    pub(super) end: Option<AttemptEnd>,
}

/// How the queue ended an attempt.
#[derive(Clone, Debug)]
pub(super) struct AttemptEnd {
    pub(super) outcome: AttemptOutcome,
    pub(super) then: Option<Then>,
    pub(super) error: Option<Box<str>>,
    pub(super) delay_asked_ms: Option<u64>,
    pub(super) clock: u64,
}

/// What remains of an ended job.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) how: EndHow,
    pub(super) at: u64,
    pub(super) clock: u64,
    pub(super) line: u64,
    /// Deliveries since it was created (or redriven).
    pub(super) attempts: u32,
}

/// The ways a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndHow {
    Completed,
    Failed,
    DeadLetter,
    Cancelled,
    Purged,
}

impl EndHow {
    /// The end in words, after "the job had".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "been given up",
            Self::DeadLetter => "become a dead letter",
            Self::Cancelled => "been cancelled",
            Self::Purged => "been dropped",
        }
    }
}

/// The word for `outcome` in a history.
pub(super) fn word(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Completed => "completed",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::TimedOut => "timed-out",
        AttemptOutcome::Lost => "lost",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

/// An open delivery.
#[derive(Clone, Debug)]
struct Delivery {
    queue: Queue,
    processor: Processor,
    /// Its jobs that are leased, in the order of their numbers.
    open: Vec<Job>,
}

impl Live {
    /// The attempt that holds the lease, if one does.
    pub(super) fn leased(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.end.is_none())
    }

    /// The lines that speak of the job, and then `line`.
    pub(super) fn lines_and(&self, line: u64) -> Vec<u64> {
        self.lines.iter().copied().filter(|&earlier| earlier != line).chain([line]).collect()
    }

    fn note(&mut self, line: u64) {
        if self.lines.len() == LINES_MAX {
            self.lines.remove(1); // The first line tells where the job came from.
        }
        self.lines.push(line);
    }
}

impl Ledger {
    pub(super) fn new(header: Header) -> Self {
        Self {
            known: Known::new(&header.queues),
            jobs: PerNumber::default(),
            dead: Table::default(),
            open_ops: Table::default(),
            purges: Table::default(),
            deliveries: Table::default(),
            queues: PerNumber::default(),
            policies: header.queues.iter().map(|(_, policy)| policy.clone()).collect(),
            processors: Processors::default(),
            calm: Calm::new(header.slack.recovery_ms, header.slack.late_ms),
            clock: 0,
            header,
        }
    }

    /// `job`, if it has not ended.
    pub(super) fn live(&self, job: Job) -> Option<&Live> {
        self.jobs.get(job)?.live.as_deref()
    }

    /// The end of `job`, if it has ended.
    pub(super) fn ended(&self, job: Job) -> Option<&End> {
        self.jobs.get(job)?.end.as_ref()
    }

    /// All jobs that have not ended, in the order of their ids.
    pub(super) fn all_live(&self) -> impl Iterator<Item = (Job, &Live)> {
        let live = self.jobs.iter().filter(|(_, standing): &(Job, &Standing)| standing.live.is_some());
        let live = self.known.jobs.in_order(live.map(|(job, _)| job).collect());
        live.into_iter().filter_map(|job| Some((job, self.live(job)?)))
    }

    /// What was asked with the operation `op`, until it is answered.
    pub(super) fn asked(&self, op: u64) -> Option<&Asked> {
        self.open_ops.get(op)
    }

    /// How often a purge of `job` was asked for. One that was refused has asked for nothing.
    pub(super) fn purges_asked(&self, job: Job) -> u64 {
        self.purges.get(job).copied().unwrap_or_default()
    }

    /// The queues with a policy, in the order of their names.
    pub(super) fn queues(&self) -> impl Iterator<Item = (Queue, &Policy)> {
        self.policies.iter().enumerate().map(|(index, policy)| (Queue::of(index), policy))
    }

    pub(super) fn policy(&self, queue: Queue) -> Option<&Policy> {
        self.policies.get(queue.index())
    }

    pub(super) fn job_name(&self, job: Job) -> &str {
        self.known.jobs.text(job)
    }

    pub(super) fn queue_name(&self, queue: Queue) -> &str {
        self.known.queues.text(queue)
    }

    pub(super) fn slack(&self) -> Slack {
        self.header.slack
    }

    /// How it stands with `queue`, unless nothing ever waited in it and it was never paused.
    pub(super) fn at_queue(&self, queue: Queue) -> Option<&AtQueue> {
        self.queues.get(queue)
    }

    pub(super) fn is_paused(&self, queue: Queue) -> bool {
        self.at_queue(queue).is_some_and(|at| at.paused)
    }

    fn resumed_at(&self, queue: Queue) -> u64 {
        self.at_queue(queue).map_or(0, |at| at.resumed_at)
    }

    /// Lets time pass until `at`, before the checkers see what happens then.
    pub(super) fn pass(&mut self, at: u64) {
        while let Some(over) = self.processors.expire(at) {
            self.update_slot(over);
        }
    }

    /// Takes in one event, after the checkers have seen it.
    pub(super) fn apply(&mut self, line: u64, event: &Event, named: Named, jobs: &[Job]) {
        let at = event.at;
        match &event.what {
            What::Accepted(accepted) => self.accept(line, at, accepted, named),
            What::Granted(granted) => self.grant(line, at, granted, named, jobs),
            What::Settled(settled) => self.settle(line, at, settled, named.job),
            What::Cancelled(it) => self.end(line, at, it.clock, named.job, EndHow::Cancelled),
            What::Purged(it) => self.end(line, at, it.clock, named.job, EndHow::Purged),
            What::Redriven(it) => self.redrive(line, at, it.clock, named.job),
            What::Paused(it) => self.pause(at, named.queue, it.paused, it.clock),
            What::Started(it) => self.start(at, it, named, jobs),
            What::Finished(it) => {
                self.processors.finish(it, named, jobs);
                self.update_slot(at);
            }
            What::Processor(it) => {
                self.processors.come_or_go(it, named.processor);
                self.calm.upset(at);
                self.update_slot(at);
            }
            What::Fault(it) => self.calm.fault(at, it.fault, it.active),
            What::Reply(it) => self.answer(it),
            other => self.ask(line, other, named),
        }
    }

    fn ask(&mut self, line: u64, what: &What, named: Named) {
        let Some((op, what)) = Question::of(what) else { return };
        if let Question::Purge = what {
            *self.purges.at(named.job) += 1;
        }
        self.open_ops.insert(op, Asked { line, named, what });
    }

    fn answer(&mut self, it: &Reply) {
        let asked = self.open_ops.remove(it.op).filter(|_| it.outcome == Told::Refused);
        if let Some(Asked { named, what: Question::Purge, .. }) = asked {
            *self.purges.at(named.job) -= 1;
        }
    }

    fn read_clock(&mut self, at: u64, clock: u64) {
        if self.clock < clock {
            self.clock = clock;
            self.queues.iter_mut().for_each(|queue| queue.line.advance(clock));
        }
        self.calm.clock(at, clock);
    }

    fn accept(&mut self, line: u64, at: u64, it: &Accepted, named: Named) {
        self.read_clock(at, it.clock);
        match it.how {
            How::Created => {
                let mut lines = Vec::with_capacity(LINES_USUAL);
                lines.push(line);
                let live = Live {
                    place: Place::new(named.job, &it.job),
                    queue: named.queue,
                    user: named.user,
                    key: named.key,
                    payload: it.payload.as_str().into(),
                    email: it.email,
                    created_clock: it.clock,
                    ready_clock: self.first_ready_at(named.queue, it.clock),
                    waits_from: at,
                    freed_clock: 0,
                    attempts: Vec::new(),
                    deliveries: 0,
                    lines,
                };
                self.enter(named.job, Box::new(live));
            }
            How::Coalesced => {
                if let Some(live) = self.live_mut(named.job) {
                    live.payload = it.payload.as_str().into();
                    live.email |= it.email;
                    live.note(line);
                }
            }
            How::Replayed => {}
        }
    }

    fn first_ready_at(&self, queue: Queue, clock: u64) -> u64 {
        self.policy(queue).map_or(clock, |policy| policy.first_ready_at(clock))
    }

    fn live_mut(&mut self, job: Job) -> Option<&mut Live> {
        self.jobs.get_mut(job)?.live.as_deref_mut()
    }

    fn grant(&mut self, line: u64, at: u64, it: &Granted, named: Named, jobs: &[Job]) {
        self.read_clock(at, it.clock);
        let Some(delivery) = named.delivery else { return };
        for (lease, &job) in it.jobs.iter().zip(jobs) {
            let Some(live) = self.jobs.get_mut(job).and_then(|standing| standing.live.as_mut()) else { continue };
            self.queues.at(live.queue).line.lease(&live.place, live.ready_clock);
            live.deliveries += 1;
            live.note(line);
            live.attempts.reserve_exact(1);
            live.attempts.push(Attempt {
                number: lease.attempt,
                delivery,
                batch: named.batch,
                processor: named.processor,
                granted_at: at,
                granted_clock: it.clock,
                granted_line: line,
                lease_until: it.lease_until,
                end: None,
            });
        }
        let mut open = jobs.to_vec();
        open.sort_unstable();
        open.dedup();
        let before =
            self.deliveries.insert(delivery, Delivery { queue: named.queue, processor: named.processor, open });
        before.into_iter().for_each(|before| self.queues.at(before.queue).deliveries -= 1);
        self.queues.at(named.queue).deliveries += 1;
        self.processors.grant(named.processor, delivery);
        self.update_slot(at);
    }

    /// A handler begins to work on a delivery, which a processor that was not told of it has by its first job.
    fn start(&mut self, at: u64, it: &Started, named: Named, jobs: &[Job]) {
        let granted = || {
            let (first, job) = (it.jobs.first()?, jobs.first()?);
            let mut attempts = self.live(*job)?.attempts.iter().rev();
            Some(attempts.find(|attempt| attempt.number == first.attempt)?.delivery)
        };
        let delivery = named.delivery.or_else(granted);
        self.processors.start(it, named.processor, jobs, delivery);
        self.update_slot(at);
    }

    fn settle(&mut self, line: u64, at: u64, it: &Settled, job: Job) {
        self.read_clock(at, it.clock);
        let Some(live) = self.jobs.get_mut(job).and_then(|standing| standing.live.as_mut()) else { return };
        live.note(line);
        if !it.accepted {
            return;
        }
        let timeout_ms = self.policies.get(live.queue.index()).map_or(0, |policy| policy.timeout_ms);
        let attempt = live.attempts.iter_mut().rev().find(|attempt| attempt.number == it.attempt);
        let ended = attempt.map(|attempt| {
            attempt.end.get_or_insert_with(|| AttemptEnd::of(it));
            (attempt.delivery, attempt.processor, attempt.granted_at)
        });
        if let Some((delivery, processor, granted_at)) = ended {
            // Where handlers are not seen, its own may be at work for as long as its timeout allows.
            let until = granted_at + timeout_ms;
            if it.outcome == AttemptOutcome::Lost && !self.header.sees(Sight::Handlers) && at < until {
                self.processors.hide(processor, delivery, until);
            }
            self.leave(at, delivery, job);
        }
        match it.then {
            Some(Then::Completed) => self.end(line, at, it.clock, job, EndHow::Completed),
            Some(Then::Failed) => self.end(line, at, it.clock, job, EndHow::Failed),
            Some(Then::DeadLetter) => self.end(line, at, it.clock, job, EndHow::DeadLetter),
            Some(Then::RetryAt(due)) => {
                if let Some(live) = self.live_mut(job) {
                    let before = std::mem::replace(&mut live.ready_clock, due);
                    self.wait(at, job, before);
                }
            }
            None => {}
        }
    }

    /// `job` of `delivery` is settled; with its last job a delivery frees its slot.
    fn leave(&mut self, at: u64, delivery: Print, job: Job) {
        let Some(open) = self.deliveries.get_mut(delivery) else { return };
        if let Ok(place) = open.open.binary_search(&job) {
            open.open.remove(place);
        }
        if open.open.is_empty() {
            let Some(Delivery { queue, processor, .. }) = self.deliveries.remove(delivery) else { return };
            let queue = self.queues.at(queue);
            queue.deliveries -= 1;
            queue.delivered_at = at;
            self.processors.give_up(processor, delivery);
            self.update_slot(at);
        }
    }

    fn end(&mut self, line: u64, at: u64, clock: u64, job: Job, how: EndHow) {
        self.read_clock(at, clock);
        let standing = self.jobs.at(job);
        let Some(mut live) = standing.live.take() else {
            if let Some(end) = &mut standing.end {
                end.how = how;
                self.dead.remove(job);
            }
            return;
        };
        live.note(line);
        if let Some(attempt) = live.leased() {
            self.leave(at, attempt.delivery, job);
        }
        self.leave_line(&live, at);
        let attempts = live.attempts.len() as u32;
        self.jobs.at(job).end = Some(End { how, at, clock, line, attempts });
        if how == EndHow::DeadLetter {
            self.dead.insert(job, live);
        } else {
            self.dead.remove(job);
        }
    }

    fn redrive(&mut self, line: u64, at: u64, clock: u64, job: Job) {
        self.read_clock(at, clock);
        let dead = self.dead.remove(job);
        if self.jobs.at(job).end.take().is_none() {
            return;
        }
        let Some(mut live) = dead else { return };
        live.attempts.clear();
        live.created_clock = clock;
        live.ready_clock = self.first_ready_at(live.queue, clock);
        live.waits_from = at;
        live.note(line);
        self.enter(job, live);
    }

    /// The entity of `live`, if its queue deduplicates.
    pub(super) fn entity(&self, live: &Live) -> Option<Key> {
        let policy = self.policy(live.queue)?;
        live.key.filter(|_| policy.deduplication)
    }

    /// What waits in `queue`, unless nothing ever did.
    pub(super) fn line(&self, queue: Queue) -> Option<&Line> {
        self.at_queue(queue).map(|at| &at.line)
    }

    /// Whether another live job of the entity of `live` stands before `job`.
    pub(super) fn is_blocked(&self, live: &Live, job: Job) -> bool {
        let first = self.entity(live).zip(self.line(live.queue)).map(|(key, line)| line.of_key(key).next());
        first.is_some_and(|first| first != Some(job))
    }

    /// Whether `batch` hands over `jobs` of an earlier batch again under its old id.
    pub(super) fn repeats_batch(&self, batch: Option<Print>, jobs: &[Job]) -> bool {
        let same = |job: Job| self.live(job)?.attempts.last()?.batch;
        batch.is_some() && jobs.iter().any(|job| same(*job) == batch)
    }

    /// Since when, on the player's clock, nothing but a free slot was missing for the waiting `live` to be delivered.
    pub(super) fn deliverable_at(&self, live: &Live) -> u64 {
        let due = self.calm.at(live.ready_clock);
        due.max(live.waits_from).max(self.resumed_at(live.queue))
    }

    /// By how much later than `ready_clock` the waiting `live` may really be due, where the queue does not say it: when
    /// the job in its way ended, and what [`Self::unsure_retry_ms`] tells.
    pub(super) fn unsure_ms(&self, live: &Live) -> u64 {
        let held_ms = live.freed_clock.saturating_sub(live.ready_clock);
        if self.header.inferred { held_ms + self.unsure_retry_ms(live) } else { 0 }
    }

    /// What jitter may have added to the backoff of the waiting `live`, and after a loss the time until the queue
    /// noticed it, where the queue does not say it.
    pub(super) fn unsure_retry_ms(&self, live: &Live) -> u64 {
        let retried = u32::try_from(live.attempts.len()).unwrap_or(u32::MAX);
        if !self.header.inferred || retried == 0 {
            return 0;
        }
        let end = live.attempts.last().and_then(|last| last.end.as_ref());
        let is_lost = end.is_some_and(|end| end.outcome == AttemptOutcome::Lost);
        let unnoticed_ms = if is_lost { self.header.slack.recovery_ms } else { 0 };
        unnoticed_ms
            + match self.policy(live.queue).map(|policy| &policy.backoff) {
                Some(Backoff::Exponential(it)) => it.delay_max_ms(retried) - it.base_ms(retried),
                _ => 0,
            }
    }

    /// The jobs that surely wait in `queue` and are due at `clock`, with the clock each is due at.
    pub(super) fn surely_due(&self, queue: Queue, clock: u64) -> impl Iterator<Item = (u64, Job, &Live)> {
        let jobs = self.line(queue).into_iter().flat_map(Line::jobs);
        let jobs = jobs.take_while(move |(due, _)| *due <= clock);
        let known = jobs.filter_map(|(due, job)| Some((due, job, self.live(job)?)));
        known.filter(move |(due, _, live)| due + self.unsure_ms(live) <= clock)
    }

    /// How many these are.
    pub(super) fn count_due(&self, queue: Queue, clock: u64) -> usize {
        if self.header.inferred {
            return self.surely_due(queue, clock).count();
        }
        self.line(queue).map_or(0, |line| line.due(clock))
    }

    fn enter(&mut self, job: Job, live: Box<Live>) {
        if let Some(before) = self.jobs.at(job).live.take() {
            self.leave_line(&before, before.waits_from);
        }
        let key = self.entity(&live);
        let line = &mut self.queues.at(live.queue).line;
        line.advance(self.clock);
        line.enter(&live.place, key, live.ready_clock);
        self.jobs.at(job).live = Some(live);
    }

    /// `job` waits again, due at its ready time in place of `before`.
    fn wait(&mut self, at: u64, job: Job, before: u64) {
        let Some(mut live) = self.jobs.at(job).live.take() else { return };
        let key = self.entity(&live);
        let line = &mut self.queues.at(live.queue).line;
        line.lease(&live.place, before);
        if live.leased().is_none() {
            live.waits_from = at;
            line.wait(&live.place, key, live.ready_clock);
        }
        self.jobs.at(job).live = Some(live);
    }

    /// `live` is live no more; the next of its key comes forward.
    fn leave_line(&mut self, live: &Live, at: u64) {
        let key = self.entity(live);
        let next = self.queues.at(live.queue).line.end(&live.place, key, live.ready_clock);
        if let Some(next) = next {
            let clock = self.clock;
            let ready_clock = self.live_mut(next).map_or(0, |live| {
                live.freed_clock = clock;
                live.ready_clock
            });
            self.wait(at, next, ready_clock);
        }
    }

    fn pause(&mut self, at: u64, queue: Queue, paused: bool, clock: u64) {
        self.read_clock(at, clock);
        let queue = self.queues.at(queue);
        if !paused && queue.paused {
            queue.resumed_at = at;
        }
        queue.paused = paused;
    }

    fn update_slot(&mut self, at: u64) {
        self.calm.slots(at, self.processors.free());
    }
}

impl AttemptEnd {
    fn of(it: &Settled) -> Self {
        Self {
            outcome: it.outcome,
            then: it.then,
            error: it.error.as_deref().map(Into::into),
            delay_asked_ms: it.delay_asked_ms,
            clock: it.clock,
        }
    }
}

impl Question {
    /// The operation that a client's question opens, and what is kept of it.
    fn of(what: &What) -> Option<(u64, Self)> {
        Some(match what {
            What::Enqueue(it) => {
                let payload = it.payload.as_str().into();
                let idempotency_key = it.idempotency_key.as_deref().map(Into::into);
                (it.op, Self::Enqueue(Enqueue { op: it.op, payload, idempotency_key, email: it.email }))
            }
            What::Cancel(it) => (it.op, Self::Cancel),
            What::Redrive(it) => (it.op, Self::Redrive),
            What::Purge(it) => (it.op, Self::Purge),
            What::Pause(it) => (it.op, Self::Pause),
            What::Resume(it) => (it.op, Self::Resume),
            _ => return None,
        })
    }
}

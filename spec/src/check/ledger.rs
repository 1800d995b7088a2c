//! What a history has said so far: jobs with their attempts, open operations, processors, queues, and calm time.
//!
//! A live job is kept in full. An ended one shrinks to an [`End`], so that memory is bounded by what is open and a small
//! remainder per ended job, which resurrections are told by.

use std::collections::{BTreeMap, BTreeSet};

use super::calm::Calm;
use super::slots::Processors;
use super::waiting::Line;
use crate::history::{
    Accepted, AttemptOutcome, Event, Granted, Header, How, Settled, Sight, Slack, Started, Then, What,
};
use crate::queues::{Backoff, Policy, Queues};

/// The bookkeeping of one history.
pub(super) struct Ledger {
    pub(super) header: Header,
    /// Jobs that have not ended, by id, as the queue's own word has them.
    pub(super) live: BTreeMap<String, Live>,
    /// Jobs that have ended.
    pub(super) ended: BTreeMap<String, End>,
    /// Operations without a reply yet: the line and what was asked.
    pub(super) open_ops: BTreeMap<u64, (u64, What)>,
    /// Deliveries of which some job is still leased.
    pub(super) deliveries: BTreeMap<String, Delivery>,
    /// When a delivery of each queue last ended, on the player's clock.
    pub(super) delivered_at: BTreeMap<String, u64>,
    /// What waits in each queue.
    pub(super) lines: BTreeMap<String, Line>,
    /// Queues under a pause.
    pub(super) paused: BTreeSet<String>,
    /// When each queue was last resumed, on the player's clock.
    pub(super) resumed_at: BTreeMap<String, u64>,
    /// Processors that are up, with their slots and what they are at work on.
    pub(super) processors: Processors,
    pub(super) calm: Calm,
    /// The queue's clock, as last read.
    pub(super) clock: u64,
}

/// A job that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) queue: String,
    pub(super) user: String,
    pub(super) key: Option<String>,
    /// The newest accepted payload.
    pub(super) payload: String,
    pub(super) email: bool,
    /// The queue's time when it was created (or redriven).
    pub(super) created_clock: u64,
    /// The queue's time from which on it waits: created, released by a retry's backoff, redriven.
    pub(super) ready_clock: u64,
    /// The player's time of the event since which it waits and no older job of its key is in the way.
    pub(super) waits_from: u64,
    /// The attempts since it was created (or redriven), in order.
    pub(super) attempts: Vec<Attempt>,
    /// Deliveries over its whole life, redrives included.
    pub(super) deliveries: u32,
    /// The lines that speak of it, the newest [`LINES_MAX`].
    pub(super) lines: Vec<u64>,
}

/// How many lines per job are remembered to show in a finding.
const LINES_MAX: usize = 40;

/// One attempt, as the queue granted it.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// The number the queue gave it.
    pub(super) number: u32,
    pub(super) delivery: String,
    /// What the outside world knows the delivery's batch by.
    pub(super) batch: Option<String>,
    pub(super) processor: String,
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
    pub(super) error: Option<String>,
    pub(super) delay_asked_ms: Option<u64>,
    pub(super) clock: u64,
}

/// What remains of an ended job.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) how: EndHow,
    pub(super) at: u64,
    pub(super) clock: u64,
    pub(super) line: u64,
    /// Deliveries since it was created (or redriven).
    pub(super) attempts: u32,
    /// Kept for dead letters alone: they must keep all this, and may come back.
    pub(super) dead: Option<Box<Live>>,
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
pub(super) struct Delivery {
    pub(super) queue: String,
    pub(super) processor: String,
    pub(super) open: BTreeSet<String>,
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
        let calm = Calm::new(header.slack.recovery_ms, header.slack.late_ms);
        Self {
            header,
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            open_ops: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            delivered_at: BTreeMap::new(),
            lines: BTreeMap::new(),
            paused: BTreeSet::new(),
            resumed_at: BTreeMap::new(),
            processors: Processors::default(),
            calm,
            clock: 0,
        }
    }

    pub(super) fn queues(&self) -> &Queues {
        &self.header.queues
    }

    pub(super) fn policy(&self, queue: &str) -> Option<&Policy> {
        self.header.queues.get(queue)
    }

    pub(super) fn slack(&self) -> Slack {
        self.header.slack
    }

    /// Lets time pass until `at`, before the checkers see what happens then.
    pub(super) fn pass(&mut self, at: u64) {
        while let Some(over) = self.processors.expire(at) {
            self.update_slot(over);
        }
    }

    /// Takes in one event, after the checkers have seen it.
    pub(super) fn apply(&mut self, line: u64, event: &Event) {
        let at = event.at;
        match &event.what {
            What::Accepted(accepted) => self.accept(line, at, accepted),
            What::Granted(granted) => self.grant(line, at, granted),
            What::Settled(settled) => self.settle(line, at, settled),
            What::Cancelled(it) => self.end(line, at, it.clock, &it.job, EndHow::Cancelled),
            What::Purged(it) => self.end(line, at, it.clock, &it.job, EndHow::Purged),
            What::Redriven(it) => self.redrive(line, at, it.clock, &it.job),
            What::Paused(it) => self.pause(at, &it.queue, it.paused, it.clock),
            What::Started(it) => self.start(at, it),
            What::Finished(it) => {
                self.processors.finish(it);
                self.update_slot(at);
            }
            What::Processor(it) => {
                self.processors.come_or_go(it);
                self.calm.upset(at);
                self.update_slot(at);
            }
            What::Fault(it) => self.calm.fault(at, it.fault, it.active),
            What::Reply(it) => drop(self.open_ops.remove(&it.op)),
            other => {
                if let Some(op) = op_of(other) {
                    self.open_ops.insert(op, (line, other.clone()));
                }
            }
        }
    }

    fn read_clock(&mut self, at: u64, clock: u64) {
        self.clock = self.clock.max(clock);
        for line in self.lines.values_mut() {
            line.advance(self.clock);
        }
        self.calm.clock(at, clock);
    }

    fn accept(&mut self, line: u64, at: u64, it: &Accepted) {
        self.read_clock(at, it.clock);
        let ready_clock = self.policy(&it.queue).map_or(it.clock, |policy| policy.first_ready_at(it.clock));
        match it.how {
            How::Created => {
                let live = Live {
                    queue: it.queue.clone(),
                    user: it.user.clone(),
                    key: it.key.clone(),
                    payload: it.payload.clone(),
                    email: it.email,
                    created_clock: it.clock,
                    ready_clock,
                    waits_from: at,
                    attempts: Vec::new(),
                    deliveries: 0,
                    lines: vec![line],
                };
                self.enter(&it.job, live);
            }
            How::Coalesced => {
                if let Some(live) = self.live.get_mut(&it.job) {
                    live.payload.clone_from(&it.payload);
                    live.email |= it.email;
                    live.note(line);
                }
            }
            How::Replayed => {}
        }
    }

    fn grant(&mut self, line: u64, at: u64, it: &Granted) {
        self.read_clock(at, it.clock);
        for lease in &it.jobs {
            let Some(live) = self.live.get_mut(&lease.job) else { continue };
            if let Some(line) = self.lines.get_mut(&live.queue) {
                line.lease(&lease.job, live.ready_clock);
            }
            live.deliveries += 1;
            live.note(line);
            live.attempts.push(Attempt {
                number: lease.attempt,
                delivery: it.delivery.clone(),
                batch: it.batch.clone(),
                processor: it.processor.clone(),
                granted_at: at,
                granted_clock: it.clock,
                granted_line: line,
                lease_until: it.lease_until,
                end: None,
            });
        }
        let open = it.jobs.iter().map(|lease| lease.job.clone()).collect();
        let delivery = Delivery { queue: it.queue.clone(), processor: it.processor.clone(), open };
        self.deliveries.insert(it.delivery.clone(), delivery);
        self.processors.grant(&it.processor, &it.delivery);
        self.update_slot(at);
    }

    /// A handler begins to work on a delivery, which a processor that was not told of it has by its first job.
    fn start(&mut self, at: u64, it: &Started) {
        let granted = || {
            let first = it.jobs.first()?;
            let mut attempts = self.live.get(&first.job)?.attempts.iter().rev();
            Some(attempts.find(|attempt| attempt.number == first.attempt)?.delivery.clone())
        };
        let delivery = it.delivery.clone().or_else(granted);
        self.processors.start(it, delivery);
        self.update_slot(at);
    }

    fn settle(&mut self, line: u64, at: u64, it: &Settled) {
        self.read_clock(at, it.clock);
        let Some(live) = self.live.get_mut(&it.job) else { return };
        live.note(line);
        if !it.accepted {
            return;
        }
        let end = AttemptEnd {
            outcome: it.outcome,
            then: it.then,
            error: it.error.clone(),
            delay_asked_ms: it.delay_asked_ms,
            clock: it.clock,
        };
        let timeout_ms = self.header.queues.get(&live.queue).map_or(0, |policy| policy.timeout_ms);
        let attempt = live.attempts.iter_mut().rev().find(|attempt| attempt.number == it.attempt);
        let ended = attempt.map(|attempt| {
            attempt.end.get_or_insert(end);
            (attempt.delivery.clone(), attempt.processor.clone(), attempt.granted_at)
        });
        if let Some((delivery, processor, granted_at)) = ended {
            // Where handlers are not seen, its own may be at work for as long as its timeout allows.
            let until = granted_at + timeout_ms;
            if it.outcome == AttemptOutcome::Lost && !self.header.sees(Sight::Handlers) && at < until {
                self.processors.hide(&processor, &delivery, until);
            }
            self.leave(at, &delivery, &it.job);
        }
        match it.then {
            Some(Then::Completed) => self.end(line, at, it.clock, &it.job, EndHow::Completed),
            Some(Then::Failed) => self.end(line, at, it.clock, &it.job, EndHow::Failed),
            Some(Then::DeadLetter) => self.end(line, at, it.clock, &it.job, EndHow::DeadLetter),
            Some(Then::RetryAt(due)) => {
                if let Some(live) = self.live.get_mut(&it.job) {
                    let before = std::mem::replace(&mut live.ready_clock, due);
                    self.wait(at, &it.job, before);
                }
            }
            None => {}
        }
    }

    /// `job` of `delivery` is settled; with its last job a delivery frees its slot.
    fn leave(&mut self, at: u64, delivery: &str, job: &str) {
        let Some(open) = self.deliveries.get_mut(delivery) else { return };
        open.open.remove(job);
        if open.open.is_empty() {
            let Delivery { queue, processor, .. } = open.clone();
            self.deliveries.remove(delivery);
            self.delivered_at.insert(queue, at);
            self.processors.give_up(&processor, delivery);
            self.update_slot(at);
        }
    }

    fn end(&mut self, line: u64, at: u64, clock: u64, job: &str, how: EndHow) {
        self.read_clock(at, clock);
        let Some(mut live) = self.live.remove(job) else {
            if let Some(end) = self.ended.get_mut(job) {
                end.how = how;
                end.dead = None;
            }
            return;
        };
        live.note(line);
        if let Some(attempt) = live.leased() {
            self.leave(at, &attempt.delivery.clone(), job);
        }
        self.leave_line(job, &live, at);
        let attempts = live.attempts.len() as u32;
        let dead = (how == EndHow::DeadLetter).then(|| Box::new(live));
        self.ended.insert(job.to_owned(), End { how, at, clock, line, attempts, dead });
    }

    fn redrive(&mut self, line: u64, at: u64, clock: u64, job: &str) {
        self.read_clock(at, clock);
        let Some(mut live) = self.ended.remove(job).and_then(|end| end.dead) else { return };
        live.attempts.clear();
        live.created_clock = clock;
        live.ready_clock = self.policy(&live.queue).map_or(clock, |policy| policy.first_ready_at(clock));
        live.waits_from = at;
        live.note(line);
        self.enter(job, *live);
    }

    /// The entity of `live`, if its queue deduplicates.
    pub(super) fn entity<'a>(&self, live: &'a Live) -> Option<&'a str> {
        let policy = self.policy(&live.queue)?;
        live.key.as_deref().filter(|_| policy.deduplication)
    }

    /// What waits in `queue`, unless nothing ever did.
    pub(super) fn line(&self, queue: &str) -> Option<&Line> {
        self.lines.get(queue)
    }

    /// Whether `it` hands over jobs of an earlier batch again under its old id.
    pub(super) fn repeats_batch(&self, it: &Granted) -> bool {
        let same = |job: &str| self.live.get(job)?.attempts.last()?.batch.clone();
        it.batch.is_some() && it.jobs.iter().any(|lease| same(&lease.job) == it.batch)
    }

    /// Since when, on the player's clock, nothing but a free slot was missing for the waiting `live` to be delivered.
    pub(super) fn deliverable_at(&self, live: &Live) -> u64 {
        let due = self.calm.at(live.ready_clock);
        let resumed = self.resumed_at.get(&live.queue).copied().unwrap_or(0);
        due.max(live.waits_from).max(resumed)
    }

    /// By how much later than `ready_clock` the waiting `live` may really be due: what jitter may have added to its
    /// backoff, and after a loss the time until the queue noticed it, where the queue does not say when a retry is due.
    pub(super) fn unsure_ms(&self, live: &Live) -> u64 {
        let retried = u32::try_from(live.attempts.len()).unwrap_or(u32::MAX);
        if !self.header.inferred || retried == 0 {
            return 0;
        }
        let end = live.attempts.last().and_then(|last| last.end.as_ref());
        let is_lost = end.is_some_and(|end| end.outcome == AttemptOutcome::Lost);
        let unnoticed_ms = if is_lost { self.header.slack.recovery_ms } else { 0 };
        unnoticed_ms
            + match self.policy(&live.queue).map(|policy| &policy.backoff) {
                Some(Backoff::Exponential(it)) => it.delay_max_ms(retried) - it.base_ms(retried),
                _ => 0,
            }
    }

    /// The jobs that surely wait in `queue` and are due at `clock`, with the clock each is due at.
    pub(super) fn surely_due<'a>(&'a self, queue: &str, clock: u64) -> impl Iterator<Item = (u64, &'a str, &'a Live)> {
        let jobs = self.line(queue).into_iter().flat_map(Line::jobs);
        let jobs = jobs.take_while(move |(due, _)| *due <= clock);
        let known = jobs.filter_map(|(due, job)| Some((due, job, self.live.get(job)?)));
        known.filter(move |(due, _, live)| due + self.unsure_ms(live) <= clock)
    }

    /// How many these are.
    pub(super) fn count_due(&self, queue: &str, clock: u64) -> usize {
        if self.header.inferred {
            return self.surely_due(queue, clock).count();
        }
        self.line(queue).map_or(0, |line| line.due(clock))
    }

    fn enter(&mut self, job: &str, live: Live) {
        if let Some(before) = self.live.remove(job) {
            self.leave_line(job, &before, before.waits_from);
        }
        let key = self.entity(&live).map(str::to_owned);
        let line = self.lines.entry(live.queue.clone()).or_default();
        line.enter(job, key.as_deref(), live.ready_clock);
        line.advance(self.clock);
        self.live.insert(job.to_owned(), live);
    }

    /// `job` waits again, due at its ready time in place of `before`.
    fn wait(&mut self, at: u64, job: &str, before: u64) {
        let Some(mut live) = self.live.remove(job) else { return };
        if let Some(line) = self.lines.get_mut(&live.queue) {
            line.lease(job, before);
        }
        if live.leased().is_none() {
            live.waits_from = at;
            let key = self.entity(&live).map(str::to_owned);
            let line = self.lines.entry(live.queue.clone()).or_default();
            line.wait(job, key.as_deref(), live.ready_clock);
            line.advance(self.clock);
        }
        self.live.insert(job.to_owned(), live);
    }

    /// `job` is live no more; the next of its key comes forward.
    fn leave_line(&mut self, job: &str, live: &Live, at: u64) {
        let key = self.entity(live).map(str::to_owned);
        let Some(line) = self.lines.get_mut(&live.queue) else { return };
        let next = line.end(job, key.as_deref(), live.ready_clock);
        if let Some(next) = next {
            let ready_clock = self.live.get(&next).map_or(0, |live| live.ready_clock);
            self.wait(at, &next, ready_clock);
        }
    }

    fn pause(&mut self, at: u64, queue: &str, paused: bool, clock: u64) {
        self.read_clock(at, clock);
        if paused {
            self.paused.insert(queue.to_owned());
        } else if self.paused.remove(queue) {
            self.resumed_at.insert(queue.to_owned(), at);
        }
    }

    fn update_slot(&mut self, at: u64) {
        self.calm.slots(at, self.processors.free());
    }
}

/// The operation that a client's question opens.
fn op_of(what: &What) -> Option<u64> {
    match what {
        What::Enqueue(it) => Some(it.op),
        What::Cancel(it) => Some(it.op),
        What::Redrive(it) => Some(it.op),
        What::Purge(it) => Some(it.op),
        What::Pause(it) => Some(it.op),
        What::Resume(it) => Some(it.op),
        _ => None,
    }
}

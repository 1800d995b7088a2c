//! Works out what a system must have done from what was seen outside of it, and writes it down as the queue's own word:
//! accepted, granted, settled. So the same checkers judge a system that says nothing of itself.
//!
//! Each derived line says no more than what must have happened for the observations to be as they are, and where two
//! explanations are left, the one that accuses the system of less. The queue's clock is the harness's wall clock.

use std::collections::{BTreeMap, BTreeSet};

use kew_spec::history::{
    Accepted, AttemptOutcome, Cancelled, Enqueue, Event, Finished, Given, Granted, How, Lease, Paused, Redriven, Row,
    Settled, Sight, Started, StatusRead, Then, Told, What,
};
use kew_spec::lifecycle::Status;
use kew_spec::queues::{Jitter, Policy, Queues};

/// What is known of the play beside its events.
pub(crate) struct Known<'a> {
    pub(crate) policies: &'a Queues,
    pub(crate) sees: &'a [Sight],
    /// The wall clock at the harness's time 0.
    pub(crate) epoch_ms: u64,
    /// The job that each enqueue asked for, by operation.
    pub(crate) names: &'a BTreeMap<u64, String>,
    /// How long what is said may be under way.
    pub(crate) late_ms: u64,
    /// Whether a coalesced payload takes the place of the one before.
    pub(crate) newest_wins: bool,
}

/// The events with the queue's word among them.
pub(crate) fn infer(events: &[Event], known: &Known<'_>) -> Vec<Event> {
    let ahead = Ahead::read(events);
    let mut inference = Inference { known, ahead, jobs: BTreeMap::new(), asked: BTreeMap::new(), out: Vec::new() };
    for (index, event) in events.iter().enumerate() {
        inference.see(index, event);
    }
    inference.out
}

/// What comes later in the history, by job.
#[derive(Default)]
struct Ahead {
    /// The reply of each operation: where, what was told, and the job.
    replies: BTreeMap<u64, (usize, Told, Option<String>)>,
    /// Where each job starts.
    starts: BTreeMap<String, Vec<usize>>,
    /// What a job's handler was told of the attempt, where it starts.
    told: BTreeMap<(usize, String), u32>,
    /// Jobs whose handler succeeded.
    completed: BTreeSet<String>,
    /// Where the handlers of each delivery end.
    ends: BTreeMap<String, (usize, u64)>,
    /// When each fault heals.
    heals: BTreeMap<u64, u64>,
    /// When hosts are struck.
    strikes: Vec<(u64, Vec<String>)>,
    /// Where a job is put back or cancelled with success: the operation's place.
    redrives: BTreeMap<String, Vec<usize>>,
    cancels: BTreeMap<String, usize>,
    /// Jobs read in each dead letter queue.
    dead: BTreeMap<String, Vec<usize>>,
    drained: Option<usize>,
    /// Which queues are under a pause when it drains.
    paused_at_drain: BTreeSet<String>,
    reads_dead: bool,
}

impl Ahead {
    fn read(events: &[Event]) -> Self {
        let mut ahead = Self::default();
        for (index, event) in events.iter().enumerate() {
            if let What::Reply(it) = &event.what {
                ahead.replies.insert(it.op, (index, it.outcome, it.job.clone()));
            }
        }
        for (index, event) in events.iter().enumerate() {
            match &event.what {
                What::Processor(it) if !it.up => ahead.strikes.push((event.at, vec![it.processor.clone()])),
                What::Fault(it) if it.active => ahead.strikes.push((event.at, it.on.clone())),
                What::Started(it) => {
                    for given in &it.jobs {
                        ahead.starts.entry(given.job.clone()).or_default().push(index);
                        if let Some(told) = given.told {
                            ahead.told.insert((index, given.job.clone()), told);
                        }
                    }
                }
                What::Finished(it) => {
                    let delivery = it.delivery.clone().unwrap_or_default();
                    if ahead.ends.contains_key(&delivery) {
                        continue; // It was stopped, and answers late.
                    }
                    ahead.ends.insert(delivery, (index, event.at));
                    let done = it.jobs.iter().filter(|ended| ended.outcome == AttemptOutcome::Completed);
                    ahead.completed.extend(done.map(|ended| ended.job.clone()));
                }
                What::Fault(it) if !it.active => drop(ahead.heals.insert(it.fault, event.at)),
                What::Redrive(it) if ahead.told_ok(it.op) => {
                    ahead.redrives.entry(it.job.clone()).or_default().push(index);
                }
                What::Cancel(it) if ahead.told_ok(it.op) => drop(ahead.cancels.insert(it.job.clone(), index)),
                What::Pause(it) if ahead.told_ok(it.op) && ahead.drained.is_none() => {
                    ahead.paused_at_drain.insert(it.queue.clone());
                }
                What::Resume(it) if ahead.drained.is_none() => drop(ahead.paused_at_drain.remove(&it.queue)),
                What::DeadLetters(it) => {
                    ahead.reads_dead = true;
                    for entry in &it.entries {
                        ahead.dead.entry(entry.job.clone()).or_default().push(index);
                    }
                }
                What::Drained(_) => ahead.drained = Some(index),
                _ => {}
            }
        }
        ahead
    }

    fn told_ok(&self, op: u64) -> bool {
        self.replies.get(&op).is_some_and(|(_, told, _)| *told == Told::Ok)
    }

    /// The first of `places` after `index`.
    fn next(places: Option<&Vec<usize>>, index: usize) -> Option<usize> {
        places?.iter().copied().find(|place| index < *place)
    }
}

/// A job as far as it has come.
struct Job {
    queue: String,
    user: String,
    attempts: Vec<Attempt>,
    over: Option<Over>,
}

#[derive(Clone, Copy, PartialEq)]
enum Over {
    Completed,
    GivenUp,
    Cancelled,
}

struct Attempt {
    delivery: String,
    processor: String,
    lease_until: u64,
    ended: bool,
}

struct Inference<'a> {
    known: &'a Known<'a>,
    ahead: Ahead,
    jobs: BTreeMap<String, Job>,
    /// Questions without an answer yet.
    asked: BTreeMap<u64, What>,
    out: Vec<Event>,
}

impl Inference<'_> {
    fn see(&mut self, index: usize, event: &Event) {
        let at = event.at;
        if let Some(op) = op_of(&event.what) {
            self.asked.insert(op, event.what.clone());
        }
        match &event.what {
            What::Enqueue(it) => {
                self.say(event.clone());
                self.accept_at_once(index, at, it);
            }
            What::Started(it) => {
                for given in &it.jobs {
                    self.coalesce_before(at, given);
                    self.put_back_before(at, &given.job);
                }
                let it = self.counted(it);
                self.grant(at, &it);
                self.tell(at, it);
            }
            What::Finished(it) => {
                let it = self.finished(it);
                self.tell(at, it.clone());
                self.settle(index, at, &it);
            }
            What::Drained(_) => {
                self.give_up(index, at);
                self.say(event.clone());
                if !self.known.sees.contains(&Sight::Status) {
                    self.read_all(at);
                }
            }
            What::Processor(it) => {
                self.say(event.clone());
                if !it.up {
                    self.lose(index, at, std::slice::from_ref(&it.processor), u64::MAX);
                    self.deliver_unseen(index, at, &it.processor);
                }
            }
            What::Fault(it) => {
                self.say(event.clone());
                if it.active {
                    let heals_at = self.ahead.heals.get(&it.fault).copied().unwrap_or(u64::MAX);
                    self.lose(index, at, &it.on, heals_at);
                }
            }
            What::Reply(it) => {
                self.say(event.clone());
                self.answer(at, it.op);
            }
            _ => self.say(event.clone()),
        }
    }

    fn say(&mut self, event: Event) {
        self.out.push(event);
    }

    fn tell(&mut self, at: u64, what: impl Into<What>) {
        self.out.push(Event { at, what: what.into() });
    }

    fn clock(&self, at: u64) -> u64 {
        self.known.epoch_ms + at
    }

    fn policy(&self, queue: &str) -> Option<&Policy> {
        self.known.policies.get(queue)
    }

    /// A job that an enqueue made is there from the question on, as far as anybody can tell: it may start before the
    /// answer is heard. What coalesced is told of with the answer, or before a start with the new payload.
    fn accept_at_once(&mut self, index: usize, at: u64, it: &Enqueue) {
        let Some(mine) = self.known.names.get(&it.op).cloned() else { return };
        let reply = self.ahead.replies.get(&it.op);
        let names_other = reply.is_some_and(|(_, _, job)| job.as_ref().is_some_and(|job| *job != mine));
        let refused = reply.is_some_and(|(_, told, _)| *told == Told::Refused);
        let starts = Ahead::next(self.ahead.starts.get(&mine), index).is_some();
        let made = starts || (!names_other && !refused && reply.is_some_and(|(_, told, _)| *told == Told::Ok));
        if made && !self.jobs.contains_key(&mine) {
            self.accept(at, it, &mine, How::Created);
        }
    }

    fn accept(&mut self, at: u64, it: &Enqueue, job: &str, how: How) {
        let clock = self.clock(at);
        self.tell(
            at,
            Accepted {
                job: job.into(),
                queue: it.queue.clone(),
                user: it.user.clone(),
                payload: it.payload.clone(),
                how,
                key: it.key.clone(),
                email: it.email,
                clock,
            },
        );
        if how == How::Created {
            let job_state = Job { queue: it.queue.clone(), user: it.user.clone(), attempts: Vec::new(), over: None };
            self.jobs.insert(job.into(), job_state);
        }
    }

    /// A job starts with a payload that another enqueue brought, whose answer is still to be heard or did not say whose
    /// payload stays: it was coalesced before.
    fn coalesce_before(&mut self, at: u64, given: &Given) {
        let brought = self.asked.iter().find_map(|(op, asked)| {
            let What::Enqueue(it) = asked else { return None };
            let (_, told, named) = self.ahead.replies.get(op)?;
            let joins =
                *told == Told::Ok && named.as_ref() == Some(&given.job) && self.known.names.get(op) != named.as_ref();
            (joins && it.payload == given.payload && it.key.is_some()).then(|| (*op, it.clone()))
        });
        if let Some((op, it)) = brought {
            self.asked.remove(&op);
            self.accept(at, &it, &given.job, How::Coalesced);
        }
    }

    /// The answer to an operation is heard.
    fn answer(&mut self, at: u64, op: u64) {
        let Some(asked) = self.asked.get(&op).cloned() else { return };
        if !matches!(asked, What::Enqueue(_)) || self.known.newest_wins {
            self.asked.remove(&op);
        }
        let Some((_, Told::Ok, named)) = self.ahead.replies.get(&op).cloned() else { return };
        let clock = self.clock(at);
        match asked {
            What::Enqueue(it) => {
                let Some(other) = named.filter(|job| self.known.names.get(&op) != Some(job)) else { return };
                let replayed = (it.idempotency_key.is_some() && it.key.is_none()) || !self.known.newest_wins;
                let how = if replayed { How::Replayed } else { How::Coalesced };
                self.accept(at, &it, &other, how);
            }
            What::Cancel(it) => {
                if let Some(job) = self.jobs.get_mut(&it.job).filter(|job| job.over.is_none()) {
                    job.over = Some(Over::Cancelled);
                    self.tell(at, Cancelled { job: it.job, clock });
                }
            }
            What::Redrive(it) => self.put_back(at, &it.job),
            What::Pause(it) => self.tell(at, Paused { queue: it.queue, paused: true, clock }),
            What::Resume(it) => self.tell(at, Paused { queue: it.queue, paused: false, clock }),
            _ => {}
        }
    }

    /// A dead letter goes back.
    fn put_back(&mut self, at: u64, id: &str) {
        self.end_last(at, id);
        let clock = self.clock(at);
        if let Some(job) = self.jobs.get_mut(id) {
            job.over = None;
            job.attempts.clear();
            self.tell(at, Redriven { job: id.to_owned(), clock });
        }
    }

    /// A job starts while the answer to its redrive is still to be heard: it has been put back.
    fn put_back_before(&mut self, at: u64, id: &str) {
        let is_it =
            |op: &u64, asked: &What| matches!(asked, What::Redrive(it) if it.job == id) && self.ahead.told_ok(*op);
        let op = self.asked.iter().find(|(op, asked)| is_it(op, asked)).map(|(op, _)| *op);
        if let Some(op) = op {
            self.asked.remove(&op);
            self.put_back(at, id);
        }
    }

    /// A job's last attempt, if still open, was lost, and the job is dead: somebody has put it back.
    fn end_last(&mut self, at: u64, id: &str) {
        let Some(job) = self.jobs.get(id) else { return };
        let then = self.end_of(&job.queue, true);
        let open = job.attempts.last().is_some_and(|attempt| !attempt.ended);
        if open && job.over.is_none() {
            self.settle_one(at, id, AttemptOutcome::Lost, then, None);
        }
    }

    /// What giving a job of `queue` up means.
    fn end_of(&self, queue: &str, is_kept: bool) -> Then {
        let has = self.policy(queue).is_some_and(|policy| policy.dead_letter_queue.is_some());
        if has && is_kept { Then::DeadLetter } else { Then::Failed }
    }

    /// A processor has died. It may have been given jobs without living to tell: a job that waits counts as such if the
    /// number that its next handler is told shows one delivery more than was seen, or if it is given up with fewer than
    /// its attempts.
    fn deliver_unseen(&mut self, index: usize, at: u64, processor: &str) {
        let waits = |job: &Job| job.over.is_none() && job.attempts.last().is_none_or(|last| last.ended);
        let unseen = |id: &String, job: &Job| {
            let had = job.attempts.len() as u32;
            let start = Ahead::next(self.ahead.starts.get(id), index);
            let told = start.and_then(|start| self.ahead.told.get(&(start, id.clone())).copied());
            let later = self.ahead.starts.get(id).map_or(0, |all| all.iter().filter(|start| index < **start).count());
            let max = self.policy(&job.queue).and_then(|policy| policy.attempts.max());
            let never_done = !self.ahead.completed.contains(id) && !self.ahead.cancels.contains_key(id);
            let short = never_done && max.is_some_and(|max| had + (later as u32) < max);
            told.map_or(short, |told| had + 1 < told)
        };
        let jobs = self.jobs.iter().filter(|(id, job)| waits(job) && unseen(id, job));
        let jobs: Vec<_> = jobs.map(|(id, job)| (id.clone(), job.queue.clone())).collect();
        for (job, queue) in jobs {
            let delivery = format!("unseen {at} {job}");
            let given = Given { job: job.clone(), attempt: 0, told: None, payload: String::new() };
            self.grant(
                at,
                &Started { processor: processor.into(), delivery: Some(delivery), queue, jobs: vec![given] },
            );
            let then = self.then(index, at, &job, AttemptOutcome::Lost);
            self.settle_one(at, &job, AttemptOutcome::Lost, then, None);
        }
    }

    /// `it` with its attempts as they are counted here.
    fn counted(&self, it: &Started) -> Started {
        let mut it = it.clone();
        for given in &mut it.jobs {
            given.attempt = self.jobs.get(&given.job).map_or(given.attempt, |job| job.attempts.len() as u32 + 1);
        }
        it
    }

    /// The same of handlers that end.
    fn finished(&self, it: &Finished) -> Finished {
        let mut it = it.clone();
        for ended in &mut it.jobs {
            let attempts = self.jobs.get(&ended.job).map(|job| &job.attempts);
            let place = attempts
                .and_then(|all| all.iter().rposition(|attempt| Some(&attempt.delivery) == it.delivery.as_ref()));
            ended.attempt = place.map_or(ended.attempt, |place| place as u32 + 1);
        }
        it
    }

    /// Handlers start: the queue has granted this delivery.
    fn grant(&mut self, at: u64, it: &Started) {
        let clock = self.clock(at);
        let lease_until = clock + self.policy(&it.queue).map_or(0, |policy| policy.timeout_ms);
        let mut leases = Vec::new();
        for given in &it.jobs {
            let Some(job) = self.jobs.get_mut(&given.job) else {
                leases.push(Lease { job: given.job.clone(), attempt: given.attempt });
                continue;
            };
            let number = job.attempts.len() as u32 + 1;
            leases.push(Lease { job: given.job.clone(), attempt: number });
            job.attempts.push(Attempt {
                delivery: it.delivery.clone().unwrap_or_default(),
                processor: it.processor.clone(),
                lease_until,
                ended: false,
            });
        }
        self.tell(
            at,
            Granted {
                delivery: it.delivery.clone().unwrap_or_default(),
                batch: None,
                queue: it.queue.clone(),
                processor: it.processor.clone(),
                jobs: leases,
                lease_until,
                clock,
            },
        );
    }

    /// Something has struck `hosts` until `heals_at`. What they held is lost if it is delivered again and its handler was
    /// not heard of well after that: what a handler says while its host is struck may never have arrived. A handler that
    /// was not struck keeps its lease until its timeout, and a delivery before that has two owners.
    fn lose(&mut self, index: usize, at: u64, hosts: &[String], heals_at: u64) {
        let all = hosts.iter().any(|host| !host.starts_with("processor-"));
        let is_lost = |id: &String, job: &Job| {
            let open = job.attempts.last().filter(|last| !last.ended && job.over.is_none());
            open.is_some_and(|last| {
                let end = self.ahead.ends.get(&last.delivery).copied().filter(|(end, _)| index < *end);
                let start = Ahead::next(self.ahead.starts.get(id), index);
                let goes_on = match (end, start) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some((end, ended_at)), Some(start)) => {
                        heals_at.saturating_add(self.known.late_ms) < ended_at && end < start
                    }
                };
                (all || hosts.contains(&last.processor)) && !goes_on
            })
        };
        let lost: Vec<_> = self.jobs.iter().filter(|(id, job)| is_lost(id, job)).map(|(id, _)| id.clone()).collect();
        for id in lost {
            let then = self.then(index, at, &id, AttemptOutcome::Lost);
            self.settle_one(at, &id, AttemptOutcome::Lost, then, None);
        }
    }

    /// Handlers end by their own word, or were stopped.
    fn settle(&mut self, index: usize, at: u64, it: &Finished) {
        for ended in &it.jobs {
            let Some(job) = self.jobs.get(&ended.job) else { continue };
            let delivery = it.delivery.as_deref().unwrap_or_default();
            let place = job.attempts.iter().rposition(|attempt| attempt.delivery == delivery);
            let stale = place.is_none_or(|place| place + 1 != job.attempts.len() || job.attempts[place].ended);
            // What the system itself has stopped is no late answer.
            let own_word = matches!(ended.outcome, AttemptOutcome::Completed | AttemptOutcome::Failed);
            let overdue = own_word
                && job.attempts.last().is_some_and(|last| last.lease_until < self.clock(at))
                && Ahead::next(self.ahead.starts.get(&ended.job), index).is_some();
            if stale || overdue || job.over.is_some() {
                let number = place.map_or(ended.attempt, |place| place as u32 + 1);
                self.refuse(at, &ended.job, number, ended.outcome);
                continue;
            }
            let outcome = if self.may_be_unheard(index, at, &ended.job) { AttemptOutcome::Lost } else { ended.outcome };
            let then = self.then(index, at, &ended.job, outcome);
            self.settle_one(at, &ended.job, outcome, then, ended.error.clone());
        }
    }

    /// Whether the handler of `id` said how it ended so shortly before its host was struck that nobody may have heard it;
    /// that the job comes again shows it.
    fn may_be_unheard(&self, index: usize, at: u64, id: &str) -> bool {
        let comes_again = Ahead::next(self.ahead.starts.get(id), index).is_some();
        let processor = self.jobs.get(id).and_then(|job| job.attempts.last()).map(|last| last.processor.as_str());
        let strikes = |hosts: &[String]| {
            hosts.iter().any(|host| Some(host.as_str()) == processor || !host.starts_with("processor-"))
        };
        let shortly = |struck: u64| at <= struck && struck <= at + self.known.late_ms;
        comes_again && self.ahead.strikes.iter().any(|(struck, hosts)| shortly(*struck) && strikes(hosts))
    }

    /// The answer of a delivery that is over.
    fn refuse(&mut self, at: u64, job: &str, attempt: u32, outcome: AttemptOutcome) {
        let clock = self.clock(at);
        self.tell(
            at,
            Settled {
                job: job.into(),
                attempt,
                outcome,
                accepted: false,
                then: None,
                error: None,
                delay_asked_ms: None,
                clock,
            },
        );
    }

    fn settle_one(&mut self, at: u64, id: &str, outcome: AttemptOutcome, then: Then, error: Option<String>) {
        let clock = self.clock(at);
        let Some(job) = self.jobs.get_mut(id) else { return };
        let attempt = job.attempts.len() as u32;
        if let Some(last) = job.attempts.last_mut() {
            last.ended = true;
        }
        job.over = match then {
            Then::Completed => Some(Over::Completed),
            Then::Failed | Then::DeadLetter => Some(Over::GivenUp),
            Then::RetryAt(_) => None,
        };
        self.tell(
            at,
            Settled {
                job: id.into(),
                attempt,
                outcome,
                accepted: true,
                then: Some(then),
                error,
                delay_asked_ms: None,
                clock,
            },
        );
    }

    /// What followed an attempt of `id` that ended at `index`, as it shows later.
    fn then(&self, index: usize, at: u64, id: &str, outcome: AttemptOutcome) -> Then {
        if outcome == AttemptOutcome::Completed {
            return Then::Completed;
        }
        let (clock, job) = (self.clock(at), &self.jobs[id]);
        let attempt = job.attempts.len() as u32;
        let due = self.policy(&job.queue).and_then(|policy| policy.retry_at(attempt, clock, Jitter::NONE));
        let start = Ahead::next(self.ahead.starts.get(id), index);
        let redrive = Ahead::next(self.ahead.redrives.get(id), index);
        let came_again = start.is_some_and(|start| redrive.is_none_or(|redrive| start < redrive));
        if redrive.is_some() && !came_again {
            return self.end_of(&job.queue, true);
        }
        if came_again {
            return match due {
                Some(due) => Then::RetryAt(due),
                None => self.end_of(&job.queue, self.is_kept(index, id)), // One too many follows.
            };
        }
        let cancelled = self.ahead.cancels.get(id).is_some_and(|place| index < *place);
        let waits = cancelled || self.ahead.drained.is_none() || self.ahead.paused_at_drain.contains(&job.queue);
        match due {
            Some(due) if waits => Then::RetryAt(due),
            _ => self.end_of(&job.queue, self.is_kept(index, id)),
        }
    }

    /// Whether `id` is read in a dead letter queue after `index`, or nobody could have read it there.
    fn is_kept(&self, index: usize, id: &str) -> bool {
        !self.ahead.reads_dead || Ahead::next(self.ahead.dead.get(id), index).is_some()
    }

    /// The play has drained: what is still open was lost and given up.
    fn give_up(&mut self, index: usize, at: u64) {
        let open: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.over.is_none() && job.attempts.last().is_some_and(|last| !last.ended))
            .filter(|(_, job)| !self.ahead.paused_at_drain.contains(&job.queue))
            .map(|(id, job)| (id.clone(), self.end_of(&job.queue, self.is_kept(index, id))))
            .collect();
        for (id, then) in open {
            self.settle_one(at, &id, AttemptOutcome::Lost, then, None);
        }
    }

    /// How every job stands, where nobody can ask the system: as it was seen to end.
    fn read_all(&mut self, at: u64) {
        let clock = self.clock(at);
        let rows: Vec<_> = self.jobs.iter().map(|(id, job)| (id.clone(), job.user.clone(), row(job, clock))).collect();
        for (job, user, row) in rows {
            self.tell(at, StatusRead { job, user, asked_at: at, row: Some(row) });
        }
    }
}

fn row(job: &Job, clock: u64) -> Row {
    let status = match job.over {
        Some(Over::Completed) => Status::Completed,
        Some(Over::GivenUp | Over::Cancelled) => Status::Failed,
        None if job.attempts.is_empty() => Status::Pending,
        None if job.attempts.last().is_some_and(|last| last.ended) => Status::Failed,
        None => Status::Processing,
    };
    Row {
        status,
        retry_count: (job.attempts.len() as u32).saturating_sub(1),
        result: None,
        error: None,
        created_at: clock,
        updated_at: clock,
        completed_at: job.over.map(|_| clock),
        is_final: job.over.is_some(),
        dead_letter_queue: None,
    }
}

/// The number of the operation that a question opens.
fn op_of(what: &What) -> Option<u64> {
    match what {
        What::Enqueue(it) => Some(it.op),
        What::Cancel(it) => Some(it.op),
        What::Redrive(it) => Some(it.op),
        What::Pause(it) => Some(it.op),
        What::Resume(it) => Some(it.op),
        _ => None,
    }
}

//! Works out what a system must have done from what was seen outside of it, and writes it down as the queue's own word:
//! accepted, granted, settled. So the same checkers judge a system that says nothing of itself.
//!
//! Each derived line says no more than what must have happened for the observations to be as they are, and where two
//! explanations are left, the one that accuses the system of less. The queue's clock is the harness's wall clock.

mod ahead;
mod batches;
#[cfg(test)]
mod by_hand;
mod clients;
mod ends;
mod follow_ups;
mod late;
mod made;
mod order;
pub(crate) mod reads;
mod redrives;
mod strikes;

use std::collections::{BTreeMap, BTreeSet};

use kew_spec::history::{Enqueue, Event, Finished, Granted, Lease, Sight, Started, What};
use kew_spec::queues::{Policy, Queues};

use ahead::Ahead;

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
    let mut inference = Inference {
        known,
        events,
        ahead,
        jobs: BTreeMap::new(),
        keys: BTreeMap::new(),
        asked: BTreeMap::new(),
        granted_ahead: BTreeSet::new(),
        untold: BTreeMap::new(),
        put_off: BTreeMap::new(),
        made: BTreeMap::new(),
        out: Vec::new(),
    };
    inference.made = inference.when_made();
    for (index, event) in events.iter().enumerate() {
        inference.make(index, event.at);
        inference.see(index, event);
        inference.settle_untold(index, event.at);
        inference.deliver_put_off(index, event.at);
    }
    inference.out
}

/// A job as far as it has come.
struct Job {
    queue: String,
    user: String,
    /// The entity, on a queue that deduplicates.
    key: Option<String>,
    /// The newest payload that was accepted.
    payload: String,
    /// From when on it may be delivered, on the queue's clock.
    due_clock: u64,
    attempts: Vec<Attempt>,
    over: Option<Over>,
}

#[derive(Clone, Copy, PartialEq)]
enum Over {
    Completed,
    GivenUp,
    Cancelled,
}

impl Job {
    /// Whether nobody holds it, and it has not ended.
    fn waits(&self) -> bool {
        self.over.is_none() && self.attempts.last().is_none_or(|last| last.ended)
    }
}

struct Attempt {
    delivery: String,
    /// What the batch is known by that it was in, on a queue that keeps batches together.
    batch: Option<String>,
    processor: String,
    lease_until: u64,
    ended: bool,
}

struct Inference<'a> {
    known: &'a Known<'a>,
    events: &'a [Event],
    ahead: Ahead,
    jobs: BTreeMap<String, Job>,
    /// The job of each idempotency key of each user.
    keys: BTreeMap<(String, String), String>,
    /// Deliveries that were granted before their start was seen.
    granted_ahead: BTreeSet<String>,
    /// Ends of handlers that the queue hears of after a later event: where and when they ended, by that event.
    untold: BTreeMap<usize, Vec<(usize, u64, Finished)>>,
    /// Jobs that were given to somebody who did not live to tell, by the event after which they were.
    put_off: BTreeMap<usize, Vec<(String, String)>>,
    /// Jobs that are made before their answers are heard, by the event before which they are.
    made: BTreeMap<usize, Vec<Enqueue>>,
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
            What::Started(it) => {
                for given in &it.jobs {
                    self.accept_before(index, at, &given.job);
                    self.coalesce_before(at, given);
                    self.put_back_before(at, &given.job);
                }
                let ahead = it.delivery.as_ref().is_some_and(|delivery| self.granted_ahead.remove(delivery));
                if !ahead {
                    self.grant_in_order(index, at, it);
                }
                let it = self.counted(it);
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
                }
                // A processor that comes up again was gone until now, for a queue that did not notice.
                self.deliver_unseen(index, at, &it.processor);
            }
            What::Fault(it) => {
                let heals_at = self.ahead.heals.get(&it.fault).copied().unwrap_or(u64::MAX);
                if it.active && it.kind == "kill" && it.on.iter().any(|host| !host.starts_with("processor-")) {
                    self.grant_before_death(index, at, heals_at);
                }
                self.say(event.clone());
                if it.active {
                    self.lose(index, at, &it.on, heals_at);
                }
                // Whoever holds jobs that nobody lived to tell of: a worker, as far as it matters here. What strikes is
                // written down before it does, so at its end there may be more of them.
                let holder = it.on.iter().find(|host| host.starts_with("processor-"));
                let holder = holder.map_or("processor-1", String::as_str).to_owned();
                self.deliver_unseen(index, at, &holder);
            }
            What::Reply(it) => {
                self.say(event.clone());
                self.answer(index, at, it.op);
            }
            What::StatusRead(it) => {
                self.put_back_by_read(at, it);
                self.say(event.clone());
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

    /// `it` with its attempts as they are counted here.
    fn counted(&self, it: &Started) -> Started {
        let mut it = it.clone();
        for given in &mut it.jobs {
            given.attempt = self.number(&given.job, it.delivery.as_deref()).unwrap_or(given.attempt);
        }
        it
    }

    /// The same of handlers that end.
    fn finished(&self, it: &Finished) -> Finished {
        let mut it = it.clone();
        for ended in &mut it.jobs {
            ended.attempt = self.number(&ended.job, it.delivery.as_deref()).unwrap_or(ended.attempt);
        }
        it
    }

    /// The number of the attempt of `job` that `delivery` is.
    fn number(&self, job: &str, delivery: Option<&str>) -> Option<u32> {
        let attempts = &self.jobs.get(job)?.attempts;
        let place = attempts.iter().rposition(|attempt| Some(attempt.delivery.as_str()) == delivery)?;
        Some(place as u32 + 1)
    }

    /// Handlers start: the queue has granted this delivery.
    fn grant(&mut self, at: u64, it: &Started) {
        let clock = self.clock(at);
        let lease_until = clock + self.policy(&it.queue).map_or(0, |policy| policy.timeout_ms);
        let batch = self.batch_of(it, clock);
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
                batch: batch.clone(),
                processor: it.processor.clone(),
                lease_until,
                ended: false,
            });
        }
        self.tell(
            at,
            Granted {
                delivery: it.delivery.clone().unwrap_or_default(),
                batch,
                queue: it.queue.clone(),
                processor: it.processor.clone(),
                jobs: leases,
                lease_until,
                clock,
            },
        );
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

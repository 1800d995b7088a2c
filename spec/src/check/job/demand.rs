//! How many jobs were asked for and how many were made, per distinct request. Requests that look alike cannot be told
//! apart in the queue's word, so they are counted.
//!
//! An entry goes when all its requests are answered and accounted for; so memory follows what is open.

use std::collections::BTreeMap;

use crate::check::Seen;
use crate::check::named::Named;
use crate::check::number::{Key, Queue, User};
use crate::check::print::{Print, Table};

/// For how long an idempotency key holds at least. Chosen.
const KEY_HOLDS_MS: u64 = 24 * 3_600_000;

/// When an idempotency key was first sent: on the player's clock, and on the queue's as read by then, or else soon after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) at: u64,
    clock: Option<u64>,
}

impl Sent {
    pub(super) fn now(seen: &Seen<'_>) -> Self {
        let mut now = Self { at: seen.event.at, clock: None };
        now.read(seen.ledger.clock);
        now
    }

    /// The queue's clock says `clock`.
    pub(super) fn read(&mut self, clock: u64) {
        self.clock = self.clock.or((0 < clock).then_some(clock));
    }

    /// Whether the key surely still holds, when the queue's clock says `clock`.
    pub(super) fn holds(&self, seen: &Seen<'_>, clock: u64) -> bool {
        let passed = seen.event.at - self.at;
        let by_the_queue = self.clock.map_or(0, |sent| clock.saturating_sub(sent));
        passed.max(by_the_queue) + seen.ledger.slack().clock_error_ms < KEY_HOLDS_MS
    }
}

/// What an accepted job and the enqueue behind it have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Request {
    user: User,
    queue: Queue,
    payload: Print,
    key: Option<Key>,
}

impl Request {
    fn of(named: &Named) -> Self {
        Self { user: named.user, queue: named.queue, payload: named.payload, key: named.key }
    }
}

/// The account of requests that are alike.
#[derive(Debug, Default)]
struct Demand {
    /// Enqueues that may have made a job: sent, not refused, not answered with an older job.
    operations: u64,
    /// How many of them only repeat an idempotency key, another one's or one that stands for a job already.
    repeats: u64,
    /// Jobs made.
    created: u64,
    /// The last few lines that speak of it.
    lines: Vec<u64>,
    /// Enqueues not answered yet, or never.
    unanswered: u64,
    /// Times that a request went to a job that was there already.
    merged: u64,
    /// Idempotency keys among the enqueues, with when each was sent first.
    keys: BTreeMap<Print, Sent>,
}

/// How many lines are kept to show.
const LINES_MAX: usize = 8;

impl Demand {
    fn note(&mut self, line: u64) {
        if self.lines.len() == LINES_MAX {
            self.lines.remove(1);
        }
        self.lines.push(line);
        self.lines.sort_unstable(); // That a key stands for a job was told before.
        self.lines.dedup();
    }

    /// One enqueue turns out to have made nothing.
    fn withdraw(&mut self, keyed: bool) {
        self.operations = self.operations.saturating_sub(1);
        if keyed {
            self.repeats = self.repeats.saturating_sub(1);
        }
    }

    fn is_settled(&self) -> bool {
        let merged = self.operations == 1 && 0 < self.merged && self.created == 0;
        self.unanswered == 0 && (self.operations == self.created || merged)
    }
}

/// What the making of a job amounts to.
pub(super) enum Made {
    /// Asked for.
    Asked,
    /// More of its like were asked for, but by repeating an idempotency key: `created` for `distinct` requests, for none
    /// if all keys stand for older jobs.
    Repeated { created: u64, distinct: u64 },
    /// Not asked for, or not so often.
    Unasked,
}

/// More jobs than enqueues.
pub(super) struct Excess {
    pub(super) created: u64,
    pub(super) operations: u64,
    pub(super) lines: Vec<u64>,
}

/// All accounts that are open.
#[derive(Default)]
pub(super) struct Demands {
    open: Table<Request, Demand>,
}

impl Demands {
    /// A client asks. If its idempotency key stands for a job by now, `stands` is when it was first sent, and the line
    /// that told of the job.
    pub(super) fn ask(&mut self, seen: &Seen<'_>, idempotency_key: Option<&str>, stands: Option<(Sent, u64)>) {
        let demand = self.open.at(Request::of(&seen.named));
        demand.note(seen.line);
        demand.operations += 1;
        demand.unanswered += 1;
        let Some(key) = idempotency_key else {
            return;
        };
        let key = Print::of(key);
        let asked = demand.keys.get(&key).map(|first| (*first, seen.line));
        match asked.or(stands) {
            Some((first, line)) if first.holds(seen, seen.ledger.clock) => {
                demand.repeats += 1;
                demand.keys.insert(key, first);
                demand.note(line);
            }
            _ => drop(demand.keys.insert(key, Sent::now(seen))),
        }
    }

    /// The client is answered; `made_nothing` if it was refused, or told of a job that was there before it asked.
    pub(super) fn answer(&mut self, keyed: bool, named: &Named, made_nothing: bool) -> Option<Excess> {
        let request = Request::of(named);
        let demand = self.open.get_mut(request)?;
        demand.unanswered = demand.unanswered.saturating_sub(1);
        if made_nothing {
            demand.withdraw(keyed);
        }
        let (created, operations) = (demand.created, demand.operations);
        let excess = (operations < created).then(|| Excess { created, operations, lines: demand.lines.clone() });
        demand.created = created.min(operations); // What is too much is told once.
        if demand.is_settled() {
            self.open.remove(request);
        }
        excess
    }

    /// The queue has made a job, by its clock at `clock`.
    pub(super) fn create(&mut self, seen: &Seen<'_>, clock: u64) -> Made {
        let request = Request::of(&seen.named);
        let Some(demand) = self.open.get_mut(request) else {
            return Made::Unasked;
        };
        if demand.operations <= demand.created {
            return Made::Unasked;
        }
        demand.note(seen.line);
        demand.created += 1;
        let (created, distinct) = (demand.created, demand.operations - demand.repeats);
        demand.keys.values_mut().for_each(|sent| sent.read(clock));
        let hold = demand.keys.values().all(|sent| sent.holds(seen, clock));
        if demand.is_settled() {
            self.open.remove(request);
        }
        if hold && distinct < created { Made::Repeated { created, distinct } } else { Made::Asked }
    }

    /// A request went to a job that was there already.
    pub(super) fn merge(&mut self, named: &Named) {
        let request = Request::of(named);
        let Some(demand) = self.open.get_mut(request) else {
            return;
        };
        demand.merged += 1;
        if demand.is_settled() {
            self.open.remove(request);
        }
    }

    /// The lines that speak of requests like this one, and then `line`.
    pub(super) fn lines_and(&self, named: &Named, line: u64) -> Vec<u64> {
        let demand = self.open.get(Request::of(named));
        let lines = demand.map(|demand| demand.lines.clone()).unwrap_or_default();
        lines.into_iter().filter(|&earlier| earlier != line).chain([line]).collect()
    }
}

//! Bugs of the family `rate`: starts that are not counted, and starts that are counted too often.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::store::{Answer, Claim, Command, Outlook, Store, Then};

use super::Bug;
use super::alter::{self, StoreBug};
use super::plant::{decision, policy};

pub(super) const BUGS: &[Bug] = &[
    policy("bull-2777-rate-window", "rate/ceiling", "The rate limit lets one start more through.", |it| {
        if let Some(limit) = &mut it.rate_limit {
            limit.starts += 1;
        }
    }),
    decision(
        "dbos-739-recovery-ignores-limit",
        "rate/ceiling",
        "A restart forgets the starts of the last second.",
        |store| alter::store(store, RateReset::default()),
    ),
    decision("hatchet-4874-replay-skips-limit", "rate/ceiling", "Starts of redriven jobs are not counted.", |store| {
        counted(store, |it, _| u32::from(!it.redriven))
    }),
    decision(
        "rate-window-stands-still",
        "rate/ceiling",
        "Windows follow one after the other: two may meet in a full burst.",
        |store| counted(store, |it, at| u32::from(it.at_ms / at.per_ms == at.now_ms / at.per_ms)),
    ),
    decision("rate-of-retries-uncounted", "rate/ceiling", "Only first attempts are counted.", |store| {
        counted(store, |it, _| u32::from(it.attempt == 1))
    }),
    decision("rate-refunded-on-failure", "rate/ceiling", "A start that fails gives its allowance back.", |store| {
        counted(store, |it, _| u32::from(!it.failed))
    }),
    policy("rate-window-too-long", "rate/used", "The rate limit's window is half as long again.", |it| {
        if let Some(limit) = &mut it.rate_limit {
            limit.per_ms += limit.per_ms / 2;
        }
    }),
    decision(
        "rate-counted-twice",
        "rate/used",
        "A start is counted when it is chosen and when it is given.",
        |store| counted(store, |_, _| 2),
    ),
    decision(
        "rate-window-from-the-end",
        "rate/used",
        "A start counts until a whole window after its job has ended.",
        |store| alter::store(store, Counted { from_the_end: true, ..Counted::new(|_, _| 1) }),
    ),
];

/// Knows only the claims that it has seen itself.
#[derive(Default)]
struct RateReset {
    since_ms: Option<u64>,
}

impl StoreBug for RateReset {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Claim(Claim { rate: Some((starts, per_ms)), now_ms, .. }) = command {
            // The window counts from the restart: what it holds from before is given on top.
            if self.since_ms.is_some_and(|since| *now_ms < since + *per_ms) {
                *starts *= 2;
            }
        }
        None
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        for queue in &mut outlook.queues {
            queue.recent_claims_ms.retain(|&at| since_ms <= at);
        }
    }
}

/// A start of a limited queue.
struct Start {
    at_ms: u64,
    job: String,
    attempt: u32,
    redriven: bool,
    failed: bool,
}

/// When starts are counted.
struct At {
    now_ms: u64,
    per_ms: u64,
}

/// An account of its own of what has been started, in place of the store's.
struct Counted {
    /// How often a start within the window counts.
    counts: fn(&Start, &At) -> u32,
    /// Whether a start's window begins when its job has ended.
    from_the_end: bool,
    limits: BTreeMap<String, (u32, u64)>,
    starts: BTreeMap<String, Vec<Start>>,
    redriven: BTreeSet<String>,
    /// When the broker was started, and what the store knew then of starts before.
    since_ms: Option<u64>,
    before_ms: BTreeMap<String, Vec<u64>>,
}

fn counted(inner: Box<dyn Store>, counts: fn(&Start, &At) -> u32) -> Box<dyn Store> {
    alter::store(inner, Counted::new(counts))
}

impl Counted {
    fn new(counts: fn(&Start, &At) -> u32) -> Self {
        let (limits, starts, redriven) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (since_ms, before_ms, from_the_end) = (None, BTreeMap::new(), false);
        Self { counts, from_the_end, limits, starts, redriven, since_ms, before_ms }
    }

    /// When the starts that count took place, the oldest first.
    fn recent_ms(&self, queue: &str, now_ms: u64) -> Vec<u64> {
        let before_ms = self.before_ms.get(queue).into_iter().flatten().copied();
        let Some(&(_, per_ms)) = self.limits.get(queue) else { return before_ms.collect() };
        let within = self.starts.get(queue).into_iter().flatten().filter(|start| now_ms < start.at_ms + per_ms);
        let times = within.map(|start| (start.at_ms, (self.counts)(start, &At { now_ms, per_ms })));
        let counted_ms = times.flat_map(|(at_ms, count)| std::iter::repeat_n(at_ms, count as usize));
        let mut recent_ms: Vec<_> = before_ms.filter(|at_ms| now_ms < at_ms + per_ms).chain(counted_ms).collect();
        recent_ms.sort_unstable();
        recent_ms
    }
}

impl StoreBug for Counted {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Claim(it) => {
                let (starts, per_ms) = it.rate?;
                // The store goes on to write starts down, for after a restart, and limits nothing.
                it.rate = Some((u32::MAX, per_ms));
                self.limits.insert(it.queue.clone(), (starts, per_ms));
                let used = self.recent_ms(&it.queue, it.now_ms).len();
                (starts as usize <= used).then_some(Answer::Claimed(None))
            }
            Command::Redrive { job, .. } => {
                self.redriven.insert(job.clone());
                None
            }
            _ => None,
        }
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Claim(it), Answer::Claimed(Some(claimed))) if it.rate.is_some() => {
                let start = |job: &kew_runtime::store::ClaimedJob| Start {
                    at_ms: it.now_ms,
                    job: job.lease.job.clone(),
                    attempt: job.lease.attempt,
                    redriven: self.redriven.contains(&job.lease.job),
                    failed: false,
                };
                self.starts.entry(it.queue.clone()).or_default().extend(claimed.jobs.iter().map(start));
            }
            (Command::Settle(it), Answer::Settled { accepted: true }) => {
                let of_queue = self.starts.get_mut(&it.lease.queue).into_iter().flatten();
                for start in of_queue.filter(|start| start.job == it.lease.job && start.attempt == it.lease.attempt) {
                    if self.from_the_end {
                        start.at_ms = it.now_ms;
                    }
                    start.failed = it.then != Then::Complete;
                }
            }
            _ => {}
        }
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        for queue in &mut outlook.queues {
            let before_ms = queue.recent_claims_ms.iter().copied().filter(|&at_ms| at_ms < since_ms);
            self.before_ms.insert(queue.queue.clone(), before_ms.collect());
            queue.recent_claims_ms = self.recent_ms(&queue.queue, now_ms);
        }
    }
}

//! Bugs of whoever looks after leases that have run out: orphans that nobody finds, and owners that are robbed.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::store::{Answer, Claim, Claimed, Command, LeaseId, Outcome, Outlook, Store};

use super::Bug;
use super::alter::track::{Leased, Leases};
use super::alter::{self, Every, StoreBug};
use super::plant::{decision, store};

/// How long a job stays locked where nobody notices that its worker is gone.
const LOCKED_MS: u64 = 4 * 3_600_000;

/// How many leases the rescuer looks at.
const PAGE: usize = 12;

/// How soon after it was granted a lease is taken for lost, in parts of its length.
const RESCUE_PART: u64 = 10;

pub(super) const BUGS: &[Bug] = &[
    store("oban-424-no-rescuer", "job/no-loss", "A crashed processor keeps its jobs for ever.", |store| {
        alter::outlooks(store, |_, outlook| outlook.expired.clear())
    }),
    store(
        "graphile-222-locked-for-hours",
        "job/no-loss",
        "A crashed processor's jobs are found after four hours.",
        |store| {
            hidden(store, |leases, lease, now_ms| leases.get(lease).is_none_or(|it| now_ms < it.until_ms + LOCKED_MS))
        },
    ),
    store(
        "oban-862-same-name-never-rescued",
        "job/no-loss",
        "Once a processor of the same name works again, its old jobs count as its own.",
        |store| {
            hidden(store, |leases, lease, _| {
                let newest = |name: &str| leases.last_claim_ms.get(name).copied().unwrap_or(0);
                leases.get(lease).is_some_and(|it| it.granted_ms < newest(&it.processor))
            })
        },
    ),
    store(
        "procrastinate-1518-pruned-worker-hides-job",
        "job/no-loss",
        "The jobs of a processor that was heard of no more are looked up by it, and not found.",
        |store| alter::store(store, Pruned::default()),
    ),
    store(
        "river-1318-full-rescue-page",
        "job/no-loss",
        "The rescuer looks at one page of leases, whose first ones need no rescue.",
        |store| alter::store(store, Page::default()),
    ),
    store(
        "asynq-1144-lease-record-lost",
        "job/no-loss",
        "The record of one lease in three is lost, and nobody finds it.",
        |store| hidden(store, |_, lease, _| lease.job.bytes().last().is_some_and(|byte| byte % 3 == 0)),
    ),
    store(
        "pg-boss-522-one-bad-lease-stops-all",
        "job/no-loss",
        "One lost job of an entity keeps all leases from being ended.",
        |store| alter::store(store, OneStopsAll::default()),
    ),
    store(
        "procrastinate-1408-janitor-is-a-job",
        "job/no-loss",
        "Lost leases are looked for only when a job has just been given.",
        |store| alter::store(store, JanitorIsAJob::default()),
    ),
    store("apalis-sqlite-58-silent-stop", "job/no-loss", "After thirty claims nothing is given any more.", |store| {
        alter::store(store, SilentStop::default())
    }),
    decision(
        "hexpm-1825-rescued-while-alive",
        "retry/one-owner",
        "A lease is taken for lost by its age, long before its end.",
        |store| rescued(store, |it, now_ms| it.granted_ms + (it.until_ms - it.granted_ms) / RESCUE_PART <= now_ms),
    ),
    decision(
        "plainjob-requeued-by-age",
        "retry/one-owner",
        "A job that was enqueued longer ago than its lease lasts is taken for lost at once.",
        |store| rescued(store, |it, now_ms| it.created_ms + (it.until_ms - it.granted_ms) <= now_ms),
    ),
    decision("sidekiq-4611-recovered-at-start", "retry/one-owner", "A restart takes all leases for lost.", |store| {
        alter::after_restart(store, |store| alter::store(store, RecoveredAtStart::default()))
    }),
    store("asynq-717-two-recoverers", "retry/one-owner", "Two recoverers end the same lost lease.", |store| {
        alter::store(store, TwoRecoverers)
    }),
    store("sidekiq-6379-two-pools-one-job", "retry/one-owner", "Some jobs are given twice at once.", |store| {
        alter::store(store, TwoPools::default())
    }),
];

/// Leases, and when each processor last claimed.
#[derive(Default)]
struct Book {
    leases: Leases,
    last_claim_ms: BTreeMap<String, u64>,
}

impl Book {
    fn see(&mut self, asked: &Command, answer: &Answer) {
        if let (Command::Claim(it), Answer::Claimed(Some(_))) = (asked, answer) {
            self.last_claim_ms.insert(it.processor.clone(), it.now_ms);
        }
        self.leases.see(asked, answer);
    }

    fn get(&self, lease: &LeaseId) -> Option<&Leased> {
        self.leases.get(lease)
    }
}

/// Leases that have run out and are not seen.
struct Hidden {
    book: Book,
    hide: fn(&Book, &LeaseId, u64) -> bool,
}

fn hidden(inner: Box<dyn Store>, hide: fn(&Book, &LeaseId, u64) -> bool) -> Box<dyn Store> {
    alter::store(inner, Hidden { book: Book::default(), hide })
}

impl StoreBug for Hidden {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.book.see(asked, answer);
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        outlook.expired.retain(|lease| !(self.hide)(&self.book, lease, now_ms));
    }
}

/// Whoever claims nothing for as long as a lease lasts is forgotten, and its leases with it.
#[derive(Default)]
struct Pruned {
    book: Book,
    gone: BTreeSet<LeaseId>,
}

impl StoreBug for Pruned {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.book.see(asked, answer);
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        for lease in &outlook.expired {
            let silent = |it: &Leased| self.book.last_claim_ms.get(&it.processor) == Some(&it.granted_ms);
            if self.book.get(lease).is_some_and(silent) {
                self.gone.insert(lease.clone());
            }
        }
        outlook.expired.retain(|lease| !self.gone.contains(lease));
    }
}

/// The first page of all leases there ever were.
#[derive(Default)]
struct Page {
    leases: BTreeSet<LeaseId>,
}

impl StoreBug for Page {
    fn after(&mut self, _asked: &Command, answer: &mut Answer) {
        if let Answer::Claimed(Some(claimed)) = answer {
            let room = PAGE.saturating_sub(self.leases.len());
            self.leases.extend(claimed.jobs.iter().take(room).map(|job| job.lease.clone()));
        }
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        outlook.expired.retain(|lease| self.leases.contains(lease));
    }
}

/// The queues whose jobs are of entities.
#[derive(Default)]
struct OneStopsAll {
    queues: BTreeSet<String>,
}

impl StoreBug for OneStopsAll {
    fn after(&mut self, asked: &Command, _answer: &mut Answer) {
        if let Command::Enqueue(it) = asked
            && it.key.is_some()
        {
            self.queues.insert(it.queue.clone());
        }
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        if outlook.expired.iter().any(|lease| self.queues.contains(&lease.queue)) {
            outlook.expired.clear();
        }
    }
}

#[derive(Default)]
struct JanitorIsAJob {
    has_run: bool,
}

impl StoreBug for JanitorIsAJob {
    fn after(&mut self, _asked: &Command, answer: &mut Answer) {
        self.has_run = matches!(answer, Answer::Claimed(Some(_)));
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        if !std::mem::take(&mut self.has_run) {
            outlook.expired.clear();
        }
    }
}

#[derive(Default)]
struct SilentStop {
    claims: u32,
}

impl StoreBug for SilentStop {
    fn after(&mut self, _asked: &Command, answer: &mut Answer) {
        self.claims += u32::from(matches!(answer, Answer::Claimed(Some(_))));
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        if 30 <= self.claims {
            outlook.queues.clear();
        }
    }
}

/// Leases that hold and are taken for lost.
struct Rescued {
    leases: Leases,
    is_lost: fn(&Leased, u64) -> bool,
}

fn rescued(inner: Box<dyn Store>, is_lost: fn(&Leased, u64) -> bool) -> Box<dyn Store> {
    alter::store(inner, Rescued { leases: Leases::default(), is_lost })
}

impl StoreBug for Rescued {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.leases.see(asked, answer);
    }

    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        let lost: Vec<_> =
            self.leases.0.values().filter(|it| (self.is_lost)(it, now_ms)).map(|it| it.lease.clone()).collect();
        for lease in lost {
            self.leases.0.remove(&lease.job);
            if !outlook.expired.contains(&lease) {
                outlook.expired.push(lease);
            }
        }
    }
}

/// The first look asks for leases that will have run out long from now.
#[derive(Default)]
struct RecoveredAtStart {
    has_looked: bool,
}

impl StoreBug for RecoveredAtStart {
    fn outlook_at(&mut self, now_ms: u64) -> u64 {
        if std::mem::replace(&mut self.has_looked, true) { now_ms } else { now_ms + LOCKED_MS }
    }
}

struct TwoRecoverers;

impl StoreBug for TwoRecoverers {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Settle(it), Answer::Settled { accepted }) = (asked, answer)
            && matches!(it.outcome, Outcome::Lost(_))
        {
            *accepted = true;
        }
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        let again = outlook.expired.clone();
        outlook.expired.extend(again);
    }
}

/// Every sixth claim of one job gives what the claim before gave, if it is still held.
#[derive(Default)]
struct TwoPools {
    leases: Leases,
    last: BTreeMap<String, Claimed>,
    every: Option<Every>,
}

impl TwoPools {
    fn again(&mut self, it: &Claim) -> Option<Claimed> {
        let last = self.last.get(&it.queue)?;
        let held =
            last.jobs.iter().all(|job| self.leases.get(&job.lease).is_some_and(|held| it.now_ms < held.until_ms));
        let strikes = held && self.every.get_or_insert_with(|| Every::nth(6)).strikes();
        strikes.then(|| last.clone())
    }
}

impl StoreBug for TwoPools {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Claim(it) = command else { return None };
        self.again(it).map(|claimed| Answer::Claimed(Some(claimed)))
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.leases.see(asked, answer);
        if let (Command::Claim(it), Answer::Claimed(Some(claimed))) = (asked, answer) {
            self.last.insert(it.queue.clone(), claimed.clone());
        }
    }
}

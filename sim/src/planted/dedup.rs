//! Bugs of the family `dedup`: an entity's jobs that are not found, not kept apart, not released, or written in the wrong
//! order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use kew_runtime::processor::{Delivery, Handler, Report};
use kew_runtime::store::{Answer, Command, Ending, How, NewJob, Outcome, Settle, Store, Then};
use serde_json::value::RawValue;

use super::Bug;
use super::alter::track::{Entities, Entity};
use super::alter::{self, Done, StoreBug};
use super::plant::{decision, handler, store};

/// How close after each other two enqueues do not see each other.
const RACE_MS: u64 = 100;

/// After how long the reaper takes a key for forgotten.
const REAPED_MS: u64 = 300;

/// How much of a key is compared by whoever compares too little.
const KEY_CHARS: usize = 3;

/// How far in the future a dead job is put that should have gone.
const NEVER_MS: u64 = 3_600_000;

pub(super) const BUGS: &[Bug] = &[
    store("dedup-forgotten", "dedup/coalesce", "Waiting jobs of an entity are not looked for.", |store| {
        alter::enqueues(store, |it| it.key = None)
    }),
    store("coalesce-keeps-old-payload", "dedup/coalesce", "The older payload wins.", |store| {
        alter::store(store, OldPayload::default())
    }),
    store(
        "river-161-other-path-skips-dedup",
        "dedup/coalesce",
        "An enqueue with an idempotency key goes by a path that does not deduplicate.",
        |store| alter::enqueues(store, |it| it.key = it.key.take().filter(|_| it.idempotency.is_none())),
    ),
    store(
        "good-job-378-two-enqueuers",
        "dedup/coalesce",
        "Two enqueues at nearly the same time do not see each other.",
        |store| {
            let mut last_ms: BTreeMap<(String, Option<String>), u64> = BTreeMap::new();
            alter::enqueues(store, move |it| {
                let before = last_ms.insert((it.queue.clone(), it.key.clone()), it.now_ms);
                if before.is_some_and(|before| it.now_ms < before + RACE_MS) {
                    it.key = None;
                }
            })
        },
    ),
    store(
        "retrying-job-does-not-wait",
        "dedup/coalesce",
        "A job that waits for its retry is not looked for.",
        |store| unkeyed(store, |entity, _| entity.retrying.is_some()),
    ),
    store(
        "waiting-forgotten-in-a-restart",
        "dedup/coalesce",
        "A restart forgets which entities have a job.",
        |store| {
            alter::after_restart(store, |store| {
                let mut known = BTreeSet::new();
                alter::enqueues(store, move |it| {
                    it.key.take_if(|key| known.insert(key.clone()));
                })
            })
        },
    ),
    store(
        "coalesced-answered-with-the-new-id",
        "dedup/coalesce",
        "Who adds to a waiting job is told of another.",
        |store| {
            alter::answers(store, |asked, answer| {
                if let (Command::Enqueue(it), Answer::Enqueued { job, how: How::Coalesced }) = (asked, answer) {
                    job.clone_from(&it.id);
                }
            })
        },
    ),
    decision(
        "coalesced-answered-with-an-older-job",
        "dedup/coalesce",
        "Who adds to a waiting job is told of the entity's job before.",
        |store| alter::store(store, OlderAnswer::default()),
    ),
    store(
        "second-of-an-entity-runs",
        "dedup/one-running",
        "An entity that is processing does not hold up its next job.",
        |store| unkeyed(store, |entity, _| entity.running.is_some()),
    ),
    store(
        "sidekiq-unique-580-reaper-frees-live-key",
        "dedup/one-running",
        "A reaper frees the entities of jobs that have been running for a while.",
        |store| {
            unkeyed(store, |entity, now_ms| {
                entity.running.as_ref().is_some_and(|(.., since_ms)| since_ms + REAPED_MS < now_ms)
            })
        },
    ),
    store(
        "retry-does-not-hold-up-the-next",
        "dedup/one-running",
        "An entity whose job is at its retry does not hold up the next one.",
        |store| unkeyed(store, |entity, _| entity.running.as_ref().is_some_and(|(_, attempt, _)| 1 < *attempt)),
    ),
    store("second-follow-up", "dedup/follow-up", "A follow-up that waits is not found.", |store| {
        unkeyed(store, |entity, _| entity.running.is_some() && entity.waiting.is_some())
    }),
    store("follow-up-swallowed", "dedup/follow-up", "An enqueue while one is processing is added to that.", |store| {
        swallowed(store, |_| true)
    }),
    store(
        "follow-up-of-a-retry-swallowed",
        "dedup/follow-up",
        "An enqueue while a retry is processing is added to that.",
        |store| swallowed(store, |attempt| 1 < attempt),
    ),
    handler("older-payload-synced-last", "dedup/last-write", "Versions grow the wrong way.", |handler| {
        alter::deliveries(handler, |delivery| {
            delivery.jobs.iter_mut().for_each(|job| job.version = u64::from(u32::MAX) - job.version);
        })
    }),
    handler(
        "entity-cached-by-its-handler",
        "dedup/last-write",
        "A handler syncs the first payload that it got.",
        |handler| {
            let cache: Mutex<BTreeMap<String, Box<RawValue>>> = Mutex::default();
            alter::deliveries(handler, move |delivery| {
                let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
                for job in &mut delivery.jobs {
                    if let Some(key) = &job.key {
                        job.payload.clone_from(cache.entry(key.clone()).or_insert_with(|| job.payload.clone()));
                    }
                }
            })
        },
    ),
    handler(
        "sync-skipped-where-one-was",
        "dedup/last-write",
        "Of an entity only every second job is synced.",
        |handler| Arc::new(Skipping { inner: handler, synced: Mutex::default() }),
    ),
    store("entities-collide", "dedup/distinct", "All entities count as one.", |store| {
        alter::enqueues(store, |it| it.key = it.key.as_ref().map(|_| "entity".into()))
    }),
    store("keys-compared-by-their-beginning", "dedup/distinct", "Only the beginning of a key is compared.", |store| {
        alter::enqueues(store, |it| it.key = it.key.as_ref().map(|key| key.chars().take(KEY_CHARS).collect()))
    }),
    store("keys-in-two-buckets", "dedup/distinct", "Keys are told apart by one bit of a hash.", |store| {
        alter::enqueues(store, |it| {
            let odd = |key: &String| key.bytes().filter(|byte| byte % 2 == 1).count() % 2 == 1;
            it.key = it.key.as_ref().map(|key| if odd(key) { "odd" } else { "even" }.into());
        })
    }),
    store("dedup-key-leaked", "dedup/released", "An ended job still holds its entity, once.", |store| {
        leaked(store, |end| matches!(end, End::Settled(it, _) if it.then == Then::Complete))
    }),
    store("sidekiq-unique-861-key-lost-in-crash", "dedup/released", "A lost lease leaves its entity taken.", |store| {
        leaked(store, |end| matches!(end, End::Settled(it, true) if it.then == Then::Complete))
    }),
    store("asynq-275-delete-keeps-key", "dedup/released", "A job that is cancelled still holds its entity.", |store| {
        leaked(store, |end| matches!(end, End::Cancelled))
    }),
    store(
        "asynq-629-failed-job-keeps-key",
        "dedup/released",
        "A job that has failed for good still holds its entity.",
        |store| leaked(store, |end| matches!(end, End::Settled(it, _) if it.then != Then::Complete)),
    ),
    store(
        "graphile-254-dead-job-blocks-entity",
        "dedup/released",
        "A job that has spent its attempts stays at the head of its entity.",
        |store| alter::store(store, DeadBlocks::default()),
    ),
];

/// Which payload waits for each entity.
#[derive(Default)]
struct OldPayload {
    waiting: BTreeMap<(String, String), Box<RawValue>>,
}

impl StoreBug for OldPayload {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Enqueue(it) = command
            && let Some(key) = &it.key
        {
            let first = self.waiting.entry((it.queue.clone(), key.clone())).or_insert_with(|| it.payload.clone());
            it.payload.clone_from(first);
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Claim(it), Answer::Claimed(Some(claimed))) = (asked, answer) {
            for key in claimed.jobs.iter().filter_map(|job| job.key.clone()) {
                self.waiting.remove(&(it.queue.clone(), key));
            }
        }
    }
}

/// The jobs of each entity that were there before the one that waits.
#[derive(Default)]
struct OlderAnswer {
    newest: BTreeMap<(String, String), String>,
    before: BTreeMap<(String, String), String>,
}

impl StoreBug for OlderAnswer {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        let (Command::Enqueue(it), Answer::Enqueued { job, how }) = (asked, answer) else { return };
        let Some(key) = &it.key else { return };
        let entity = (it.queue.clone(), key.clone());
        match how {
            How::Created => {
                let before = self.newest.insert(entity.clone(), job.clone());
                self.before.extend(before.map(|before| (entity, before)));
            }
            How::Coalesced => *job = self.before.get(&entity).unwrap_or(job).clone(),
            How::Replayed => {}
        }
    }
}

/// New jobs that lose their key when their entity stands in a certain way.
struct Unkeyed {
    entities: Entities,
    loses: fn(&Entity, u64) -> bool,
}

fn unkeyed(inner: Box<dyn Store>, loses: fn(&Entity, u64) -> bool) -> Box<dyn Store> {
    alter::store(inner, Unkeyed { entities: Entities::default(), loses })
}

impl StoreBug for Unkeyed {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Enqueue(NewJob { queue, key, now_ms, .. }) = command {
            key.take_if(|key| (self.loses)(&self.entities.of(queue, key), *now_ms));
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.entities.see(asked, answer);
    }
}

/// Follow-ups that are added to the job that is processing, given its attempt.
struct Swallowed {
    entities: Entities,
    swallows: fn(u32) -> bool,
}

fn swallowed(inner: Box<dyn Store>, swallows: fn(u32) -> bool) -> Box<dyn Store> {
    alter::store(inner, Swallowed { entities: Entities::default(), swallows })
}

impl StoreBug for Swallowed {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Enqueue(it) = command else { return None };
        let entity = self.entities.of(&it.queue, it.key.as_ref()?);
        let (job, attempt, _) = entity.running.filter(|_| entity.waiting.is_none() && it.idempotency.is_none())?;
        (self.swallows)(attempt).then_some(Answer::Enqueued { job, how: How::Coalesced })
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.entities.see(asked, answer);
    }
}

/// A handler that syncs only every second job of an entity, and reports the others as done.
struct Skipping {
    inner: Arc<dyn Handler>,
    synced: Mutex<BTreeSet<String>>,
}

impl Skipping {
    /// Whether an entity's last job was synced, so that this one is not.
    fn skips(&self, key: &str) -> bool {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.remove(key) || !synced.insert(key.to_owned())
    }
}

impl Handler for Skipping {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> Done<'a> {
        let key = delivery.jobs.first().and_then(|job| job.key.as_deref());
        if key.is_some_and(|key| self.skips(key)) {
            return std::future::ready(Ok(())).boxed();
        }
        self.inner.handle(delivery, report)
    }
}

/// How a job ended.
enum End<'a> {
    /// With this settle; whether a lease of it was ever lost.
    Settled(&'a Settle, bool),
    Cancelled,
}

/// An entity's ended job answers for it once more, if it ended in a certain way.
struct Leaked {
    leaks: fn(&End<'_>) -> bool,
    entities: Entities,
    lost: BTreeSet<String>,
    ended: BTreeMap<(String, String), String>,
}

fn leaked(inner: Box<dyn Store>, leaks: fn(&End<'_>) -> bool) -> Box<dyn Store> {
    let (entities, lost, ended) = (Entities::default(), BTreeSet::new(), BTreeMap::new());
    alter::store(inner, Leaked { leaks, entities, lost, ended })
}

impl Leaked {
    fn end(&mut self, job: &str, end: &End<'_>) {
        if (self.leaks)(end)
            && let Some(entity) = self.entities.key_of(job)
        {
            self.ended.insert(entity.clone(), job.to_owned());
        }
    }
}

impl StoreBug for Leaked {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Enqueue(it) = command else { return None };
        let job = self.ended.remove(&(it.queue.clone(), it.key.clone()?))?;
        Some(Answer::Enqueued { job, how: How::Coalesced })
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.entities.see(asked, answer);
        match (asked, answer) {
            (Command::Settle(it), Answer::Settled { accepted: true }) => {
                if matches!(it.outcome, Outcome::Lost(_)) {
                    self.lost.insert(it.lease.job.clone());
                }
                if !matches!(it.then, Then::RetryAt(_)) {
                    let lost = self.lost.contains(&it.lease.job);
                    self.end(&it.lease.job, &End::Settled(it, lost));
                }
            }
            (Command::Cancel { job, .. }, Answer::Ended(Ending::Done)) => self.end(job, &End::Cancelled),
            _ => {}
        }
    }
}

/// A dead job of an entity stays live, to be tried again long from now.
#[derive(Default)]
struct DeadBlocks {
    entities: Entities,
}

impl StoreBug for DeadBlocks {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && matches!(it.then, Then::Fail | Then::DeadLetter(_))
            && self.entities.of_job(&it.lease.job).is_some()
        {
            it.then = Then::RetryAt(it.now_ms + NEVER_MS);
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.entities.see(asked, answer);
    }
}

//! Bugs of the store: it does otherwise than it says. They stand behind the recorder, so that the history shows what
//! the queue believes.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::store::{Answer, Claim, Claimed, Command, How, NewJob, Outcome, Outlook, Store, Then};
use serde_json::value::RawValue;

use super::alter::{self, StoreBug};
use super::{Bug, Plant};

pub(super) const BUGS: &[Bug] = &[
    bug("lease-never-expires", "job/no-loss", "A crashed processor keeps its jobs for ever.", |store| {
        alter::store(store, NeverExpires)
    }),
    bug("enqueue-doubled", "job/no-phantom", "Some enqueues make a second job.", |store| {
        alter::store(store, Doubled::default())
    }),
    bug("idempotency-key-ignored", "job/idempotent-enqueue", "The idempotency key is not looked at.", |store| {
        alter::store(store, Enqueues(|it| it.idempotency = None))
    }),
    bug("completed-job-resurrected", "retry/stops", "Some completed jobs are delivered again.", |store| {
        alter::store(store, Resurrected::default())
    }),
    bug("bull-1416-stale-settle-accepted", "retry/one-owner", "A settle counts although its lease is over.", |store| {
        alter::store(store, StaleAccepted)
    }),
    bug("late-answer-completes", "timeout/late-result", "A late success completes the job.", |store| {
        alter::store(store, LateCompletes)
    }),
    bug("dead-letter-lost", "dead-letter/exactly", "The dead letter is not kept.", |store| {
        alter::store(
            store,
            Thens(|then| {
                if matches!(then, Then::DeadLetter(_)) {
                    *then = Then::Fail;
                }
            }),
        )
    }),
    bug(
        "dead-letter-of-others",
        "dead-letter/none",
        "Jobs of queues without one land in a dead letter queue.",
        |store| {
            alter::store(
                store,
                Thens(|then| {
                    if matches!(then, Then::Fail) {
                        *then = Then::DeadLetter("pdf_generation_dlq".into());
                    }
                }),
            )
        },
    ),
    bug("jobs-of-two-queues-in-a-batch", "batch/one-queue", "A batch takes a job of another queue along.", |store| {
        alter::store(store, TwoQueues::default())
    }),
    bug("empty-batch", "batch/not-empty", "Some batches are empty.", |store| alter::store(store, Empty::default())),
    bug("dedup-forgotten", "dedup/coalesce", "Waiting jobs of an entity are not looked for.", |store| {
        alter::store(store, Enqueues(|it| it.key = None))
    }),
    bug("coalesce-keeps-old-payload", "dedup/coalesce", "The older payload wins.", |store| {
        alter::store(store, OldPayload::default())
    }),
    bug(
        "second-of-an-entity-runs",
        "dedup/one-running",
        "An entity that is processing does not hold up its next job.",
        |store| alter::store(store, Keys { forget: |entity| entity.running, ..Keys::default() }),
    ),
    bug("second-follow-up", "dedup/follow-up", "A follow-up that waits is not found.", |store| {
        alter::store(store, Keys { forget: |entity| entity.running && entity.waiting, ..Keys::default() })
    }),
    bug("entities-collide", "dedup/distinct", "All entities count as one.", |store| {
        alter::store(store, Enqueues(|it| it.key = it.key.as_ref().map(|_| "entity".into())))
    }),
    bug("dedup-key-leaked", "dedup/released", "An ended job still holds its entity, once.", |store| {
        alter::store(store, Leaked::default())
    }),
    bug("sidekiq-unique-861-key-lost-in-crash", "dedup/released", "A lost lease leaves its entity taken.", |store| {
        alter::store(store, Leaked { only_after_loss: true, ..Leaked::default() })
    }),
];

const fn bug(
    name: &'static str,
    clause: &'static str,
    about: &'static str,
    plant: fn(Box<dyn Store>) -> Box<dyn Store>,
) -> Bug {
    Bug { name, clause, about, plant: Plant::Store(plant) }
}

struct NeverExpires;

impl StoreBug for NeverExpires {
    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        outlook.expired.clear();
        outlook.next_lease_ms = None;
    }
}

/// Alters new jobs.
struct Enqueues(fn(&mut NewJob));

impl StoreBug for Enqueues {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Enqueue(it) = command {
            (self.0)(it);
        }
        None
    }
}

/// Alters what follows an attempt.
struct Thens(fn(&mut Then));

impl StoreBug for Thens {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command {
            (self.0)(&mut it.then);
        }
        None
    }
}

/// Every third enqueue makes another job.
#[derive(Default)]
struct Doubled {
    count: u32,
    twin: Option<NewJob>,
}

impl StoreBug for Doubled {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Enqueue(it), Answer::Enqueued { how: How::Created, .. }) = (asked, answer)
            && it.key.is_none()
        {
            self.count += 1;
            if self.count.is_multiple_of(3) {
                self.twin = Some(NewJob { id: format!("{}-twin", it.id), idempotency: None, ..it.clone() });
            }
        }
    }

    fn further(&mut self) -> Option<Command> {
        self.twin.take().map(Command::Enqueue)
    }
}

/// Every fourth completed job goes back for a retry.
#[derive(Default)]
struct Resurrected {
    count: u32,
}

impl StoreBug for Resurrected {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Settle(it) = command
            && it.then == Then::Complete
        {
            self.count += 1;
            if self.count.is_multiple_of(4) {
                it.outcome = Outcome::Failed("not stored".into());
                it.then = Then::RetryAt(it.now_ms + 500);
            }
        }
        None
    }
}

struct StaleAccepted;

impl StoreBug for StaleAccepted {
    fn after(&mut self, _asked: &Command, answer: &mut Answer) {
        if let Answer::Settled { accepted } = answer {
            *accepted = true;
        }
    }
}

struct LateCompletes;

impl StoreBug for LateCompletes {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Settle(it), Answer::Settled { accepted }) = (asked, answer)
            && it.then == Then::Complete
        {
            *accepted = true;
        }
    }
}

/// A batch takes a job of the queue that was last enqueued to along.
#[derive(Default)]
struct TwoQueues {
    queues: BTreeSet<String>,
    more: Vec<Command>,
}

impl StoreBug for TwoQueues {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Enqueue(it), _) => drop(self.queues.insert(it.queue.clone())),
            (Command::Claim(it), Answer::Claimed(Some(_))) if 1 < it.max => {
                let others = self.queues.iter().filter(|queue| **queue != it.queue);
                let claim = |queue: &String| Command::Claim(Claim { queue: queue.clone(), max: 1, ..it.clone() });
                self.more = others.map(claim).collect();
            }
            _ => {}
        }
    }

    fn further(&mut self) -> Option<Command> {
        self.more.pop()
    }
}

/// Every fifth claim of several jobs gives none, but says that it did.
#[derive(Default)]
struct Empty {
    count: u32,
}

impl StoreBug for Empty {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Claim(it) = command
            && 1 < it.max
        {
            self.count += 1;
            if self.count % 5 == 1 {
                return Some(Answer::Claimed(Some(Claimed { batch: it.batch.clone(), jobs: Vec::new() })));
            }
        }
        None
    }
}

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

/// What an entity's jobs are doing.
#[derive(Clone, Copy, Default)]
struct Entity {
    running: bool,
    waiting: bool,
}

/// Forgets the key of a new job when its entity stands in a certain way.
struct Keys {
    forget: fn(Entity) -> bool,
    entities: BTreeMap<String, Entity>,
    of_job: BTreeMap<String, String>,
}

impl Default for Keys {
    fn default() -> Self {
        Self { forget: |_| false, entities: BTreeMap::new(), of_job: BTreeMap::new() }
    }
}

impl StoreBug for Keys {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Enqueue(it) = command
            && let Some(key) = it.key.clone()
        {
            let entity = self.entities.entry(key).or_default();
            if (self.forget)(*entity) {
                it.key = None;
            }
            entity.waiting = true;
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Claim(_), Answer::Claimed(Some(claimed))) => {
                for job in &claimed.jobs {
                    let Some(key) = job.key.clone() else { continue };
                    self.entities.insert(key.clone(), Entity { running: true, waiting: false });
                    self.of_job.insert(job.lease.job.clone(), key);
                }
            }
            (Command::Settle(it), Answer::Settled { accepted: true }) => {
                if let Some(entity) = self.of_job.get(&it.lease.job).and_then(|key| self.entities.get_mut(key)) {
                    entity.running = false;
                }
            }
            _ => {}
        }
    }
}

/// An entity's ended job answers for it once more.
#[derive(Default)]
struct Leaked {
    only_after_loss: bool,
    of_job: BTreeMap<String, String>,
    lost: BTreeSet<String>,
    ended: BTreeMap<String, String>,
}

impl StoreBug for Leaked {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Enqueue(it) = command
            && let Some(job) = it.key.as_ref().and_then(|key| self.ended.remove(key))
        {
            return Some(Answer::Enqueued { job, how: How::Coalesced });
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Enqueue(it), Answer::Enqueued { job, how: How::Created }) => {
                if let Some(key) = &it.key {
                    self.of_job.insert(job.clone(), key.clone());
                }
            }
            (Command::Settle(it), Answer::Settled { accepted: true }) => {
                if matches!(it.outcome, Outcome::Lost(_)) {
                    self.lost.insert(it.lease.job.clone());
                }
                let leaks = !self.only_after_loss || self.lost.contains(&it.lease.job);
                if it.then == Then::Complete
                    && leaks
                    && let Some(key) = self.of_job.get(&it.lease.job)
                {
                    self.ended.insert(key.clone(), it.lease.job.clone());
                }
            }
            _ => {}
        }
    }
}

//! Random commands: few queues, keys, users and ids, so that they meet; leases that hold, and ones that do not.

use kew_runtime::store::*;
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use serde_json::value::RawValue;

pub(crate) const QUEUES: [&str; 2] = ["mail", "sync"];
pub(crate) const USERS: [&str; 2] = ["ada", "bo"];
pub(crate) const DEAD_LETTER_QUEUES: [&str; 2] = ["mail_dlq", "pdf_dlq"];
pub(crate) const IDS: u8 = 24;

/// JSON that a database could take for something else, or change.
const PAYLOADS: [&str; 8] = ["{}", "1.50", "-0", "1e5", "null", "\"7\"", "[1, 2]", "{\"a\" : \"é\\u0000\"}"];

/// What happens at one moment: some time passes, then commands are applied in one transaction, the first `split` of them
/// ahead of the others. Sometimes the store is reopened.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) pass_ms: u64,
    pub(crate) steps: Vec<Step>,
    pub(crate) split: usize,
    pub(crate) reopen: bool,
}

/// A command, before it is known which leases and what time there are.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Enqueue { job: NewJob, delay_ms: u64, remember_ms: u64 },
    Claim { queue: usize, is_batch: bool, max: u32, rate: Option<(u32, u64)>, keep_attempts: bool, lease_ms: u64 },
    Settle { which: prop::sample::Index, wrong: Option<Wrong>, outcome: Outcome, then: Then, keep_batch: bool },
    Cancel { job: u8, user: Option<usize> },
    Pause { queue: usize, paused: bool },
    Redrive { which: prop::sample::Index, delay_ms: u64 },
    Purge { which: prop::sample::Index },
    Told { through: u64 },
    Prune { kept_ms: u64 },
}

/// What is wrong with a lease.
#[derive(Clone, Debug)]
pub(crate) enum Wrong {
    Queue,
    Job,
    Attempt,
    Fence,
}

/// The name of a job.
pub(crate) fn id(number: u8) -> String {
    format!("job-{number}")
}

/// A history of a store.
pub(crate) fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let pass_ms = prop_oneof![10 => Just(0), 20 => 1u64..1_500, 1 => 80_000_000u64..100_000_000];
    let moment = (pass_ms, vec(step(), 1..6), 0usize..6, prop::bool::weighted(0.05));
    vec(moment.prop_map(|(pass_ms, steps, split, reopen)| Moment { pass_ms, steps, split, reopen }), 1..40)
}

fn step() -> impl Strategy<Value = Step> {
    let (job, queue, delay_ms) = (0..IDS, 0..QUEUES.len(), prop_oneof![Just(0), 0u64..3_000]);
    let rate = weighted(0.3, (1u32..4, prop_oneof![Just(1_000u64), 1u64..2_000]));
    let (is_batch, keep_attempts) = (prop::bool::weighted(0.7), prop::bool::weighted(0.8));
    let claim = (queue.clone(), is_batch, 1u32..4, rate, keep_attempts, 1u64..10_000);
    let wrong = prop_oneof![Just(Wrong::Queue), Just(Wrong::Job), Just(Wrong::Attempt), Just(Wrong::Fence)];
    let settle = (any::<prop::sample::Index>(), weighted(0.15, wrong), ending(), any::<bool>());
    prop_oneof![
        8 => (new_job(), delay_ms.clone(), prop_oneof![0u64..3_000, Just(90_000_000)])
            .prop_map(|(job, delay_ms, remember_ms)| Step::Enqueue { job, delay_ms, remember_ms }),
        8 => claim.prop_map(|(queue, is_batch, max, rate, keep_attempts, lease_ms)| {
            Step::Claim { queue, is_batch, max, rate, keep_attempts, lease_ms }
        }),
        8 => settle.prop_map(|(which, wrong, (outcome, then), keep_batch)| {
            Step::Settle { which, wrong, outcome, then, keep_batch }
        }),
        1 => (job, of(0..USERS.len())).prop_map(|(job, user)| Step::Cancel { job, user }),
        1 => (queue, prop::bool::weighted(0.25)).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
        4 => (any::<prop::sample::Index>(), delay_ms).prop_map(|(which, delay_ms)| Step::Redrive { which, delay_ms }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Purge { which }),
        1 => (0u64..20).prop_map(|through| Step::Told { through }),
        1 => prop_oneof![0u64..3_000, Just(90_000_000)].prop_map(|kept_ms| Step::Prune { kept_ms }),
    ]
}

fn ending() -> impl Strategy<Value = (Outcome, Then)> {
    let error = || (0u8..3).prop_map(|number| format!("error {number}"));
    let failure = prop_oneof![
        error().prop_map(Outcome::Failed),
        error().prop_map(Outcome::TimedOut),
        error().prop_map(Outcome::Lost),
    ];
    let to = prop::sample::select(&DEAD_LETTER_QUEUES[..]).prop_map(|to| Then::DeadLetter(to.into()));
    let then = prop_oneof![3 => (0u64..3_000).prop_map(Then::RetryAt), 1 => Just(Then::Fail), 3 => to];
    prop_oneof![
        1 => json().prop_map(|result| (Outcome::Completed(result), Then::Complete)),
        3 => (failure, then),
    ]
}

fn json() -> impl Strategy<Value = Box<RawValue>> {
    prop::sample::select(&PAYLOADS[..]).prop_map(|text| RawValue::from_string(text.into()).unwrap())
}

fn new_job() -> impl Strategy<Value = NewJob> {
    let idempotency = weighted(0.2, (0u8..3, 0u8..2)).prop_map(|it| {
        it.map(|(key, fingerprint)| Idempotency {
            key: format!("once-{key}"),
            fingerprint: format!("print-{fingerprint}"),
            until_ms: 0,
        })
    });
    let key = weighted(0.7, (0u8..2).prop_map(|key| format!("entity-{key}")));
    let email = of(Just("a@example.org".to_owned()));
    let names = (prop::sample::select(&QUEUES[..]), prop::sample::select(&USERS[..]));
    (0..IDS, names, json(), key, idempotency, email).prop_map(
        |(number, (queue, user), payload, key, idempotency, email)| {
            let (queue, user) = (queue.to_owned(), user.to_owned());
            NewJob {
                id: id(number),
                queue,
                user,
                payload,
                key,
                idempotency,
                email,
                repeats_until_ms: 0,
                ready_ms: 0,
                now_ms: 0,
            }
        },
    )
}

impl Step {
    /// The command at `now_ms`, given the leases that were handed out; `None` if it needs one and there is none.
    pub(crate) fn command(self, now_ms: u64, leases: &[LeaseId], serial: usize) -> Option<Command> {
        Some(match self {
            Self::Enqueue { mut job, delay_ms, remember_ms } => {
                (job.now_ms, job.ready_ms) = (now_ms, now_ms + delay_ms);
                job.idempotency.iter_mut().for_each(|it| it.until_ms = now_ms + remember_ms);
                job.repeats_until_ms = now_ms + remember_ms;
                Command::Enqueue(job)
            }
            Self::Claim { queue, is_batch, max, rate, keep_attempts, lease_ms } => Command::Claim(Claim {
                queue: QUEUES[queue].into(),
                processor: "processor".into(),
                delivery: format!("delivery-{serial}"),
                is_batch,
                max,
                rate,
                keep_attempts,
                lease_until_ms: now_ms + lease_ms,
                now_ms,
            }),
            Self::Settle { which, wrong, outcome, mut then, keep_batch } => {
                let lease = wrong_lease(pick(leases, which)?, wrong);
                if let Then::RetryAt(delay_ms) = &mut then {
                    *delay_ms += now_ms;
                }
                Command::Settle(Settle { lease, outcome, then, keep_batch, now_ms })
            }
            Self::Cancel { job, user } => {
                Command::Cancel { job: id(job), user: user.map(|user| USERS[user].into()), now_ms }
            }
            Self::Pause { queue, paused } => Command::Pause { queue: QUEUES[queue].into(), paused, now_ms },
            Self::Redrive { which, delay_ms } => {
                Command::Redrive { job: pick(leases, which)?.job.clone(), ready_ms: now_ms + delay_ms, now_ms }
            }
            Self::Purge { which } => Command::Purge { job: pick(leases, which)?.job.clone(), now_ms },
            Self::Told { through } => Command::Told { through, now_ms },
            Self::Prune { kept_ms } => Command::Prune { ended_before_ms: now_ms.saturating_sub(kept_ms), now_ms },
        })
    }
}

/// One of the last few leases: of those more hold, and their jobs have died more often, than of all.
fn pick(leases: &[LeaseId], which: prop::sample::Index) -> Option<&LeaseId> {
    let recent = &leases[leases.len().saturating_sub(5)..];
    recent.get(which.index(recent.len().max(1)))
}

fn wrong_lease(lease: &LeaseId, wrong: Option<Wrong>) -> LeaseId {
    let mut lease = lease.clone();
    match wrong {
        None => {}
        Some(Wrong::Queue) => lease.queue.push('x'),
        Some(Wrong::Job) => lease.job.push('x'),
        Some(Wrong::Attempt) => lease.attempt += 1,
        Some(Wrong::Fence) => lease.fence += 1,
    }
    lease
}

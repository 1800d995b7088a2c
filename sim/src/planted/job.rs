//! Bugs of the family `job`: jobs that are lost, made of nothing, mangled, or made twice. What becomes of orphans is in
//! `lease`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use kew_runtime::broker::{Queue, Refusal, Request, Response};
use kew_runtime::store::{Answer, Command, Ending, How, NewJob, Store, Then};
use serde_json::value::RawValue;

use super::Bug;
use super::alter::{self, Every, StoreBug};
use super::plant::{api, handler, processor, store};

/// How soon an enqueue without a reply is asked again.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// For how long a forgetful queue remembers an idempotency key.
const KEY_REMEMBERED_MS: u64 = 300;

pub(super) const BUGS: &[Bug] = &[
    processor(
        "faktory-486-slot-stuck-after-lost-ack",
        "job/no-loss",
        "A settle whose reply is lost keeps its slot for ever.",
        |queue| {
            alter::calls(queue, |queue, request| {
                let settles = matches!(request, Request::Settle(_));
                async move {
                    match queue.call(request).await {
                        Err(Refusal::Unavailable(_)) if settles => std::future::pending().await,
                        reply => reply,
                    }
                }
                .boxed()
            })
        },
    ),
    store(
        "pg-boss-613-same-tick-same-job",
        "job/no-loss",
        "Two events of one user for the same tick become one.",
        |store| alter::store(store, SameTick::default()),
    ),
    store("enqueue-doubled", "job/no-phantom", "Some enqueues make a second job.", |store| {
        let mut every = Every::nth(3);
        twins(store, move |it| it.key.is_none() && every.strikes())
    }),
    store(
        "solid-queue-636-two-schedulers",
        "job/no-phantom",
        "Two schedulers each enqueue what is due at a tick.",
        |store| twins(store, |it| it.now_ms < it.ready_ms),
    ),
    store("ghost-in-a-batch", "job/no-phantom", "Some batches hold a job that nobody enqueued.", |store| {
        let mut every = Every::nth(4);
        alter::answers(store, move |asked, answer| {
            if let (Command::Claim(it), Answer::Claimed(Some(claimed))) = (asked, answer)
                && claimed.jobs.len() < it.max as usize
                && let Some(mut ghost) = claimed.jobs.last().cloned()
                && every.strikes()
            {
                ghost.lease.job.push_str("-ghost");
                claimed.jobs.push(ghost);
            }
        })
    }),
    api(
        "asked-again-under-a-new-id",
        "job/no-phantom",
        "An enqueue whose reply was lost is asked again, each time as another one, until it is answered.",
        |queue| alter::calls(queue, |queue, request| asked_again(queue, request).boxed()),
    ),
    handler("payload-written-anew", "job/payload", "The payload is parsed and written anew.", |handler| {
        alter::deliveries(handler, |delivery| delivery.jobs.iter_mut().for_each(|job| write_anew(&mut job.payload)))
    }),
    handler(
        "payload-of-a-retry-written-anew",
        "job/payload",
        "From its second attempt on, a job's payload is parsed and written anew.",
        |handler| {
            alter::deliveries(handler, |delivery| {
                let retried = delivery.jobs.iter_mut().filter(|job| 1 < job.attempt);
                retried.for_each(|job| write_anew(&mut job.payload));
            })
        },
    ),
    store(
        "payloads-of-a-full-batch-swapped",
        "job/payload",
        "The last two jobs of a full batch have each other's payload.",
        |store| {
            alter::answers(store, |asked, answer| {
                if let (Command::Claim(it), Answer::Claimed(Some(claimed))) = (asked, answer)
                    && claimed.jobs.len() == it.max as usize
                    && let [.., one, other] = &mut claimed.jobs[..]
                {
                    std::mem::swap(&mut one.payload, &mut other.payload);
                }
            })
        },
    ),
    api(
        "escapes-resolved-on-the-way-in",
        "job/payload",
        "Escapes in a payload are resolved before it is kept.",
        |queue| {
            alter::requests(queue, |request| {
                if let Request::Enqueue(jobs) = request {
                    for job in jobs {
                        let resolved = job.payload.get().replace("\\u00e9", "é");
                        job.payload = RawValue::from_string(resolved).expect("an escape and its letter mean the same");
                    }
                }
            })
        },
    ),
    store("idempotency-key-ignored", "job/idempotent-enqueue", "The idempotency key is not looked at.", |store| {
        alter::enqueues(store, |it| it.idempotency = None)
    }),
    store(
        "idempotency-key-of-a-moment",
        "job/idempotent-enqueue",
        "An idempotency key is forgotten after a moment.",
        |store| alter::store(store, Forgetful::default()),
    ),
    store(
        "idempotency-key-goes-with-the-job",
        "job/idempotent-enqueue",
        "When its job has ended, an idempotency key is free again.",
        |store| alter::store(store, Forgetful { with_the_job: true, ..Forgetful::default() }),
    ),
    store(
        "idempotency-key-lost-in-a-restart",
        "job/idempotent-enqueue",
        "A restart forgets the idempotency keys from before it.",
        |store| {
            alter::after_restart(store, |store| {
                let mut known = BTreeSet::new();
                alter::enqueues(store, move |it| {
                    it.idempotency.take_if(|it| known.insert(it.key.clone()));
                })
            })
        },
    ),
    store(
        "replay-answered-with-the-new-id",
        "job/idempotent-enqueue",
        "A repeated request is answered with an id of its own.",
        |store| {
            alter::answers(store, |asked, answer| {
                if let (Command::Enqueue(it), Answer::Enqueued { job, how: How::Replayed }) = (asked, answer) {
                    job.clone_from(&it.id);
                }
            })
        },
    ),
];

/// Asks until there is an answer, whether or not whoever wanted it still waits.
async fn asked_again(queue: Arc<dyn Queue>, request: Request) -> Result<Response, Refusal> {
    if !matches!(request, Request::Enqueue(_)) {
        return queue.call(request).await;
    }
    let asking = tokio::spawn(async move {
        let mut request = request;
        loop {
            match queue.call(request.clone()).await {
                Err(Refusal::Unavailable(_)) => tokio::time::sleep(ASKED_AGAIN_AFTER).await,
                reply => return reply,
            }
            request = renamed(request);
        }
    });
    asking.await.unwrap_or_else(|error| Err(Refusal::Unavailable(error.to_string())))
}

/// The same enqueue as another request.
fn renamed(mut request: Request) -> Request {
    if let Request::Enqueue(jobs) = &mut request {
        jobs.iter_mut().for_each(|job| job.id.push_str("-again"));
    }
    request
}

fn write_anew(payload: &mut Box<RawValue>) {
    let value: serde_json::Value = serde_json::from_str(payload.get()).unwrap_or_default();
    *payload = serde_json::value::to_raw_value(&value).expect("a value is JSON");
}

/// Some new jobs have a twin.
struct Twins<F> {
    has_twin: F,
    twin: Option<NewJob>,
}

fn twins(inner: Box<dyn Store>, has_twin: impl FnMut(&NewJob) -> bool + Send + 'static) -> Box<dyn Store> {
    alter::store(inner, Twins { has_twin, twin: None })
}

impl<F: FnMut(&NewJob) -> bool + Send + 'static> StoreBug for Twins<F> {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Enqueue(it), Answer::Enqueued { how: How::Created, .. }) = (asked, answer)
            && (self.has_twin)(it)
        {
            self.twin = Some(NewJob { id: format!("{}-twin", it.id), idempotency: None, ..it.clone() });
        }
    }

    fn further(&mut self) -> Option<Command> {
        self.twin.take().map(Command::Enqueue)
    }
}

/// Which job of which user stands for each tick of each queue.
#[derive(Default)]
struct SameTick {
    jobs: BTreeMap<(String, String, u64), String>,
}

impl StoreBug for SameTick {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Enqueue(it) = command else { return None };
        if it.ready_ms <= it.now_ms || it.idempotency.is_some() {
            return None;
        }
        let job = self.jobs.get(&(it.queue.clone(), it.user.clone(), it.ready_ms))?;
        Some(Answer::Enqueued { job: job.clone(), how: How::Replayed })
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Enqueue(it), Answer::Enqueued { job, how: How::Created }) = (asked, answer)
            && it.now_ms < it.ready_ms
        {
            self.jobs.insert((it.queue.clone(), it.user.clone(), it.ready_ms), job.clone());
        }
    }
}

/// Idempotency keys that are forgotten too early: by when each was made, or with its job.
#[derive(Default)]
struct Forgetful {
    with_the_job: bool,
    made_ms: BTreeMap<(String, String), u64>,
    of_job: BTreeMap<String, (String, String)>,
}

impl StoreBug for Forgetful {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        if let Command::Enqueue(it) = command {
            let user = it.user.clone();
            let (made_ms, now_ms) = (&self.made_ms, it.now_ms);
            it.idempotency.take_if(|it| {
                made_ms.get(&(user, it.key.clone())).is_some_and(|made| made + KEY_REMEMBERED_MS < now_ms)
            });
        }
        None
    }

    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        match (asked, answer) {
            (Command::Enqueue(it), Answer::Enqueued { job, how: How::Created }) => {
                let Some(idempotency) = &it.idempotency else { return };
                let key = (it.user.clone(), idempotency.key.clone());
                if self.with_the_job {
                    self.of_job.insert(job.clone(), key);
                } else {
                    self.made_ms.insert(key, it.now_ms);
                }
            }
            (Command::Settle(it), Answer::Settled { accepted: true }) if !matches!(it.then, Then::RetryAt(_)) => {
                self.made_ms.extend(self.of_job.remove(&it.lease.job).map(|key| (key, 0)));
            }
            (Command::Cancel { job, .. }, Answer::Ended(Ending::Done)) => {
                self.made_ms.extend(self.of_job.remove(job).map(|key| (key, 0)));
            }
            _ => {}
        }
    }
}

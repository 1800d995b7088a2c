//! The world outside: a store of entities that keeps the newest version of each, a store of events that knows what it
//! has, and a mail server. It writes down what reaches it. It is never struck itself, only the way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri};
use axum::routing::post;
use kew_spec::history::{Notified, Stored, Via};
use kew_spec::lifecycle::Status;
use serde::Deserialize;

use super::{Result, SharedNet, serve};
use crate::record::{Recorder, fingerprint};

/// Its name in the network.
pub const HOST: &str = "outside";

/// What the world outside has.
#[derive(Clone, Debug)]
pub struct Outside {
    recorder: Recorder,
    state: Arc<Mutex<Things>>,
}

#[derive(Clone, Debug, Default)]
struct Things {
    versions: BTreeMap<(String, String), u64>,
    events: BTreeSet<(String, String)>,
    mails: BTreeSet<String>,
}

/// What a handler sends.
#[derive(Deserialize)]
struct Delivery {
    queue: String,
    batch: String,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    job: String,
    user: String,
    key: Option<String>,
    version: u64,
    payload: String,
}

/// A mail.
#[derive(Deserialize)]
struct Mail {
    text: String,
}

impl Outside {
    /// An empty world.
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder, state: Arc::default() }
    }

    /// Serves it.
    pub async fn serve(self, net: SharedNet) -> Result {
        let router = Router::new().route("/{place}", post(take)).layer(DefaultBodyLimit::disable()).with_state(self);
        serve(net.as_ref(), router).await
    }

    /// The same world once more, which goes its own way from here on.
    pub fn fork(&self, recorder: Recorder) -> Self {
        let things = self.things().clone();
        Self { recorder, state: Arc::new(Mutex::new(things)) }
    }

    /// Takes what a handler brings to `path`; false if there is no such place or it is of another form.
    pub fn take(&self, path: &str, body: &[u8]) -> bool {
        let Ok(it) = serde_json::from_slice(body) else { return false };
        match path {
            "/entities" => self.entities(it),
            "/events" => self.events(it),
            "/mails" => self.mails(it),
            _ => return false,
        }
        true
    }

    fn entities(&self, it: Delivery) {
        for entry in it.entries {
            let key = entry.key.unwrap_or_default();
            let mut things = self.things();
            let known = things.versions.entry((it.queue.clone(), key.clone())).or_default();
            let applied = *known < entry.version;
            *known = (*known).max(entry.version);
            drop(things);
            self.recorder.see(Stored {
                queue: it.queue.clone(),
                jobs: vec![entry.job],
                batch: None,
                key: Some(key),
                payload: Some(fingerprint(&entry.payload)),
                applied,
            });
        }
    }

    /// A store of events knows a batch by its id, and within it each event: what it has, it does not store again.
    fn events(&self, it: Delivery) {
        let (mut new, mut known) = (Vec::new(), Vec::new());
        for entry in it.entries {
            let fresh = self.things().events.insert((it.batch.clone(), entry.job.clone()));
            if fresh { new.push(entry.job) } else { known.push(entry.job) }
        }
        for (jobs, applied) in [(new, true), (known, false)] {
            if !jobs.is_empty() {
                let (queue, batch) = (it.queue.clone(), Some(it.batch.clone()));
                self.recorder.see(Stored { queue, jobs, batch, key: None, payload: None, applied });
            }
        }
    }

    fn mails(&self, it: Delivery) {
        for entry in it.entries {
            let applied = self.things().mails.insert(entry.job.clone());
            let (queue, jobs) = (it.queue.clone(), vec![entry.job]);
            self.recorder.see(Stored { queue, jobs, batch: None, key: None, payload: None, applied });
            let mail: Option<Mail> = serde_json::from_str(&entry.payload).ok();
            if let Some((job, status)) = mail.and_then(|mail| told(&mail.text)) {
                self.recorder.see(Notified { user: entry.user, via: Via::Email, session: None, job, status });
            }
        }
    }

    fn things(&self) -> MutexGuard<'_, Things> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take(State(outside): State<Outside>, uri: Uri, body: Bytes) -> StatusCode {
    if outside.take(uri.path(), &body) { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

/// What a mail of the notifier tells: it begins "The job JOB of the queue QUEUE ended as STATUS at".
fn told(text: &str) -> Option<(String, Status)> {
    let mut words = text.strip_prefix("The job ")?.split(' ');
    let job = words.next()?.to_owned();
    let status = words.skip_while(|word| *word != "as").nth(1)?.parse().ok()?;
    Some((job, status))
}

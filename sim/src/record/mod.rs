//! The recorder: what is seen at the seams of the system becomes the history, and all of it, with every byte on the
//! network, goes into one rolling hash. Two runs of one seed must agree on it.

mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kew_spec::history::{Event, What};
use sha2::{Digest, Sha256};

pub use store::RecordingStore;

use crate::clock;

/// Where all hosts and the driver write down what they see.
#[derive(Clone, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    hash: Sha256,
    ops: u64,
    last_at: u64,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Writes down what a host sees now.
    pub fn see(&self, what: impl Into<What>) {
        let at = clock::now_ms();
        self.see_at(at, what);
    }

    /// Writes down what is seen at the simulated time `at`.
    pub fn see_at(&self, at: u64, what: impl Into<What>) {
        let event = Event { at, what: what.into() };
        let mut inner = self.inner();
        let line = serde_json::to_vec(&event).expect("an event is made of plain data");
        inner.hash.update(&line);
        inner.last_at = inner.last_at.max(at);
        inner.events.push(event);
    }

    /// Takes bytes on the network into the hash.
    pub fn traffic(&self, bytes: &[u8]) {
        let at = clock::now_ms();
        let mut inner = self.inner();
        inner.hash.update(at.to_le_bytes());
        inner.hash.update(bytes);
    }

    /// Takes something into the hash that is no observation.
    pub fn note(&self, text: &str) {
        self.traffic(text.as_bytes());
    }

    /// A number for the next operation.
    pub fn next_op(&self) -> u64 {
        let mut inner = self.inner();
        inner.ops += 1;
        inner.ops
    }

    /// The history in order of time, and the hash over everything.
    pub fn finish(&self) -> (Vec<Event>, String) {
        let mut inner = self.inner();
        let mut events = std::mem::take(&mut inner.events);
        // Within one tick the hosts run one after the other; nothing passes between hosts in less than a tick, so
        // sorting by time keeps every cause before its effect.
        events.sort_by_key(|event| event.at);
        let hash = std::mem::take(&mut inner.hash).finalize();
        (events, hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A payload's fingerprint: equal if and only if the payloads are equal byte for byte.
pub fn fingerprint(payload: &str) -> String {
    Sha256::digest(payload.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

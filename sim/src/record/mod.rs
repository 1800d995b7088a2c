//! The recorder: what is seen at the seams of the system becomes the history, and all of it, with every byte on the
//! network, goes into one rolling hash. Two runs of one seed must agree on it.

mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kew_spec::history::{Event, What};
use sha2::{Digest, Sha256};

pub use store::{RecordingStore, Witness, row};

use crate::clock;

/// Where all hosts and the driver write down what they see.
#[derive(Clone, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    events: Vec<Event>,
    /// Not kept by a recorder that goes on from an earlier one.
    hash: Option<Sha256>,
    ops: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self { events: Vec::new(), hash: Some(Sha256::new()), ops: 0 }
    }
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
        if let Some(hash) = &mut inner.hash {
            hash.update(line(&event));
        }
        inner.events.push(event);
    }

    /// Takes bytes on the network into the hash.
    pub fn traffic(&self, bytes: &[u8]) {
        let at = clock::now_ms();
        let mut inner = self.inner();
        if let Some(hash) = &mut inner.hash {
            hash.update(at.to_le_bytes());
            hash.update(bytes);
        }
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
        let events = self.take();
        let rolling = self.inner().hash.take();
        let hash = rolling.map_or_else(|| hash(&events), |rolling| hex(&rolling.finalize()));
        (events, hash)
    }

    /// The history in order of time.
    pub(crate) fn take(&self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.inner().events);
        // Within one tick the hosts run one after the other; nothing passes between hosts in less than a tick, so
        // sorting by time keeps every cause before its effect.
        events.sort_by_key(|event| event.at);
        events
    }

    /// A recorder that goes on from `events`, the last operation having been `ops`. It keeps no rolling hash.
    pub(crate) fn resume(events: Vec<Event>, ops: u64) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { events, hash: None, ops })) }
    }

    /// What was seen since the first `skip` events, and the number of the last operation.
    pub(crate) fn seen(&self, skip: usize) -> (Vec<Event>, u64) {
        let inner = self.inner();
        (inner.events[skip..].to_vec(), inner.ops)
    }

    /// How many events were seen.
    pub(crate) fn len(&self) -> usize {
        self.inner().events.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(event: &Event) -> Vec<u8> {
    serde_json::to_vec(event).expect("an event is made of plain data")
}

/// A hash over events alone.
pub(crate) fn hash(events: &[Event]) -> String {
    let hash = events.iter().fold(Sha256::new(), |hash, event| hash.chain_update(line(event)));
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A payload's fingerprint: equal if and only if the payloads are equal byte for byte.
pub fn fingerprint(payload: &str) -> String {
    hex(&Sha256::digest(payload.as_bytes())[..8])
}

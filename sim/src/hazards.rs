//! What the driver of a world and its hosts tell each other: who is down, paused, about to die, or asks for everything
//! twice, and whether the store's last commit is in doubt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What hangs over the hosts.
#[derive(Clone, Default)]
pub struct Hazards {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    paused: Counts,
    repeating: Counts,
    armed: Counts,
    down: BTreeSet<String>,
    doomed: BTreeSet<String>,
    in_doubt: bool,
    struck_ms: Option<u64>,
}

/// How many faults of a kind are in force on each host.
#[derive(Default)]
struct Counts(BTreeMap<String, u32>);

impl Counts {
    fn add(&mut self, host: &str) {
        *self.0.entry(host.to_owned()).or_default() += 1;
    }

    fn remove(&mut self, host: &str) {
        if let Some(count) = self.0.get_mut(host) {
            *count = count.saturating_sub(1);
        }
    }

    fn has(&self, host: &str) -> bool {
        self.0.get(host).is_some_and(|count| 0 < *count)
    }
}

impl Hazards {
    /// Asks for the death of `host`, by itself.
    pub fn crash(&self, host: &str) {
        self.inner().doomed.insert(host.to_owned());
    }

    /// Whether `host` is paused.
    pub fn is_paused(&self, host: &str) -> bool {
        self.inner().paused.has(host)
    }

    /// Whether `host` is down, or going down this moment.
    pub fn is_down(&self, host: &str) -> bool {
        self.inner().down.contains(host)
    }

    /// Whether `host` asks twice for what may be asked twice.
    pub fn repeats(&self, host: &str) -> bool {
        self.inner().repeating.has(host)
    }

    /// Whether the commit that `host` has just made is its last act; if so, once.
    pub fn spring(&self, host: &str) -> bool {
        let mut inner = self.inner();
        let springs = inner.armed.has(host);
        inner.armed.remove(host);
        springs
    }

    /// Notes whether the store's last commit ended with an error: it is undone, but for a crash that brings its frames
    /// back to light.
    pub fn doubt(&self, in_doubt: bool) {
        self.inner().in_doubt = in_doubt;
    }

    /// When a fault struck or healed last, or a host died or came back, in simulated milliseconds.
    pub fn struck_ms(&self) -> Option<u64> {
        self.inner().struck_ms
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.inner().in_doubt
    }

    pub(crate) fn strike(&self, now_ms: u64) {
        self.inner().struck_ms = Some(now_ms);
    }

    pub(crate) fn take_doomed(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.inner().doomed)
    }

    /// Notes that `host` goes down.
    pub fn fall(&self, host: &str) {
        self.inner().down.insert(host.to_owned());
    }

    pub(crate) fn rise(&self, host: &str) {
        self.inner().down.remove(host);
    }

    pub(crate) fn pause(&self, host: &str) {
        self.inner().paused.add(host);
    }

    pub(crate) fn resume(&self, host: &str) {
        self.inner().paused.remove(host);
    }

    pub(crate) fn repeat(&self, host: &str) {
        self.inner().repeating.add(host);
    }

    pub(crate) fn relent(&self, host: &str) {
        self.inner().repeating.remove(host);
    }

    pub(crate) fn arm(&self, host: &str) {
        self.inner().armed.add(host);
    }

    pub(crate) fn disarm(&self, host: &str) {
        self.inner().armed.remove(host);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

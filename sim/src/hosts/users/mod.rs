//! The users and operators: they enqueue, cancel, redrive, pause and read as the scenario says, listen on their
//! sessions, and at the end wait for the queue to drain and read everything.
//!
//! What they know is what they were told: a reply that does not come in time is unknown.

mod enqueue;
mod operate;
mod read;
mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kew_runtime::net::Client;
use kew_spec::history::Drained;
use kew_spec::scenario::Scenario;
use tokio::time::Instant;

use super::{Result, SharedNet, api, url};
use crate::clock;
use crate::drain::{Bound, Drain, Limits, Noted, Outstanding, RECOVERY_MS};
use crate::hazards::Hazards;
use crate::record::Recorder;
use crate::script::Script;

/// Their host's name in the network.
pub const HOST: &str = "users";

/// The bearer token that acts as an operator.
pub const OPERATOR: &str = "operator";

/// How long a user waits for a reply.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// How often jobs that are still open are read while the queue drains: often at first, then ever less often, since
/// what takes long takes long.
const DRAIN_LOOK: Duration = Duration::from_secs(1);

/// How much longer each wait for the drain is than the one before, as a part of the time since it began.
const DRAIN_LOOK_PART: u32 = 8;

/// How long a mail may take once its job has ended: it waits for its batch, and is a delivery of its own.
const MAILS_MS: u64 = 15_000;

/// What the users share.
#[derive(Clone)]
pub struct Users {
    /// What is played.
    pub scenario: Arc<Scenario>,
    /// Every job by its label.
    pub script: Script,
    /// Where it is written down.
    pub recorder: Recorder,
    /// Their network.
    pub net: SharedNet,
    /// What follows for how long draining may take.
    pub limits: Arc<Limits>,
    /// Where it is noted how long it took.
    pub drain: Noted,
    /// What struck when.
    pub hazards: Hazards,
    /// How late anything may be that takes a few messages, in milliseconds.
    pub late_ms: u64,
    /// What they know.
    pub known: Arc<Mutex<Known>>,
}

/// What the users know.
#[derive(Default)]
pub struct Known {
    /// Jobs that were acknowledged, by id: whose, and which label.
    jobs: BTreeMap<String, (String, String)>,
    /// The job of each label.
    of_label: BTreeMap<String, String>,
    /// Jobs that were seen to be final.
    ended: std::collections::BTreeSet<String>,
    /// The retries of jobs, as last read.
    retries: BTreeMap<String, u32>,
    /// Enqueues that are not answered yet, and have not been given up.
    asking: u32,
    /// Redrives that are under way.
    redriving: u32,
    /// When the last redrive of a job was answered that may have taken place.
    redriven_ms: BTreeMap<String, u64>,
    /// The connections of each token.
    clients: BTreeMap<String, Client>,
}

impl Known {
    /// A job has its end before it again. What was asked about it before may be about an earlier end.
    fn redrive(&mut self, job: String, now_ms: u64) {
        self.ended.remove(&job);
        self.retries.remove(&job);
        self.redriven_ms.insert(job, now_ms);
    }

    /// A job was read as of `asked_ms` or later.
    fn read(&mut self, job: &str, retries: u32, is_final: bool, asked_ms: u64) {
        if self.redriven_ms.get(job).is_some_and(|redriven_ms| asked_ms < *redriven_ms) {
            return;
        }
        self.retries.insert(job.to_owned(), retries);
        if is_final {
            self.ended.insert(job.to_owned());
        }
    }
}

impl Users {
    /// Plays the scenario's part of the users; returns when everything has drained and been read.
    pub async fn play(self) -> Result {
        let sessions = session::open_all(&self);
        for job in self.scenario.jobs() {
            tokio::task::spawn_local(enqueue::enqueue(self.clone(), job));
        }
        for op in self.scenario.ops.clone() {
            tokio::task::spawn_local(operate::operate(self.clone(), sessions.clone(), op));
        }
        let looking = tokio::task::spawn_local(read::look_around(self.clone()));
        tokio::time::sleep(Duration::from_millis(self.scenario.length_ms() + 1)).await;
        looking.abort();
        let (ok, bound) = self.drain().await;
        self.settle(&sessions).await;
        self.recorder.see(Drained { ok, bound_ms: bound.ms() });
        read::everything(&self).await;
        Ok(())
    }

    /// Waits until nothing is left to do, at most for the bound of what is outstanding once all that has ended is known;
    /// whether it came to that.
    async fn drain(&self) -> (bool, Bound) {
        let began = Instant::now();
        // Each gives a job another life, which its end before says nothing of.
        while 0 < self.known().redriving {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        read::open_jobs(self).await;
        // Looking at very many jobs may take longer than the bound of what is left of them.
        let known = Instant::now();
        let bound = self.limits.bound(&self.outstanding());
        let mut turn = 0;
        let ok = loop {
            if self.nothing_left() {
                break true;
            }
            let Some(left) = Duration::from_millis(bound.ms()).checked_sub(known.elapsed()) else { break false };
            let wait = DRAIN_LOOK.max(began.elapsed() / DRAIN_LOOK_PART);
            tokio::time::sleep(wait.min(left + Duration::from_millis(1))).await;
            read::some_open_jobs(self, turn).await;
            turn += 1;
        };
        self.drain.note(Drain { took_ms: known.elapsed().as_millis() as u64, bound });
        (ok, bound)
    }

    /// Waits until whoever is owed word of an end has it: the system has recovered from what struck last, mails have
    /// been sent, and every session stands.
    async fn settle(&self, sessions: &session::Sessions) {
        let mails = self.scenario.job_specs.iter().any(|job| job.email);
        let struck_ms = self.hazards.struck_ms().map_or(0, |at| at + RECOVERY_MS);
        let now_ms = clock::now_ms();
        let from_ms = struck_ms.max(now_ms) + self.late_ms + if mails { MAILS_MS } else { 0 };
        tokio::time::sleep(Duration::from_millis(from_ms + 1 - now_ms)).await;
        sessions.settle(&self.scenario.users(), from_ms).await;
    }

    /// Every job that may not have ended, and the attempt that is running or due as far as was read. A job whose enqueue
    /// was never answered may be there or not, and counts.
    fn outstanding(&self) -> Vec<Outstanding<'_>> {
        let known = self.known();
        let job = |label: &str| known.of_label.get(label);
        let open = self.script.values().filter(|it| !job(&it.label).is_some_and(|job| known.ended.contains(job)));
        let retries = |label: &str| job(label).and_then(|job| known.retries.get(job)).copied().unwrap_or(0);
        open.map(|it| (it, retries(&it.label) + 1)).collect()
    }

    /// Every acknowledged job has ended, but for those whose script never lets them succeed and whose queue never gives up.
    fn nothing_left(&self) -> bool {
        let known = self.known();
        let open = known.jobs.iter().filter(|(job, _)| !known.ended.contains(*job));
        let mut open = open.filter(|(_, (_, label))| self.script.get(label).is_none_or(|job| self.limits.ends(job)));
        known.asking == 0 && open.next().is_none()
    }

    /// The api as `token` sees it.
    fn client(&self, token: &str) -> Client {
        let new = || Client::new(self.net.clone(), url(api::HOST), Some(token.to_owned()));
        self.known().clients.entry(token.to_owned()).or_insert_with(new).clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_before_a_redrive_was_answered_says_nothing_of_the_end_after_it() {
        let mut known = Known::default();
        known.read("a", 2, true, 10);
        assert!(known.ended.contains("a"));
        known.redrive("a".into(), 20);
        known.read("a", 2, true, 19);
        assert!(!known.ended.contains("a") && known.retries.is_empty());
        known.read("a", 1, false, 20);
        assert_eq!(known.retries["a"], 1);
        known.read("a", 2, true, 30);
        assert!(known.ended.contains("a"));
    }
}

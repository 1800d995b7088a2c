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

use super::{Result, SharedNet, api, url};
use crate::clock;
use crate::drain::{Drain, Limits, Noted, Outstanding};
use crate::record::Recorder;
use crate::script::Script;

/// Their host's name in the network.
pub const HOST: &str = "users";

/// The bearer token that acts as an operator.
pub const OPERATOR: &str = "operator";

/// How long a user waits for a reply.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// How often everything that is still open is read while the queue drains.
const DRAIN_LOOK: Duration = Duration::from_secs(1);

/// How long sessions may take, once all else is done, to find out that they are cut, to come back and to catch up: a
/// session is given up after [`session::SILENCE`], and what it missed comes at once.
const SESSIONS_SETTLE: Duration = Duration::from_secs(50);

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
    pub limits: Limits,
    /// Where it is noted how long it took.
    pub drain: Noted,
    known: Arc<Mutex<Known>>,
}

/// What the users know.
#[derive(Default)]
struct Known {
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
}

impl Users {
    /// Users of `scenario`.
    pub fn new(
        scenario: Arc<Scenario>,
        script: Script,
        recorder: Recorder,
        net: SharedNet,
        limits: Limits,
        drain: Noted,
    ) -> Self {
        Self { scenario, script, recorder, net, limits, drain, known: Arc::default() }
    }

    /// Plays the scenario's part of the users; returns when everything has drained and been read.
    pub async fn play(self) -> Result {
        let sessions = session::open_all(&self);
        for job in self.scenario.jobs() {
            tokio::task::spawn_local(enqueue::enqueue(self.clone(), job));
        }
        for op in self.scenario.ops.clone() {
            tokio::task::spawn_local(operate::operate(self.clone(), sessions.clone(), op));
        }
        tokio::task::spawn_local(read::look_around(self.clone()));
        tokio::time::sleep(Duration::from_millis(self.scenario.length_ms() + 1)).await;
        self.drain().await;
        read::everything(&self).await;
        Ok(())
    }

    /// Waits until nothing is left to do, at most for the bound of what is outstanding once all that has ended is known.
    async fn drain(&self) {
        let began = clock::now_ms();
        read::open_jobs(self).await;
        let bound = self.limits.bound(&self.outstanding());
        let ok = loop {
            if self.nothing_left() {
                break true;
            }
            if bound.ms() < clock::now_ms() - began {
                break false;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
            read::open_jobs(self).await;
        };
        self.drain.note(Drain { took_ms: clock::now_ms() - began, bound });
        tokio::time::sleep(SESSIONS_SETTLE).await;
        self.recorder.see(Drained { ok, bound_ms: bound.ms() });
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
        Client::new(self.net.clone(), url(api::HOST), Some(token.to_owned()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! One point: what a loss model leaves of a cut, opened again by the runtime's own code, examined, and played to its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kew_runtime::ids::Ids;
use kew_runtime::store::Sqlite;
use kew_spec::history::{Drained, Fault, Processor, Reply, Told};
use tokio::task::JoinSet;

use super::before::{Cut, host};
use super::commits::Commits;
use super::digest::digest;
use super::judge::State;
use super::site::{self, Site};
use super::users::{self, Known, Users};
use super::{DOWN_MS, Model, Point, Sweep, number, runtime, sealed};
use crate::disk::Disk;
use crate::faults::Hazards;
use crate::hosts::broker;
use crate::record::Recorder;
use crate::{Error, clock};

/// How often it is looked whether everything is done; twice in a row it has to be so.
const LOOK: Duration = Duration::from_millis(400);

/// The number of the one fault.
const POWER: u64 = 1;

impl Sweep {
    /// Plays the point of `cut` and `model`.
    ///
    /// # Errors
    ///
    /// If the run's own machinery fails. A database that cannot be opened is no error, but what the point shows.
    pub fn point(&self, cut: &Cut, model: Model) -> Result<Point, Error> {
        let seed = number(self.seed, &format!("{} {model}", cut.operation));
        sealed(seed, || {
            let site = self.site_after(cut, model, seed);
            let opened = site.open();
            let state = match &opened {
                Ok(_) => self.examine(cut),
                Err(error) => State::Unreadable(error.to_string()),
            };
            let known = self.goes_dark(&site, cut, &state);
            let lost = match opened {
                Ok(store) => self.recover(&site, store, known, cut)?,
                Err(_) => 0,
            };
            Ok(self.judge(cut, model, state, lost, &site.recorder))
        })
    }

    fn site_after(&self, cut: &Cut, model: Model, seed: u64) -> Site {
        let disk = cut.disk.fork(broker::HOST, seed);
        disk.power_cut(model.loss());
        disk.heal();
        let recorder = Recorder::resume(cut.events.clone(), cut.ops);
        Site {
            workload: self.workload.clone(),
            synchronous: self.synchronous,
            disk,
            outside: cut.outside.fork(recorder.clone()),
            recorder,
            commits: Commits::default(),
            hazards: Hazards::default(),
            seed: number(seed, "broker ids"),
        }
    }

    /// Looks at the database that was found: is it sound, and at which commit does it stand?
    fn examine(&self, cut: &Cut) -> State {
        let looked = Disk::open(&site::path()).and_then(|connection| {
            let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            Ok((sound, digest(&connection)?))
        });
        let (sound, digest) = match looked {
            Ok((sound, digest)) if sound == "ok" => (true, digest),
            Ok((complaint, _)) => return State::Unsound(complaint),
            Err(error) => return State::Unreadable(error.to_string()),
        };
        debug_assert!(sound);
        let acknowledged = cut.progress.acknowledged;
        let last = acknowledged + usize::from(cut.progress.in_doubt);
        match self.commits[..=last].iter().rposition(|commit| commit.digest == digest) {
            Some(at) if acknowledged <= at => State::Kept { in_doubt_too: acknowledged < at },
            Some(at) => State::RolledBack { commits: (acknowledged - at) as u64 },
            None => State::Between,
        }
    }

    /// Writes down that the power went, and what everybody knows of it. A commit that was in doubt and is there is the
    /// queue's word from that moment on.
    fn goes_dark(&self, site: &Site, cut: &Cut, state: &State) -> Known {
        let at = cut.at_ms;
        if let State::Kept { in_doubt_too: true } = state {
            let commit = &self.commits[cut.progress.acknowledged + 1];
            commit.events.iter().for_each(|event| site.recorder.see_at(at, event.what.clone()));
        }
        let on = site::hosts(&self.workload);
        site.recorder.see_at(at, Fault { fault: POWER, kind: "power".into(), on, active: true });
        for processor in site::processors(&self.workload) {
            site.recorder.see_at(at, Processor { processor, up: false, slots: 0 });
        }
        let mut known = cut.known.clone();
        for session in users::closed_sessions(&self.workload, &known) {
            site.recorder.see_at(at, session);
        }
        for op in known.cut(&self.workload) {
            let error = Some("the connection was cut".into());
            site.recorder.see_at(at, Reply { op, outcome: Told::Unknown, job: None, error });
        }
        known
    }

    /// The power is back: everything goes on and drains, and everything is read. Returns how many acknowledged jobs are
    /// not there.
    fn recover(&self, site: &Site, store: Sqlite, known: Known, cut: &Cut) -> Result<u64, Error> {
        let runtime = runtime(site.seed)?;
        let lost = runtime.block_on(async {
            clock::begin(cut.at_ms + DOWN_MS);
            let on = site::hosts(&self.workload);
            site.recorder.see(Fault { fault: POWER, kind: "power".into(), on, active: false });
            let mut tasks = JoinSet::new();
            let handle = site.start(store, &mut tasks).map_err(host)?;
            let users = Users {
                workload: self.workload.clone(),
                queue: Arc::new(handle),
                recorder: site.recorder.clone(),
                known: Arc::new(Mutex::new(known)),
                ids: Ids::from_seed(number(site.seed, "users")),
            };
            users.open_sessions();
            users.read_all().await;
            let ok = users.play_all(&mut tasks, LOOK, cut.at_ms + self.end_ms()).await;
            site.recorder.see(Drained { ok, bound_ms: self.workload.bound_ms });
            let lost = users.read_all().await;
            let queues = self.workload.queues.iter();
            for dead_letter_queue in queues.filter_map(|(_, policy)| policy.dead_letter_queue.as_deref()) {
                users.reading().dead_letters(dead_letter_queue).await;
            }
            site.processors_fall();
            Ok(lost)
        });
        drop(runtime);
        lost
    }
}

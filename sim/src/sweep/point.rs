//! One point: what a loss model leaves of a cut, opened again by the runtime's own code, examined, and played to its end.
//!
//! What follows is a function of the cut and of what the database says: no chance that it meets depends on the model.
//! So points of one cut whose databases say the same share one [`Future`], and a point that is played alone comes to the
//! very same one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kew_runtime::ids::Ids;
use kew_runtime::store::Sqlite;
use kew_spec::history::{Drained, Fault, Processor, Reply, Told};
use tokio::task::JoinSet;

use super::before::{Cut, host};
use super::commits::Commits;
use super::digest::digest;
use super::judge::{Future, Point, State};
use super::site::{self, Site};
use super::users::{self, Known, Users};
use super::{DOWN_MS, Model, Sweep, number, runtime, sealed};
use crate::disk::Disk;
use crate::hazards::Hazards;
use crate::hosts::broker;
use crate::record::Recorder;
use crate::{Error, clock};

/// The number of the one fault.
const POWER: u64 = 1;

/// The futures of one cut, by what the sound database said that they began with.
type Futures = BTreeMap<u64, Arc<Future>>;

impl Sweep {
    /// Plays the points of `cut` under each of `models`.
    ///
    /// # Errors
    ///
    /// If the run's own machinery fails. A database that cannot be opened is no error, but what a point shows.
    pub fn points(&self, cut: &Cut, models: impl IntoIterator<Item = Model>) -> Result<Vec<Point>, Error> {
        let mut futures = Futures::new();
        models.into_iter().map(|model| self.point(cut, model, &mut futures)).collect()
    }

    fn point(&self, cut: &Cut, model: Model, futures: &mut Futures) -> Result<Point, Error> {
        let seed = number(self.seed, &cut.operation.to_string());
        sealed(seed, || {
            let site = self.site_after(cut, model, seed);
            let opened = site.open();
            let (state, says) = match &opened {
                Ok(_) => self.examine(cut),
                Err(error) => (State::Unreadable(error.to_string()), None),
            };
            let shared = says.and_then(|says| futures.get(&says)).cloned();
            let is_first = shared.is_none();
            let future = match shared {
                Some(future) => future,
                None => Arc::new(self.future(&site, opened.ok(), &state, cut)?),
            };
            says.into_iter().for_each(|says| drop(futures.insert(says, future.clone())));
            Ok(Point { operation: cut.operation, model, state, future, is_first })
        })
    }

    fn site_after(&self, cut: &Cut, model: Model, seed: u64) -> Site {
        let disk = cut.disk.fork(broker::HOST, number(seed, &model.to_string()));
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

    /// Looks at the database that was found: at which commit does it stand, and if it is sound, what does it say?
    fn examine(&self, cut: &Cut) -> (State, Option<u64>) {
        let looked = Disk::open(&site::path()).and_then(|connection| {
            let complaint: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            Ok((complaint, digest(&connection)?))
        });
        match looked {
            Ok((complaint, says)) if complaint == "ok" => (self.place(cut, says), Some(says)),
            Ok((complaint, _)) => (State::Unsound(complaint), None),
            Err(error) => (State::Unreadable(error.to_string()), None),
        }
    }

    /// After which commit of the run the database said this.
    fn place(&self, cut: &Cut, says: u64) -> State {
        let acknowledged = cut.progress.acknowledged;
        let last = acknowledged + usize::from(cut.progress.in_doubt);
        match self.commits[..=last].iter().rposition(|commit| commit.digest == says) {
            Some(at) if acknowledged <= at => State::Kept { in_doubt_too: acknowledged < at },
            Some(at) => State::RolledBack { commits: (acknowledged - at) as u64 },
            None => State::Between,
        }
    }

    /// Plays what follows, on the store if it could be opened, and lets all clauses judge.
    fn future(&self, site: &Site, store: Option<Sqlite>, state: &State, cut: &Cut) -> Result<Future, Error> {
        let known = self.goes_dark(site, cut, state);
        let lost = store.map_or(Ok(0), |store| self.recover(site, store, known, cut))?;
        Ok(self.judge(lost, &site.recorder))
    }

    /// Writes down that the power went, and what everybody knows of it. A commit that was in doubt and is there is the
    /// queue's word from that moment on.
    fn goes_dark(&self, site: &Site, cut: &Cut, state: &State) -> Known {
        let at = cut.at_ms;
        if let State::Kept { in_doubt_too: true } = state {
            let commit = &self.commits[cut.progress.acknowledged + 1];
            commit.events.iter().for_each(|event| site.recorder.see_at(at, event.what.clone()));
        }
        site.recorder.see_at(at, self.power(true));
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

    fn power(&self, active: bool) -> Fault {
        Fault { fault: POWER, kind: "power".into(), on: site::hosts(&self.workload), active }
    }

    /// The power is back: everything goes on and drains, and everything is read. Returns how many acknowledged jobs are
    /// not there.
    fn recover(&self, site: &Site, store: Sqlite, known: Known, cut: &Cut) -> Result<u64, Error> {
        let runtime = runtime(site.seed)?;
        let lost = runtime.block_on(async {
            clock::begin(cut.at_ms + DOWN_MS);
            site.recorder.see(self.power(false));
            let mut tasks = JoinSet::new();
            let users = Users {
                workload: self.workload.clone(),
                queue: Arc::new(site.start(store, &mut tasks).map_err(host)?),
                recorder: site.recorder.clone(),
                known: Arc::new(Mutex::new(known)),
                ids: Ids::from_seed(number(site.seed, "users")),
            };
            users.open_sessions();
            users.read_all().await;
            let ok = users.play_all(&mut tasks, cut.at_ms + self.end_ms()).await;
            site.recorder.see(Drained { ok, bound_ms: self.workload.bound_ms });
            let lost = users.read_all().await;
            users.read_dead_letters().await;
            site.processors_fall();
            Ok(lost)
        });
        drop(runtime);
        lost
    }
}

//! A whole verification: every scenario that fits is played, side by side, and judged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kew_spec::clause::{self, CLAUSES};
use kew_spec::scenario::{Act, FaultSpec, OpAct, Scenario, library};
use kew_spec::verdict::State;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::capability::Is;
use crate::clock::Clock;
use crate::doubt::{excuse, excuse_missed, put_down_to_the_machine};
use crate::fit::{Fitted, fit};
use crate::fleet::{Fleet, System};
use crate::judge::{Judged, judge};
use crate::lag::Lag;
use crate::link::Error;
use crate::mover::Mover;
use crate::play::{Played, play};
use crate::probe::Probe;
use crate::protocol::About;
use crate::repeat::{repeat, shown};
use crate::result::{Cell, ClauseResult, NOT_ASKED_FOR, Skipped, Spent, VERSION, Verification};
use crate::scenarios;
use crate::stalls::Stalls;

/// How many plays without strikes go on side by side on the shared processes.
const CALM_AT_ONCE: usize = 12;

/// How many plays with strikes, each with processes of its own.
pub(crate) const STRUCK_AT_ONCE: usize = 6;

/// How many workers the shared processes have.
const WORKERS: usize = 3;

/// A machine that lets sleepers wait so long cannot judge what is late.
const LAG_MS_MAX: u64 = 400;

/// What to verify.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clauses and families to look at; empty for all.
    pub only: Vec<String>,
    /// How often what broke a clause is played again.
    pub repeats: u32,
    /// Scenarios in place of the library.
    pub scenarios: Option<Vec<Scenario>>,
    /// For [`conformance!`](crate::conformance!): the queue goes by tokio's clock alone, so it is played in virtual time,
    /// where seconds pass in no time and no machine is too slow.
    pub virtual_time: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { only: Vec::new(), repeats: 5, scenarios: None, virtual_time: false }
    }
}

impl Options {
    /// Whether `clause` is looked at.
    pub fn wants(&self, clause: &str) -> bool {
        let of = |only: &String| clause == only || clause.split('/').next() == Some(only);
        self.only.is_empty() || self.only.iter().any(of)
    }
}

/// What is told while it goes on.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The system has introduced itself, and so many scenarios will be played.
    Begun {
        /// The system.
        system: String,
        /// How many plays there will be, repetitions aside.
        plays: usize,
    },
    /// A play is over.
    Played {
        /// Its scenario.
        scenario: String,
        /// How many clauses it broke.
        broken: usize,
    },
}

/// A verification with the plays that it is made of.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What it came to.
    pub result: Verification,
    /// Every play, by scenario.
    pub plays: BTreeMap<String, Judged>,
}

/// One scenario that is to be played.
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) fitted: Fitted,
}

/// Verifies `system`.
pub(crate) async fn verify(
    name: &str,
    system: &System,
    options: &Options,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<Verified, Error> {
    let (began, clock) = (real_now(), system.clock(options));
    let virtually = Instant::now();
    let stalls = Stalls::default();
    let lag = Lag::begin(stalls.clone());
    let (fleet, about) = Fleet::start(system, &clock, WORKERS, false).await?;
    let (fleet, about) = (Arc::new(fleet), Arc::new(about));
    let mover = system.is_moved().then(|| Mover::begin(&fleet, &clock));
    let (parts, skipped) = parts(system, &about, options);
    tell(Progress::Begun { system: about.title(), plays: parts.len() });
    let probe = Probe::begin(Arc::clone(&fleet), &about, stalls.clone()).await?;
    let (system, hall_about, turn) = (system.clone(), Arc::clone(&about), Mutex::new(0));
    let stage = Hall { system, about: hall_about, fleet: Some(fleet), turn, clock, stalls };
    let stage = Arc::new(stage);
    let (played, longest, longest_ms) = all(&stage, &parts, tell).await?;
    let late_ms = probe.late_ms(&about, &lag);
    let judge_one = |(part, played): (&Part, &Played)| {
        (part.name.clone(), judge(played, &about, &part.name, late_ms, part.fitted.strikes))
    };
    let plays: BTreeMap<_, _> =
        parts.iter().filter_map(|part| Some((part, played.get(&part.name)?))).map(judge_one).collect();
    let mut clauses: Vec<_> = CLAUSES.iter().map(|it| sum(it, &about, &plays, options)).collect();
    let again = real_now();
    let calmly = repeat(&stage, &parts, &plays, &mut clauses, late_ms, options).await?;
    let spent = Spent { longest, longest_ms, again_ms: again.elapsed().as_millis() as u64 };
    put_down_to_the_machine(&mut clauses, &calmly);
    if LAG_MS_MAX < lag.p999_ms() {
        excuse(&mut clauses);
    }
    let exercises = |part: &Part, clause: &str| part.fitted.scenario.exercises.iter().any(|it| it == clause);
    let stalled = |part: &Part| plays.get(&part.name).is_some_and(|play| play.stalled);
    excuse_missed(&mut clauses, |clause| parts.iter().any(|part| exercises(part, clause) && stalled(part)));
    probe.end();
    let virtual_ms = (mover.is_some() || options.virtual_time).then(|| virtually.elapsed().as_millis() as u64);
    if let Some(mover) = mover {
        mover.end().await;
    }
    Hall::end(stage).await;
    let result = Verification {
        kew_verification: VERSION,
        target: name.to_owned(),
        system: about.title(),
        version: about.version.clone(),
        capabilities: about.capabilities.clone(),
        clauses,
        played: plays.keys().cloned().collect(),
        skipped,
        unplayed: unplayed(&about, &parts),
        late_ms,
        lag_p999_ms: lag.p999_ms(),
        wall_ms: began.elapsed().as_millis() as u64,
        virtual_ms,
        spent: Some(spent),
    };
    Ok(Verified { result, plays })
}

/// The machine's own clock, which nothing pauses.
fn real_now() -> std::time::Instant {
    #[expect(clippy::disallowed_methods, reason = "how long somebody had to wait")]
    std::time::Instant::now()
}

/// Where plays go on: the shared processes, or some of their own.
pub(crate) struct Hall {
    system: System,
    pub(crate) about: Arc<About>,
    fleet: Option<Arc<Fleet>>,
    turn: Mutex<u32>,
    clock: Clock,
    stalls: Stalls,
}

impl Hall {
    pub(crate) async fn play(&self, fitted: &Fitted) -> Result<Played, Error> {
        let turn = {
            let mut turn = self.turn.lock().expect("nobody panics with it");
            *turn += 1;
            *turn
        };
        let prefix = format!("k{}x{turn}", std::process::id() % 100_000);
        let about = Arc::clone(&self.about);
        if !fitted.strikes {
            let fleet = self.fleet.clone().expect("it is there until the end");
            return play(fleet, about, fitted.clone(), prefix, &self.clock, &self.stalls).await;
        }
        let workers = (fitted.scenario.processors as usize).clamp(1, WORKERS);
        let proxied = fitted.scenario.faults.iter().any(|fault| matches!(fault.kind.family(), "partition" | "delay"));
        let (fleet, _) = Fleet::start(&self.system, &self.clock, workers, proxied).await?;
        let fleet = Arc::new(fleet);
        let played = play(Arc::clone(&fleet), about, fitted.clone(), prefix, &self.clock, &self.stalls).await;
        end(fleet).await;
        played
    }

    async fn end(this: Arc<Self>) {
        if let Some(fleet) = Arc::into_inner(this).and_then(|hall| hall.fleet) {
            end(fleet).await;
        }
    }
}

/// Ends a fleet. The last tasks of a play may still hold on to it for a moment.
async fn end(mut fleet: Arc<Fleet>) {
    for _ in 0..250 {
        match Arc::try_unwrap(fleet) {
            Ok(fleet) => {
                // How it leaves is no part of the verdict; `smoke` looks at it.
                let _ = fleet.end().await;
                return;
            }
            Err(shared) => fleet = shared,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What fits, the longest first, and what does not.
fn parts(system: &System, about: &About, options: &Options) -> (Vec<Part>, Vec<Skipped>) {
    let all = || library().into_iter().chain(scenarios::all()).collect();
    let scenarios: Vec<_> = options.scenarios.clone().unwrap_or_else(all);
    let (mut parts, mut skipped) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        // One that is asked for by name is played in any case: it may break a clause that it is not about.
        let is_named = options.scenarios.is_some() || scenario.exercises.is_empty();
        let about_it = is_named || scenario.exercises.iter().any(|clause| options.wants(clause));
        if !about_it {
            continue;
        }
        match fit(&scenario, about, system.reach(about)) {
            Ok(fitted) => parts.push(Part { name: scenario.name, fitted }),
            Err(why) => skipped.push(Skipped { scenario: scenario.name, why }),
        }
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.fitted.scenario.length_ms()));
    (parts, skipped)
}

/// What the system declares, has no clause of its own, and is used by none of `parts`.
fn unplayed(about: &About, parts: &[Part]) -> Vec<String> {
    let of = |does: &dyn Fn(&Scenario) -> bool| parts.iter().any(|part| does(&part.fitted.scenario));
    let asks = |act: OpAct| of(&|scenario| scenario.ops.iter().any(|op| op.act == act));
    let crashes = |scenario: &Scenario| {
        let dies = scenario.jobs().iter().flat_map(|job| &job.attempts).any(|attempt| attempt.act == Act::Crash);
        let on_a_worker = |fault: &FaultSpec| fault.kind.hosts().iter().any(|host| host.starts_with("processor-"));
        dies || scenario.faults.iter().any(on_a_worker)
    };
    let can = &about.capabilities;
    let declared = [
        ("crash", can.crash.is_there(), of(&crashes)),
        ("cancel", can.cancel.is_there(), asks(OpAct::Cancel)),
        ("pause", can.pause.is_there(), asks(OpAct::Pause)),
    ];
    declared.into_iter().filter(|(_, there, used)| *there && !used).map(|(name, ..)| name.to_owned()).collect()
}

/// Plays all, side by side. Answers with what was seen of each, and which took longest, for how many milliseconds.
async fn all(
    hall: &Arc<Hall>,
    parts: &[Part],
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<(BTreeMap<String, Played>, String, u64), Error> {
    let (calm, struck) = (Arc::new(Semaphore::new(CALM_AT_ONCE)), Arc::new(Semaphore::new(STRUCK_AT_ONCE)));
    let mut playing = JoinSet::new();
    for part in parts {
        let permits = Arc::clone(if part.fitted.strikes { &struck } else { &calm });
        let (hall, fitted, name) = (Arc::clone(hall), part.fitted.clone(), part.name.clone());
        playing.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("it is never closed");
            let began = real_now();
            let played = hall.play(&fitted).await;
            (name, played, began.elapsed().as_millis() as u64)
        });
    }
    let (mut played, mut longest) = (BTreeMap::new(), (0, String::new()));
    while let Some(done) = playing.join_next().await {
        let (name, one, took_ms) = done.expect("a play does not panic");
        played.insert(name.clone(), one?);
        longest = longest.max((took_ms, name.clone()));
        tell(Progress::Played { scenario: name, broken: 0 });
    }
    Ok((played, longest.1, longest.0))
}

/// How it stands with one clause over all plays.
fn sum(clause: &clause::Clause, about: &About, plays: &BTreeMap<String, Judged>, options: &Options) -> ClauseResult {
    let id = clause.id;
    let mut it = ClauseResult {
        clause: id.to_owned(),
        cell: Cell::NotOffered,
        exercised: 0,
        feature: String::new(),
        emulated: false,
        shown: None,
    };
    let feature = match about.capabilities.offer(id) {
        Ok(feature) if options.wants(id) => feature,
        Ok(_) => {
            it.feature = NOT_ASKED_FOR.into();
            return it;
        }
        Err(missing) => {
            it.feature = missing.to_owned();
            return it;
        }
    };
    it.feature = feature.to_owned();
    it.emulated = about.capabilities.iter().any(|(name, has)| name == feature && has.is == Is::Emulated);
    let entries = plays.iter().filter_map(|(name, play)| Some((name, play, play.verdict.get(id)?)));
    it.exercised = entries.clone().map(|(_, _, entry)| entry.exercised).sum();
    let broken: Vec<_> = entries.clone().filter(|(_, _, entry)| entry.state == State::Broken).collect();
    let undecided = entries.clone().any(|(_, _, entry)| entry.state == State::Inconclusive);
    it.cell = match (broken.len(), it.exercised) {
        (0, 0) if undecided => Cell::Inconclusive,
        (0, 0) => Cell::NotExercised,
        (0, _) => Cell::Kept,
        _ => Cell::Broken,
    };
    let smallest = broken.iter().min_by_key(|(_, play, _)| play.events.len());
    it.shown = smallest
        .and_then(|(name, _, entry)| shown(name, entry, broken.iter().map(|(name, _, _)| (*name).clone()).collect()));
    it
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::{Capabilities, Feature};

    /// What of all three no scenario of these names uses.
    fn unplayed_by(names: &[&str]) -> Vec<String> {
        let can = Capabilities {
            crash: Feature::NATIVE,
            cancel: Feature::NATIVE,
            pause: Feature::NATIVE,
            ..Capabilities::default()
        };
        let part = |name: &&str| {
            let scenario = kew_spec::scenario::find(name).expect("it is in the library");
            Part {
                name: scenario.name.clone(),
                fitted: Fitted { policies: scenario.policies(), scenario, strikes: true },
            }
        };
        unplayed(&About::new("made up", "1", can), &names.iter().map(part).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_declared_and_no_scenario_uses_is_told() {
        assert_eq!(unplayed_by(&["pdf-success"]), ["crash", "cancel", "pause"]);
        assert_eq!(unplayed_by(&["pdf-success", "pdf-crash", "cancel"]), [""; 0], "`cancel` pauses a queue as well");
        assert_eq!(unplayed_by(&["processor-killed", "pause-and-resume"]), ["cancel"]);
        assert!(unplayed(&About::new("made up", "1", Capabilities::default()), &[]).is_empty());
    }
}

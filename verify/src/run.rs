//! A whole verification: every scenario that fits is played, side by side, and judged; what broke a clause is played again
//! to see how often it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kew_spec::clause::{self, CLAUSES};
use kew_spec::scenario::{Scenario, library};
use kew_spec::verdict::{ClauseVerdict, State};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::capability::Is;
use crate::clock::Clock;
use crate::doubt::{broken_by, broken_calmly, excuse, excuse_missed, is_broken, put_down_to_the_machine};
use crate::fit::{Fitted, fit};
use crate::fleet::{Fleet, System};
use crate::judge::{Judged, judge};
use crate::lag::Lag;
use crate::link::Error;
use crate::mover::Mover;
use crate::play::{Played, play};
use crate::probe::Probe;
use crate::protocol::About;
use crate::result::{Cell, ClauseResult, Rate, Shown, Skipped, Spent, VERSION, Verification};
use crate::scenarios;
use crate::stalls::Stalls;

/// How many plays without strikes go on side by side on the shared processes.
const CALM_AT_ONCE: usize = 12;

/// How many plays with strikes, each with processes of its own.
const STRUCK_AT_ONCE: usize = 6;

/// How often what is about a clause that no play exercised is played again at most.
const MISSED_REPEATS: u32 = 3;

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
struct Part {
    name: String,
    fitted: Fitted,
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
    if LAG_MS_MAX < lag.p999_ms() {
        excuse(&mut clauses);
    }
    let calmly = broken_calmly(&plays);
    let again = real_now();
    let calmly = repeat(&stage, &parts, &mut clauses, late_ms, options, calmly).await?;
    let spent = Spent { longest, longest_ms, again_ms: again.elapsed().as_millis() as u64 };
    put_down_to_the_machine(&mut clauses, &calmly);
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
struct Hall {
    system: System,
    about: Arc<About>,
    fleet: Option<Arc<Fleet>>,
    turn: Mutex<u32>,
    clock: Clock,
    stalls: Stalls,
}

impl Hall {
    async fn play(&self, fitted: &Fitted) -> Result<Played, Error> {
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
            it.feature = "not asked for".into();
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

/// Plays what broke clauses again, to see how often it does, and what is about clauses that were not exercised: on a busy
/// machine a limit may not be reached. Returns the clauses that were broken `calmly`, now or before.
async fn repeat(
    hall: &Arc<Hall>,
    parts: &[Part],
    clauses: &mut [ClauseResult],
    late_ms: u64,
    options: &Options,
    mut calmly: BTreeSet<String>,
) -> Result<BTreeSet<String>, Error> {
    let missed = clauses.iter().filter(|it| it.cell == Cell::NotExercised).map(|it| it.clause.clone());
    let missed: BTreeSet<_> = missed.collect();
    let permits = Arc::new(Semaphore::new(STRUCK_AT_ONCE));
    let mut playing = JoinSet::new();
    for part in parts {
        for _ in 0..repeats(part, clauses, &missed, options) {
            let (hall, fitted, name) = (Arc::clone(hall), part.fitted.clone(), part.name.clone());
            let permits = Arc::clone(&permits);
            playing.spawn(async move {
                let _permit = permits.acquire_owned().await.expect("it is never closed");
                let played = hall.play(&fitted).await?;
                Ok::<_, Error>((judge(&played, &hall.about, &name, late_ms, fitted.strikes), name))
            });
        }
    }
    let mut plays: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(done) = playing.join_next().await {
        let (judged, name) = done.expect("a play does not panic")?;
        let plays = plays.entry(name.clone()).or_default();
        *plays += 1;
        for it in clauses.iter_mut() {
            add(it, &judged, &name);
            if missed.contains(&it.clause) {
                make_up(it, &judged, &name, *plays);
            }
        }
        if !judged.stalled {
            calmly.extend(broken_by(&judged));
        }
    }
    Ok(calmly)
}

/// How often a part is played again.
fn repeats(part: &Part, clauses: &[ClauseResult], missed: &BTreeSet<String>, options: &Options) -> u32 {
    let shows = |it: &ClauseResult| it.shown.as_ref().is_some_and(|shown| shown.scenario == part.name);
    if clauses.iter().any(shows) {
        options.repeats
    } else if part.fitted.scenario.exercises.iter().any(|clause| missed.contains(clause)) {
        options.repeats.min(MISSED_REPEATS)
    } else {
        0
    }
}

/// Adds a play of the scenario `name` that was played again.
fn add(it: &mut ClauseResult, again: &Judged, name: &str) {
    if let Some(shown) = it.shown.as_mut().filter(|shown| shown.scenario == name) {
        shown.rate.plays += 1;
        shown.rate.broken += u32::from(is_broken(again, &it.clause));
    }
}

/// Adds a play that was played again since the first did not exercise the clause, one of so many `plays` of its scenario by
/// now: those that did not break the clause count, whichever was over first.
fn make_up(it: &mut ClauseResult, again: &Judged, name: &str, plays: u32) {
    let Some(entry) = again.verdict.get(&it.clause) else { return };
    it.exercised += entry.exercised;
    if entry.state == State::Broken && it.shown.is_none() {
        (it.cell, it.shown) = (Cell::Broken, shown(name, entry, vec![name.to_owned()]));
        it.shown.iter_mut().for_each(|shown| shown.rate.plays = plays);
    } else if 0 < entry.exercised && it.cell == Cell::NotExercised {
        it.cell = Cell::Kept;
    }
}

/// What `entry` says of a play of the scenario `name`, one of those that broke the clause.
fn shown(name: &str, entry: &ClauseVerdict, scenarios: Vec<String>) -> Option<Shown> {
    let finding = entry.findings.first()?;
    Some(Shown {
        scenario: name.to_owned(),
        says: finding.says.clone(),
        lines: finding.lines.clone(),
        rate: Rate { broken: 1, plays: 1 },
        scenarios,
    })
}

#[cfg(test)]
mod tests {
    use kew_spec::history::Header;
    use kew_spec::verdict::{Finding, Verdict};

    use super::*;

    const CLAUSE: &str = "rate/ceiling";

    fn result(cell: Cell, shown_by: Option<&str>) -> ClauseResult {
        let shown = |scenario: &str| Shown {
            scenario: scenario.into(),
            says: String::new(),
            lines: Vec::new(),
            rate: Rate { broken: 1, plays: 1 },
            scenarios: vec![scenario.into()],
        };
        ClauseResult {
            clause: CLAUSE.into(),
            cell,
            exercised: 0,
            feature: String::new(),
            emulated: false,
            shown: shown_by.map(shown),
        }
    }

    /// A play that exercised the clause so often.
    fn played(state: State, exercised: u64) -> Judged {
        let mut verdict = Verdict::none();
        for entry in verdict.clauses.iter_mut().filter(|entry| entry.clause == CLAUSE) {
            (entry.state, entry.exercised) = (state, exercised);
            if state == State::Broken {
                entry.findings.push(Finding { says: "too many".into(), lines: vec![7] });
            }
        }
        Judged { header: Header::new("by hand"), events: Vec::new(), verdict, stalled: false }
    }

    fn rate(it: &ClauseResult) -> Option<(u32, u32)> {
        it.shown.as_ref().map(|shown| (shown.rate.broken, shown.rate.plays))
    }

    /// How often the part "one", which is about the clause or not, is played again.
    fn again(clause: &ClauseResult, is_about_it: bool, repeats: u32) -> u32 {
        let mut scenario = library().swap_remove(0);
        scenario.exercises = if is_about_it { vec![CLAUSE.into()] } else { Vec::new() };
        let policies = scenario.policies();
        let part = Part { name: "one".into(), fitted: Fitted { scenario, policies, strikes: false } };
        let missed = (clause.cell == Cell::NotExercised).then(|| CLAUSE.to_owned());
        let options = Options { repeats, ..Options::default() };
        super::repeats(&part, std::slice::from_ref(clause), &missed.into_iter().collect(), &options)
    }

    #[test]
    fn what_shows_a_broken_clause_is_played_again_as_often_as_asked_for() {
        assert_eq!(again(&result(Cell::Broken, Some("one")), true, 7), 7);
        assert_eq!(again(&result(Cell::Broken, Some("one")), false, 7), 7);
        assert_eq!(again(&result(Cell::Broken, Some("other")), true, 7), 0);
    }

    #[test]
    fn what_is_about_a_clause_that_no_play_exercised_is_played_again_a_few_times_at_most() {
        assert_eq!(again(&result(Cell::NotExercised, None), true, 7), MISSED_REPEATS);
        assert_eq!(again(&result(Cell::NotExercised, None), true, 2), 2);
        assert_eq!(again(&result(Cell::NotExercised, None), false, 7), 0);
        assert_eq!(again(&result(Cell::Kept, None), true, 7), 0);
    }

    #[test]
    fn a_scenario_that_is_played_again_counts_for_the_clauses_that_it_shows_to_be_broken() {
        let mut it = result(Cell::Broken, Some("one"));
        add(&mut it, &played(State::Broken, 1), "one");
        add(&mut it, &played(State::Kept, 1), "one");
        add(&mut it, &played(State::Broken, 1), "other");
        assert_eq!(rate(&it), Some((2, 3)));
    }

    #[test]
    fn a_clause_that_was_missed_is_kept_once_a_play_exercises_it() {
        let mut it = result(Cell::NotExercised, None);
        make_up(&mut it, &played(State::NotExercised, 0), "one", 1);
        assert_eq!((it.cell, it.exercised), (Cell::NotExercised, 0));
        make_up(&mut it, &played(State::Kept, 3), "one", 2);
        make_up(&mut it, &played(State::Kept, 4), "other", 1);
        assert_eq!((it.cell, it.exercised), (Cell::Kept, 7));
        assert_eq!(it.shown, None);
    }

    #[test]
    fn a_clause_that_was_missed_is_broken_once_a_play_breaks_it() {
        let mut it = result(Cell::Kept, None);
        make_up(&mut it, &played(State::Broken, 1), "one", 1);
        make_up(&mut it, &played(State::Broken, 1), "other", 1);
        make_up(&mut it, &played(State::Kept, 1), "one", 2);
        assert_eq!((it.cell, it.exercised), (Cell::Broken, 3));
        let shown = it.shown.expect("it tells what shows it");
        assert_eq!((shown.scenario.as_str(), shown.says.as_str(), shown.lines), ("one", "too many", vec![7]));
        assert_eq!(shown.scenarios, ["one"]);
    }

    /// How often the clause broke in how many plays again of one scenario, none of which exercised it at first.
    fn made_up(states: [State; 3]) -> Option<(u32, u32)> {
        let mut it = result(Cell::NotExercised, None);
        for (plays, state) in (1..).zip(states) {
            add(&mut it, &played(state, 1), "one");
            make_up(&mut it, &played(state, 1), "one", plays);
        }
        rate(&it)
    }

    #[test]
    fn how_often_a_missed_clause_broke_does_not_hang_on_which_play_was_over_first() {
        assert_eq!(made_up([State::Broken, State::Kept, State::Kept]), Some((1, 3)));
        assert_eq!(made_up([State::Kept, State::Broken, State::Kept]), Some((1, 3)));
        assert_eq!(made_up([State::Kept, State::Broken, State::Broken]), Some((2, 3)));
        assert_eq!(made_up([State::Kept, State::Kept, State::Broken]), Some((1, 3)));
        assert_eq!(made_up([State::Kept, State::Kept, State::Kept]), None);
    }
}

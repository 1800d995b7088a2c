//! One world, measured: the child plays it and turmoil alone, the parent takes the middle of several.

use clap::ValueEnum;
use kew_sim::{Plan, speed};
use serde::{Deserialize, Serialize};

use super::{elapsed_us, median};
use crate::outcome::{End, Failure};
use crate::report;
use crate::sim::seeds::now;
use crate::sim::{child, play};

/// A world to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum World {
    /// Nothing happens
    Idle,
    /// A day of ticks, backoffs and lost leases
    Day,
}

impl World {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Idle, Self::Day];

    /// Its name, as an argument and on the page.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Day => "day",
        }
    }

    fn plan(self, length_ms: u64) -> Plan {
        match self {
            Self::Idle => speed::idle(length_ms),
            Self::Day => speed::day(length_ms),
        }
    }
}

/// What a child measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// How many hosts there are.
    pub(super) hosts: usize,
    /// How far one step goes.
    pub(super) tick_ms: u64,
    /// The world.
    pub(super) world: Timed,
    /// Turmoil alone.
    pub(super) bare: Timed,
    /// How many events the world's history holds.
    pub(super) events: u64,
    /// How long it took to judge them, which is not part of the world's time.
    pub(super) judged_us: u64,
    /// The clauses that it broke.
    pub(super) broken: Vec<String>,
}

/// How much was simulated in how much of the machine's time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Timed {
    /// So much was simulated.
    pub(super) simulated_ms: u64,
    /// And took so long.
    pub(super) took_us: u64,
}

impl Timed {
    fn of<T>(play: impl FnOnce() -> Result<T, kew_sim::Error>, simulated_ms: impl Fn(&T) -> u64) -> Played<T> {
        let began = now();
        let played = play().map_err(Failure::harness)?;
        let took_us = elapsed_us(began);
        Ok((Self { simulated_ms: simulated_ms(&played), took_us }, played))
    }

    /// Simulated seconds in one second.
    fn pace(self) -> u64 {
        self.simulated_ms * 1_000 / self.took_us.max(1)
    }
}

type Played<T> = Result<(Timed, T), Failure>;

/// The child's side: measures `world` in this process and prints one line.
pub(super) fn child(world: World, length_ms: u64) -> Result<End, Failure> {
    let plan = world.plan(length_ms);
    // Ours first: what the process has to warm up is at our cost.
    let (timed, run) = Timed::of(|| kew_sim::run(&plan), |run| run.simulated_ms)?;
    let (bare, _) = Timed::of(|| speed::bare(&plan), |simulated_ms| *simulated_ms)?;
    let began = now();
    let (verdict, _) = child::check(&run);
    let judged_us = elapsed_us(began);
    let measured = Measured {
        hosts: speed::hosts(&plan),
        tick_ms: plan.shape.tick_ms,
        world: timed,
        bare,
        events: run.history.len() as u64,
        judged_us,
        broken: verdict.broken().map(|entry| entry.clause.clone()).collect(),
    };
    let line = serde_json::to_string(&measured).expect("a measurement has string keys alone");
    report::print(&format!("{line}\n"));
    Ok(End::Kept)
}

/// Measures `world` in a process of its own.
pub(super) fn in_child(world: World, length_ms: u64) -> Result<Measured, Failure> {
    let arguments = ["--measure", world.word(), "--length-ms", &length_ms.to_string()].map(str::to_owned);
    let failed = |why: String| Failure::harness(format!("measure the world {}: {why}", world.word()));
    play::child(&arguments, None).map_err(failed)
}

/// What the rounds of one world come to.
#[derive(Serialize)]
pub(super) struct WorldSpeed {
    /// Which it is.
    pub(super) world: World,
    /// Simulated seconds in one second.
    pub(super) pace: u64,
    /// Those of turmoil alone.
    pub(super) bare_pace: u64,
    /// How much of turmoil's pace is left, in percent: the middle of the rounds, each a ratio within one process.
    pub(super) percent_of_bare: u64,
    /// Every round.
    pub(super) rounds: Vec<Measured>,
}

impl WorldSpeed {
    /// Adds up what the children measured.
    pub(super) fn new(world: World, rounds: Vec<Measured>) -> Self {
        let ratio = |round: &Measured| 100 * round.world.pace() / round.bare.pace().max(1);
        Self {
            world,
            pace: median(rounds.iter().map(|round| round.world.pace())),
            bare_pace: median(rounds.iter().map(|round| round.bare.pace())),
            percent_of_bare: median(rounds.iter().map(ratio)),
            rounds,
        }
    }

    /// The clauses that the world broke: the same in every round, since it is the same play.
    pub(super) fn broken(&self) -> impl Iterator<Item = &String> {
        self.rounds.first().into_iter().flat_map(|round| &round.broken)
    }
}

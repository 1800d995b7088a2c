//! `kew sim`: tries the reference queue in simulated worlds, one process per seed, and adds the verdicts up.
//!
//! The world is `kew-sim`'s; here are the processes ([`pool`], [`play`]), the sum ([`total`], [`coverage`]) and the ways of
//! asking: does anything break ([`seeds`]), and is a bug that was planted named ([`planted`], all of them: [`matrix`]).

mod bench;
mod capsule;
mod child;
mod coverage;
mod matrix;
mod minimize;
mod planted;
mod play;
mod pool;
mod replay;
mod seeds;
mod show;
mod sweep;
mod total;
mod twice;

pub(crate) mod rerun;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use kew_sim::Plan;
use kew_spec::scenario::{self, Scenario};

use crate::outcome::{End, Failure};
use crate::report;

/// Seeds tried when none are asked for: enough to exercise every clause.
const SEEDS: u64 = 100;

const EXAMPLES: &str = "\
Examples:
  kew sim                                 try 100 seeds on all cores
  kew sim --seed 37 --history run.jsonl   run one again and keep what happened, for kew check
  kew sim --minimize                      shrink what breaks to a few jobs and faults
  kew sim --seed 37 --report run.html     run one again and look at it in a browser
  kew sim --sweep-power --every 11        cut the power at every 11th disk operation of a run
  kew sim --bench                         measure how fast worlds are simulated

One seed is one world: how many hosts, which faults, which jobs. The same seed gives the same run,
byte for byte; --twice makes sure of it.";

const ENDS: &str = "\
Exit codes:
  0  all clauses kept; with --planted, nothing of the bug was seen
  1  a clause is broken, as a planted bug should do; with --kill-matrix, a bug was missed
  2  wrong usage or input
  3  the harness failed: two runs of a seed differed (--twice), a declared cell was never reached
     (--coverage), or the loss that must be found was not (--sweep-power --synchronous normal)";

/// Try the reference queue in simulated worlds with real faults
///
/// Runs the queue's own code in a world of simulated machines, network, disks and clocks. Faults
/// strike, heal, and everything must drain; every clause is judged in every world. A broken clause
/// is shown with the events where it broke and the line that replays it.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{ENDS}"))]
pub(crate) struct Arguments {
    /// How many seeds to try [default: 100; with --planted at most 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Try this seed alone
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Play this scenario in each world: a name from --scenarios, or a .toml file
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
    /// Write the seed's history to a file; with --sweep-power, that of one --cut and --model
    #[arg(long, value_name = "FILE", conflicts_with = "twice")]
    history: Option<PathBuf>,
    /// Write a page to look at: the verdict, and the run that shows best what broke, event by event
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// How many worlds to run side by side [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Run each seed in two processes and compare the hashes over every event and every byte on the network
    #[arg(long, conflicts_with = "planted")]
    twice: bool,
    /// Also print what the seeds reached: faults by job state and role, and telling moments
    ///
    /// A sweep of 10,000 seeds or more that never reached a declared cell ends with exit code 3.
    #[arg(long, conflicts_with = "planted")]
    coverage: bool,
    /// Plant a bug and see whether it is named; `list` prints them all
    #[arg(long, value_name = "NAME|list")]
    planted: Option<String>,
    /// Try every planted bug and print which clauses break, as Markdown [default: 40 seeds each]
    #[arg(long, conflicts_with_all = ["seed", "first", "scenario", "twice"])]
    kill_matrix: bool,
    /// List the scenarios of the library
    #[arg(long)]
    scenarios: bool,
    /// Write the run as a capsule, a file that `kew replay` plays again
    #[arg(long, value_name = "FILE", conflicts_with = "twice")]
    capsule: Option<PathBuf>,
    /// Shrink a run that breaks a clause to the few jobs and faults that it takes
    #[arg(long, conflicts_with = "twice")]
    minimize: bool,
    /// Run here, in this process, and print one line for the parent
    #[arg(long, hide = true)]
    child: bool,
    /// With --child, play the plan of this capsule
    #[arg(long, hide = true, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    sweep: sweep::SweepArguments,
    #[command(flatten)]
    speed: bench::BenchArguments,
}

impl Arguments {
    /// How many run side by side.
    fn jobs(&self) -> NonZeroUsize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.jobs.unwrap_or_else(cores)
    }

    /// The seeds to try, `count` unless told otherwise.
    fn range(&self, count: u64) -> Result<std::ops::Range<u64>, Failure> {
        let (first, count) = match self.seed {
            Some(seed) => (seed, 1),
            None => (self.first, self.seeds.unwrap_or(count)),
        };
        let end = first.checked_add(count);
        end.map(|end| first..end)
            .ok_or_else(|| Failure::input(format!("count {count} seeds from {first}: the last is {}", u64::MAX)))
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<End, Failure> {
    if arguments.scenarios {
        report::print(&library());
        return Ok(End::Kept);
    }
    if arguments.planted.as_deref() == Some("list") {
        planted::list(arguments.json);
        return Ok(End::Kept);
    }
    if arguments.history.is_some() && arguments.seed.is_none() && arguments.plan.is_none() {
        return Err(Failure::input("keep a history: each seed has one; name a seed with --seed"));
    }
    refuse_unseeded()?;
    if arguments.speed.is_asked() {
        return bench::run(arguments);
    }
    if arguments.sweep.sweep_power {
        return sweep::run(arguments);
    }
    if let (true, Some(file)) = (arguments.child, &arguments.plan) {
        return child::run(arguments, &capsule::read(file)?.plan);
    }
    let scenario = arguments.scenario.as_deref().map(find_scenario).transpose()?;
    let bug = arguments.planted.as_deref().map(planted::find).transpose()?;
    if arguments.kill_matrix {
        return matrix::run(arguments);
    }
    match (arguments.child, arguments.seed, bug) {
        (true, Some(seed), _) => child::run(arguments, &Plan::draw(seed, scenario, arguments.planted.clone())),
        (_, None, Some(bug)) => planted::run(arguments, bug),
        _ => seeds::run(arguments),
    }
}

/// What `seed` plays as asked.
fn plan_of(arguments: &Arguments, seed: u64) -> Result<Plan, Failure> {
    let scenario = arguments.scenario.as_deref().map(find_scenario).transpose()?;
    Ok(Plan::draw(seed, scenario, arguments.planted.clone()))
}

/// Without the flag, tokio's scheduler draws from the operating system's entropy, and no seed can be replayed.
fn refuse_unseeded() -> Result<(), Failure> {
    if cfg!(tokio_unstable) {
        return Ok(());
    }
    Err(Failure::harness(
        "simulate: this kew was built without `--cfg tokio_unstable`, so a seed would not give the same run twice.\n\
         Build it in its own folder, where .cargo/config.toml sets the flag, with RUSTFLAGS unset; or add the flag:\n  \
         RUSTFLAGS=\"--cfg tokio_unstable\" cargo install --path .",
    ))
}

fn find_scenario(name: &str) -> Result<Scenario, Failure> {
    if let Some(scenario) = scenario::find(name) {
        return Ok(scenario);
    }
    if !name.ends_with(".toml") && !std::path::Path::new(name).exists() {
        let reason = "there is none; `kew sim --scenarios` lists the library, and a file's name ends with .toml";
        return Err(Failure::input(format!("find scenario {name}: {reason}")));
    }
    let unreadable = |error: &dyn std::fmt::Display| Failure::input(format!("read scenario {name}: {error}"));
    let text = std::fs::read_to_string(name).map_err(|error| unreadable(&error))?;
    Scenario::parse(&text).map_err(|error| unreadable(&error.0))
}

fn library() -> String {
    let scenarios = scenario::library();
    let width = scenarios.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
    let line = |scenario: &Scenario| {
        let exercises = scenario.exercises.join(" ");
        format!("{:width$}  {}\n{:width$}  {exercises}\n", scenario.name, scenario.about, "")
    };
    scenarios.iter().map(line).collect()
}

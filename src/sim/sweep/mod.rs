//! `kew sim --sweep-power`: cuts the power at every disk operation of a run, under every loss model, and adds up what was
//! found. Children play some cuts each, since SQLite has one random generator per process.
//!
//! [`total`] adds up, [`page`] shows.

mod page;
mod total;

use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use kew_runtime::store::Synchronous;
use kew_sim::sweep::{Future, Model, Point, Sweep};

use super::{child, play, pool, seeds};
use crate::outcome::{End, Failure};
use crate::report::{self, progress};
use total::Swept;

/// How many cuts one child plays: a few seconds' work, against a quarter of a second for its reference run.
const CUTS_PER_CHILD: u64 = 40;

/// What `kew sim --sweep-power` takes besides.
#[derive(Debug, Args)]
#[command(next_help_heading = "Power loss")]
pub(super) struct SweepArguments {
    /// Cut the power at every disk operation of a run of 200 jobs, under every loss model
    #[arg(long, conflicts_with_all = ["seeds", "first", "scenario", "twice", "planted", "scenarios"])]
    pub(super) sweep_power: bool,
    /// Cut at every Nth operation only
    #[arg(long, value_name = "N", requires = "sweep_power", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// How the store commits. At `normal` a power cut may undo commits, as SQLite documents: the sweep must find it
    #[arg(long, value_name = "WHEN", requires = "sweep_power", default_value = "full")]
    synchronous: Durability,
    /// Cut at this operation alone
    #[arg(long, value_name = "OPERATION", requires = "sweep_power")]
    cut: Option<u64>,
    /// Try this loss model alone
    #[arg(long, value_name = "MODEL", requires = "sweep_power")]
    model: Option<Model>,
    /// Play so many cuts from --cut on, --every apart, and print one line for the parent
    #[arg(long, hide = true, requires = "cut")]
    cuts: Option<u64>,
}

/// `synchronous` as SQLite names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Durability {
    /// Each commit is synced
    Full,
    /// Only checkpoints are
    Normal,
}

/// What was swept, for what is shown of it.
struct Tried<'a> {
    arguments: &'a super::Arguments,
    sweep: &'a Sweep,
    cuts: u64,
    took_ms: u64,
}

impl SweepArguments {
    fn models(&self) -> impl Iterator<Item = Model> {
        Model::all().filter(|model| self.model.is_none_or(|only| only == *model))
    }
}

impl Durability {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

impl From<Durability> for Synchronous {
    fn from(it: Durability) -> Self {
        match it {
            Durability::Full => Self::Full,
            Durability::Normal => Self::Normal,
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: &super::Arguments) -> Result<End, Failure> {
    let it = &arguments.sweep;
    if arguments.history.is_some() && (it.cut.is_none() || it.model.is_none()) {
        return Err(Failure::input("keep a history: a sweep has thousands; name one with --cut and --model"));
    }
    let sweep = Sweep::new(seed(arguments), it.synchronous.into()).map_err(Failure::harness)?;
    match (it.cut, it.cuts) {
        (Some(first), Some(cuts)) => some_cuts(it, &sweep, first, cuts),
        (Some(cut), None) => one_cut(arguments, &sweep, cut),
        (None, _) => all_cuts(arguments, &sweep),
    }
}

fn seed(arguments: &super::Arguments) -> u64 {
    arguments.seed.unwrap_or(arguments.first)
}

/// Plays all cuts that were asked for, in children.
fn all_cuts(arguments: &super::Arguments, sweep: &Sweep) -> Result<End, Failure> {
    let it = &arguments.sweep;
    let started = seeds::now();
    let cuts = sweep.operations().div_ceil(it.every);
    let bar = progress::seeds(cuts);
    let mut swept = Swept::none();
    let mut ended = Ok(());
    let work = |chunk: u64| {
        let done = chunk * CUTS_PER_CHILD;
        let count = CUTS_PER_CHILD.min(cuts - done);
        in_child(arguments, 1 + done * it.every, count).map(|swept| (count, swept))
    };
    pool::in_order(0..cuts.div_ceil(CUTS_PER_CHILD), arguments.jobs(), work, |played| match played {
        Ok((count, played)) => {
            bar.inc(count);
            swept.add(played);
            ControlFlow::Continue(())
        }
        Err(failure) => {
            ended = Err(failure);
            ControlFlow::Break(())
        }
    });
    bar.finish_and_clear();
    ended?;
    let tried = Tried { arguments, sweep, cuts, took_ms: seeds::elapsed_ms(started) };
    page::show(&tried, &swept);
    end(it, &swept)
}

/// What the sweep says as a whole. At NORMAL a loss is what must be found: a sweep that is blind to it would see none at
/// FULL either.
fn end(it: &SweepArguments, swept: &Swept) -> Result<End, Failure> {
    let all = swept.all();
    match it.synchronous {
        Durability::Full => Ok(if swept.is_broken() { End::Broken } else { End::Kept }),
        Durability::Normal if 0 < all.damaged => Ok(End::Broken),
        Durability::Normal if 0 < all.undone => Ok(End::Kept),
        Durability::Normal => Err(Failure::harness(
            "find the loss that SQLite documents for synchronous=NORMAL; cut at more operations (a smaller --every)",
        )),
    }
}

/// Plays some cuts in a process of their own.
fn in_child(arguments: &super::Arguments, first: u64, count: u64) -> Result<Swept, Failure> {
    let it = &arguments.sweep;
    let failed = |why: String| Failure::harness(format!("sweep from disk operation {first}: {why}"));
    let program = std::env::current_exe().map_err(|error| failed(format!("find this program: {error}")))?;
    let mut command = Command::new(program);
    command.args(["sim", "--sweep-power", "--seed", &seed(arguments).to_string()]);
    command.args(["--synchronous", it.synchronous.word(), "--every", &it.every.to_string()]);
    command.args(["--cut", &first.to_string(), "--cuts", &count.to_string()]);
    if let Some(model) = it.model {
        command.args(["--model", &model.to_string()]);
    }
    let output = command.stdin(Stdio::null()).output();
    play::read(&output.map_err(|error| failed(format!("start its process: {error}")))?).map_err(failed)
}

/// The child's side: plays cuts here and prints one line.
fn some_cuts(it: &SweepArguments, sweep: &Sweep, first: u64, cuts: u64) -> Result<End, Failure> {
    let mut swept = Swept::none();
    for cut in (0..cuts).map(|n| first + n * it.every) {
        points(it, sweep, cut)?.iter().for_each(|point| swept.add_point(point));
    }
    let line = serde_json::to_string(&swept).expect("a sweep has string keys alone");
    report::print(&format!("{line}\n"));
    Ok(End::Kept)
}

/// Plays one cut here and shows its points, and of a point alone also its history.
fn one_cut(arguments: &super::Arguments, sweep: &Sweep, cut: u64) -> Result<End, Failure> {
    if !(1..=sweep.operations()).contains(&cut) {
        return Err(Failure::input(format!("cut at operation {cut}: the run has 1 to {}", sweep.operations())));
    }
    let points = points(&arguments.sweep, sweep, cut)?;
    let mut swept = Swept::none();
    points.iter().for_each(|point| swept.add_point(point));
    page::show(&Tried { arguments, sweep, cuts: 1, took_ms: 0 }, &swept);
    if let [point] = points.as_slice() {
        one_point(arguments, point)?;
    }
    Ok(if swept.is_broken() { End::Broken } else { End::Kept })
}

fn points(it: &SweepArguments, sweep: &Sweep, cut: u64) -> Result<Vec<Point>, Failure> {
    let at = sweep.cut(cut).map_err(Failure::harness)?;
    sweep.points(&at, it.models()).map_err(Failure::harness)
}

fn one_point(arguments: &super::Arguments, point: &Point) -> Result<(), Failure> {
    let Future { header, history, .. } = point.future.as_ref();
    if !arguments.json {
        report::print(&format!("  {} · hash {}\n", total::found(&point.state), point.future.hash()));
    }
    let Some(path) = &arguments.history else { return Ok(()) };
    child::write(path, header, history)
        .map_err(|error| Failure::input(format!("write history {}: {error}", path.display())))
}

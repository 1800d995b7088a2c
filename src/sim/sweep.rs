//! `kew sim --sweep-power`: cuts the power at every disk operation of a run, under every loss model, and adds up what was
//! found. Children play some cuts each, since SQLite has one random generator per process.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use kew_runtime::store::Synchronous;
use kew_sim::sweep::{Future, Model, Point, State, Sweep};
use kew_spec::verdict::Verdict;
use serde::{Deserialize, Serialize};

use super::{child, play, pool};
use crate::outcome::{End, Failure};
use crate::report::excerpt::{self, Excerpts};
use crate::report::json::VERSION;
use crate::report::terminal::{self, counted, grouped};
use crate::report::{self, progress};

/// How many cuts one child plays: a few seconds' work, against a quarter of a second for its reference run.
const CUTS_PER_CHILD: u64 = 20;

/// How many broken points are kept with what shows them.
const SHOWN_MAX: usize = 3;

/// What SQLite says of `synchronous=NORMAL`.
const DOCUMENTED: &str = "https://sqlite.org/pragma.html#pragma_synchronous";

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
    /// How the store is opened. At `normal` SQLite documents that a power cut may take the last commits: a sweep must find it
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

/// What some points came to together.
#[derive(Debug, Serialize, Deserialize)]
struct Swept {
    /// Per kind of loss, in the order of the models.
    losses: BTreeMap<String, Tally>,
    /// Counts add up; findings are left out.
    verdict: Verdict,
    /// The first points where something was lost or broken.
    broken: Vec<Broken>,
}

/// What the points of one kind of loss came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    points: u64,
    /// Points at which an acknowledged job was not there.
    lossy: u64,
    /// Acknowledged jobs that were not there, over all points.
    jobs_lost: u64,
    /// Points at which acknowledged commits were not there.
    rolled_back: u64,
    /// Points at which the database was damaged, or stood between two commits.
    unsound: u64,
    /// Points at which a clause was broken.
    broken: u64,
}

/// A point where something was lost or broken.
#[derive(Debug, Serialize, Deserialize)]
struct Broken {
    cut: u64,
    model: String,
    found: String,
    jobs_lost: u64,
    clauses: Vec<String>,
    excerpts: Excerpts,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Result<'a> {
    kew: &'static str,
    took_ms: u64,
    seed: u64,
    synchronous: String,
    jobs: u64,
    commits: u64,
    operations: u64,
    cuts: u64,
    points: u64,
    #[serde(flatten)]
    swept: &'a Swept,
}

/// Runs the command.
pub(super) fn run(arguments: &super::Arguments) -> std::result::Result<End, Failure> {
    let it = &arguments.sweep;
    let sweep = Sweep::new(seed(arguments), it.synchronous.into()).map_err(Failure::harness)?;
    match (it.cut, it.cuts) {
        (Some(first), Some(cuts)) => {
            let swept = play_cuts(it, &sweep, (0..cuts).map(|n| first + n * it.every))?;
            report::print(&format!("{}\n", serde_json::to_string(&swept).expect("a sweep has string keys alone")));
            Ok(End::Kept)
        }
        (Some(cut), None) => one_cut(arguments, &sweep, cut),
        (None, _) => all_cuts(arguments, &sweep),
    }
}

fn seed(arguments: &super::Arguments) -> u64 {
    arguments.seed.unwrap_or(arguments.first)
}

/// Plays cuts in this process.
fn play_cuts(
    it: &SweepArguments,
    sweep: &Sweep,
    cuts: impl Iterator<Item = u64>,
) -> std::result::Result<Swept, Failure> {
    let mut swept = Swept::none();
    for cut in cuts {
        let at = sweep.cut(cut).map_err(Failure::harness)?;
        sweep.points(&at, models(it)).map_err(Failure::harness)?.iter().for_each(|point| swept.add_point(point));
    }
    Ok(swept)
}

fn models(it: &SweepArguments) -> impl Iterator<Item = Model> {
    Model::all().filter(|model| it.model.is_none_or(|only| only == *model))
}

/// Plays one cut here and shows its points; with one model also its history.
fn one_cut(arguments: &super::Arguments, sweep: &Sweep, cut: u64) -> std::result::Result<End, Failure> {
    let it = &arguments.sweep;
    if !(1..=sweep.operations()).contains(&cut) {
        return Err(Failure::input(format!("cut at operation {cut}: the run has 1 to {}", sweep.operations())));
    }
    let at = sweep.cut(cut).map_err(Failure::harness)?;
    let mut swept = Swept::none();
    let points = sweep.points(&at, models(it)).map_err(Failure::harness)?;
    points.iter().for_each(|point| swept.add_point(point));
    show(arguments, sweep, &swept, 1, 0);
    if let [point] = points.as_slice() {
        one_point(arguments, point)?;
    }
    Ok(if swept.is_broken() { End::Broken } else { End::Kept })
}

/// What is told of a point that was played alone.
fn one_point(arguments: &super::Arguments, point: &Point) -> std::result::Result<(), Failure> {
    let Future { header, history, .. } = point.future.as_ref();
    if !arguments.json {
        report::print(&format!("  {} · hash {}\n", found(&point.state), point.future.hash()));
    }
    let Some(path) = &arguments.history else { return Ok(()) };
    child::write(path, header, history)
        .map_err(|error| Failure::input(format!("write history {}: {error}", path.display())))
}

/// Plays all cuts that were asked for, in children.
fn all_cuts(arguments: &super::Arguments, sweep: &Sweep) -> std::result::Result<End, Failure> {
    let it = &arguments.sweep;
    let started = super::seeds::now();
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
    show(arguments, sweep, &swept, cuts, super::seeds::elapsed_ms(started));
    end(it, &swept)
}

/// What the sweep says as a whole. At NORMAL a loss is what must be found: a sweep that finds none would find none at
/// FULL either.
fn end(it: &SweepArguments, swept: &Swept) -> std::result::Result<End, Failure> {
    let total = swept.total();
    match it.synchronous {
        Durability::Full => Ok(if swept.is_broken() { End::Broken } else { End::Kept }),
        Durability::Normal if 0 < total.unsound => Ok(End::Broken),
        Durability::Normal if total.rolled_back == 0 => Err(Failure::harness(
            "find the loss that SQLite documents for synchronous=NORMAL; cut at more operations (a smaller --every)",
        )),
        Durability::Normal => Ok(End::Kept),
    }
}

fn in_child(arguments: &super::Arguments, first: u64, count: u64) -> std::result::Result<Swept, Failure> {
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

impl Swept {
    fn none() -> Self {
        let losses = Model::all().map(|model| (model.kind().to_owned(), Tally::default())).collect();
        Self { losses, verdict: Verdict::none(), broken: Vec::new() }
    }

    fn add_point(&mut self, point: &Point) {
        let mut verdict = point.future.verdict.clone();
        verdict.clauses.iter_mut().for_each(|entry| entry.findings.clear());
        self.verdict.add(&verdict);
        self.losses.entry(point.model.kind().to_owned()).or_default().add(Tally::of(point));
        if point.is_broken() && self.broken.len() < SHOWN_MAX {
            self.broken.push(Broken::of(point));
        }
    }

    fn add(&mut self, other: Self) {
        self.verdict.add(&other.verdict);
        for (kind, tally) in other.losses {
            self.losses.entry(kind).or_default().add(tally);
        }
        self.broken.extend(other.broken);
        self.broken.truncate(SHOWN_MAX);
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.losses.values().for_each(|tally| total.add(*tally));
        total
    }

    fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }
}

impl Tally {
    fn of(point: &Point) -> Self {
        Self {
            points: 1,
            lossy: u64::from(0 < point.future.lost),
            jobs_lost: point.future.lost,
            rolled_back: u64::from(matches!(point.state, State::RolledBack { .. })),
            unsound: u64::from(!matches!(point.state, State::Kept { .. } | State::RolledBack { .. })),
            broken: u64::from(point.future.verdict.broken().next().is_some()),
        }
    }

    fn add(&mut self, other: Self) {
        self.points += other.points;
        self.lossy += other.lossy;
        self.jobs_lost += other.jobs_lost;
        self.rolled_back += other.rolled_back;
        self.unsound += other.unsound;
        self.broken += other.broken;
    }
}

impl Broken {
    fn of(point: &Point) -> Self {
        let named = excerpt::lines_named(&point.future.verdict);
        let lines = (child::FIRST_LINE..).zip(&point.future.history).filter(|(line, _)| named.contains(line)).collect();
        Self {
            cut: point.operation,
            model: point.model.to_string(),
            found: found(&point.state),
            jobs_lost: point.future.lost,
            clauses: point.future.verdict.broken().map(|entry| entry.clause.clone()).collect(),
            excerpts: excerpt::excerpts(&point.future.verdict, &lines),
        }
    }
}

fn found(state: &State) -> String {
    match state {
        State::Kept { .. } => "sound, with every acknowledged commit".into(),
        State::RolledBack { commits } => format!("sound, {} back", counted(*commits, "commit")),
        State::Between => "as it never was after any commit".into(),
        State::Unsound(complaint) => format!("damaged: {complaint}"),
        State::Unreadable(error) => format!("unreadable: {error}"),
    }
}

fn show(arguments: &super::Arguments, sweep: &Sweep, swept: &Swept, cuts: u64, took_ms: u64) {
    if !arguments.json {
        return report::print(&page(arguments, sweep, swept, cuts, took_ms));
    }
    report::print_json(&Result {
        kew: VERSION,
        took_ms,
        seed: seed(arguments),
        synchronous: arguments.sweep.synchronous.word().into(),
        jobs: sweep.jobs(),
        commits: sweep.commits(),
        operations: sweep.operations(),
        cuts,
        points: swept.total().points,
        swept,
    });
}

fn page(arguments: &super::Arguments, sweep: &Sweep, swept: &Swept, cuts: u64, took_ms: u64) -> String {
    let it = &arguments.sweep;
    let mut page = format!(
        "kew {VERSION} · power loss · seed {} · synchronous={} · {}, {}, {}\n\n",
        seed(arguments),
        it.synchronous.word().to_uppercase(),
        counted(sweep.jobs(), "job"),
        counted(sweep.commits(), "commit"),
        counted(sweep.operations(), "disk operation"),
    );
    page.push_str(&losses(swept));
    page.push('\n');
    page.push_str(&terminal::table(&swept.verdict));
    page.push('\n');
    page.push_str(&terminal::summary(&swept.verdict));
    let points = swept.total().points;
    let _ = write!(page, "  {} at {}", counted(points, "point"), counted(cuts, "cut"));
    if 0 < took_ms {
        let _ = write!(page, " · {} s · {} points a second", took_ms.div_ceil(1_000), points * 1_000 / took_ms);
    }
    page.push('\n');
    page.push_str(&judged(it, swept));
    for broken in &swept.broken {
        page.push_str(&self::broken(arguments, swept, broken));
    }
    page
}

/// One row per kind of loss.
fn losses(swept: &Swept) -> String {
    let mut table = format!(
        "  {:14}{:>10}{:>12}{:>16}{:>10}{:>10}\n",
        "loss", "points", "jobs lost", "commits undone", "damaged", "broken"
    );
    let mut row = |name: &str, it: &Tally| {
        let cells = [it.points, it.jobs_lost, it.rolled_back, it.unsound, it.broken].map(grouped);
        let [points, jobs, commits, unsound, broken] = cells;
        let _ = writeln!(table, "  {name:14}{points:>10}{jobs:>12}{commits:>16}{unsound:>10}{broken:>10}");
    };
    let mut kinds: Vec<_> = Model::all().map(Model::kind).collect();
    kinds.dedup();
    for kind in kinds {
        let tally = swept.losses.get(kind).filter(|tally| 0 < tally.points);
        tally.into_iter().for_each(|tally| row(kind, tally));
    }
    row("all", &swept.total());
    table
}

/// What it means, in a sentence.
fn judged(it: &SweepArguments, swept: &Swept) -> String {
    let total = swept.total();
    match it.synchronous {
        Durability::Normal if total.unsound == 0 && 0 < total.rolled_back => format!(
            "  found, as SQLite documents: at {} of {} a power cut undid acknowledged commits; the database was\n  \
             sound each time ({DOCUMENTED})\n",
            grouped(total.rolled_back),
            counted(total.points, "point"),
        ),
        _ if swept.is_broken() => String::new(),
        _ => "  no acknowledged commit was undone, no database damaged, no clause broken\n".into(),
    }
}

/// One broken point: what was found, what shows it, and the line that plays it alone.
fn broken(arguments: &super::Arguments, swept: &Swept, it: &Broken) -> String {
    let mut text = format!("\n  cut {} · {} · {}\n", grouped(it.cut), it.model, it.found);
    for entry in swept.verdict.clauses.iter().filter(|entry| it.clauses.contains(&entry.clause)) {
        text.push_str(&terminal::broken(entry, it.excerpts.get(&entry.clause)));
    }
    let (seed, synchronous) = (seed(arguments), arguments.sweep.synchronous.word());
    let _ = writeln!(
        text,
        "      replay: kew sim --sweep-power --seed {seed} --synchronous {synchronous} --cut {} --model {}",
        it.cut, it.model
    );
    text
}

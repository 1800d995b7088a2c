//! A sweep as people read it, and as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::total::{Place, Swept, Tally, kinds};
use super::{Durability, Tried, seed};
use crate::report;
use crate::report::json::VERSION;
use crate::report::terminal::{self, counted, grouped};

/// What SQLite says of `synchronous=NORMAL` in WAL mode: it "might roll back following a power loss".
const DOCUMENTED: &str = "https://sqlite.org/pragma.html#pragma_synchronous";

/// The clauses that a loss of commits breaks first. At NORMAL these alone are shown: whatever else is broken follows.
const LOSS: [&str; 2] = ["job/no-loss", "status/durable"];

/// What `--json` prints.
#[derive(Serialize)]
struct AsJson<'a> {
    kew: &'static str,
    took_ms: u64,
    seed: u64,
    synchronous: &'static str,
    jobs: u64,
    commits: u64,
    operations: u64,
    cuts: u64,
    all: Tally,
    #[serde(flatten)]
    swept: &'a Swept,
}

/// Prints it.
pub(super) fn show(tried: &Tried<'_>, swept: &Swept) {
    let Tried { arguments, sweep, cuts, took_ms } = *tried;
    if !arguments.json {
        return report::print(&page(tried, swept));
    }
    report::print_json(&AsJson {
        kew: VERSION,
        took_ms,
        seed: seed(arguments),
        synchronous: arguments.sweep.synchronous.word(),
        jobs: sweep.jobs(),
        commits: sweep.commits(),
        operations: sweep.operations(),
        cuts,
        all: swept.all(),
        swept,
    });
}

fn page(tried: &Tried<'_>, swept: &Swept) -> String {
    let mut page = head(tried);
    page.push_str(&losses(swept));
    page.push('\n');
    page.push_str(&terminal::table(&swept.verdict));
    page.push('\n');
    page.push_str(&terminal::summary(&swept.verdict));
    page.push_str(&pace(tried, swept));
    page.push_str(&meaning(tried, swept));
    page.push_str(&broken(tried, swept));
    page
}

fn head(tried: &Tried<'_>) -> String {
    let Tried { arguments, sweep, .. } = *tried;
    let synchronous = arguments.sweep.synchronous.word().to_uppercase();
    let [jobs, commits, operations] =
        [(sweep.jobs(), "job"), (sweep.commits(), "commit"), (sweep.operations(), "disk operation")]
            .map(|(number, noun)| counted(number, noun));
    let seed = seed(arguments);
    format!(
        "kew {VERSION} · power loss · seed {seed} · synchronous={synchronous} · {jobs}, {commits}, {operations}\n\n"
    )
}

/// One row per kind of loss.
fn losses(swept: &Swept) -> String {
    let mut table = format!(
        "  {:14}{:>10}{:>12}{:>16}{:>10}{:>10}\n",
        "loss", "points", "jobs lost", "commits undone", "damaged", "broken"
    );
    let mut row = |name: &str, it: &Tally| {
        let cells = [it.points, it.jobs_lost, it.undone, it.damaged, it.broken].map(grouped);
        let [points, jobs, undone, damaged, broken] = cells;
        let _ = writeln!(table, "  {name:14}{points:>10}{jobs:>12}{undone:>16}{damaged:>10}{broken:>10}");
    };
    kinds().into_iter().filter_map(|kind| Some((kind, swept.losses.get(kind)?))).for_each(|(kind, it)| row(kind, it));
    row("all", &swept.all());
    table
}

fn pace(tried: &Tried<'_>, swept: &Swept) -> String {
    let points = swept.all().points;
    let (cuts, futures) = (counted(tried.cuts, "cut"), counted(swept.futures, "different future"));
    let mut pace = format!("  {} at {cuts} · {futures}", counted(points, "point"));
    if 0 < tried.took_ms {
        let (seconds, rate) = (tried.took_ms.div_ceil(1_000), points * 1_000 / tried.took_ms);
        let _ = write!(pace, " · {} s · {} points a second", grouped(seconds), grouped(rate));
    }
    pace + "\n"
}

/// What it means, in a sentence.
fn meaning(tried: &Tried<'_>, swept: &Swept) -> String {
    let all = swept.all();
    let documented = all.damaged == 0 && 0 < all.undone;
    match tried.arguments.sweep.synchronous {
        Durability::Normal if documented => format!(
            "  found, as SQLite documents: at {} of {} acknowledged commits were undone, and the database was\n  \
             sound each time; {DOCUMENTED}\n",
            grouped(all.undone),
            counted(all.points, "point"),
        ),
        _ if swept.is_broken() => String::new(),
        _ => "  no acknowledged commit was undone, no database damaged, no clause broken\n".into(),
    }
}

/// What was wrong, where, and the line that plays each point alone.
fn broken(tried: &Tried<'_>, swept: &Swept) -> String {
    let expected = tried.arguments.sweep.synchronous == Durability::Normal && swept.all().damaged == 0;
    let mut page = String::new();
    for at in swept.wrong.iter().take(if expected { 1 } else { usize::MAX }) {
        let _ = write!(page, "\n  cut {} · {} · {}\n{}", at.cut, at.model, at.found, replay(tried, at));
    }
    for entry in swept.verdict.broken().filter(|entry| !expected || LOSS.contains(&entry.clause.as_str())) {
        let shown = swept.shown.get(&entry.clause);
        page.push('\n');
        page.push_str(&terminal::broken(entry, shown.map(|shown| &shown.excerpt)));
        page.extend(shown.map(|shown| replay(tried, &shown.at)));
    }
    page
}

fn replay(tried: &Tried<'_>, at: &Place) -> String {
    let (seed, synchronous) = (seed(tried.arguments), tried.arguments.sweep.synchronous.word());
    let Place { cut, model, .. } = at;
    format!(
        "      replay: kew sim --sweep-power --seed {seed} --synchronous {synchronous} --cut {cut} --model {model}\n"
    )
}

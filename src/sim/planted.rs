//! Is a bug that was planted named? Runs seeds until the clause breaks that the bug should break.

use std::ops::ControlFlow;

use kew_sim::planted::{self, Bug};
use kew_spec::verdict::State;
use serde::Serialize;

use super::minimize::{self, Minimized};
use super::seeds::{self, BrokenClause};
use super::total::Total;
use super::{Arguments, show};
use crate::outcome::{End, Failure};
use crate::report;
use crate::report::json::VERSION;
use crate::report::terminal::{self, counted};

/// A planted bug must be named within so many seeds.
const SEEDS_MAX: u64 = 200;

/// A planted bug as JSON.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    clause: &'static str,
    about: &'static str,
}

/// What `kew sim --planted NAME --json` prints.
#[derive(Serialize)]
struct Tried<'a> {
    kew: &'static str,
    planted: Listed,
    named: bool,
    seeds: usize,
    broken: Vec<BrokenClause<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimized: Option<&'a Minimized>,
}

impl From<&Bug> for Listed {
    fn from(bug: &Bug) -> Self {
        Self { name: bug.name, clause: bug.clause, about: bug.about }
    }
}

/// Prints all planted bugs, each with the clause it breaks.
pub(super) fn list(as_json: bool) {
    let bugs: Vec<_> = planted::list().collect();
    if as_json {
        return report::print_json(&bugs.iter().copied().map(Listed::from).collect::<Vec<_>>());
    }
    let name_width = bugs.iter().map(|bug| bug.name.len()).max().unwrap_or(0);
    let clause_width = bugs.iter().map(|bug| bug.clause.len()).max().unwrap_or(0);
    let line = |bug: &&Bug| format!("{:name_width$}  {:clause_width$}  {}\n", bug.name, bug.clause, bug.about);
    report::print(&bugs.iter().map(line).collect::<String>());
}

/// The bug with this name.
pub(super) fn find(name: &str) -> Result<&'static Bug, Failure> {
    let reason = "there is none; `kew sim --planted list` lists them";
    let found = planted::list().chain(planted::withstood()).find(|bug| bug.name == name);
    found.ok_or_else(|| Failure::input(format!("find planted bug {name}: {reason}")))
}

/// Runs seeds until the bug's clause is broken.
pub(super) fn run(arguments: &Arguments, bug: &Bug) -> Result<End, Failure> {
    let seeds = arguments.range(SEEDS_MAX)?;
    let mut total = Total::none();
    seeds::each(arguments, seeds, |played| {
        total.add(played);
        if is_named(&total, bug) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let minimized = seeds::shrink(arguments, &total, Some(bug.clause))?;
    show::report(arguments, &total, minimized.as_ref())?;
    if arguments.json {
        report::print_json(&Tried {
            kew: VERSION,
            planted: bug.into(),
            named: is_named(&total, bug),
            seeds: total.runs.len(),
            broken: seeds::broken(arguments, &total),
            minimized: minimized.as_ref(),
        });
    } else {
        report::print(&page(arguments, bug, &total));
        report::print(&minimized.as_ref().map(minimize::page).unwrap_or_default());
        report::print(&terminal::written(arguments.report.as_deref()));
    }
    Ok(End::from(&total.verdict))
}

fn is_named(total: &Total, bug: &Bug) -> bool {
    total.verdict.get(bug.clause).is_some_and(|entry| entry.state == State::Broken)
}

fn page(arguments: &Arguments, bug: &Bug, total: &Total) -> String {
    let Bug { name, clause, about, .. } = bug;
    let head = format!("kew {VERSION} · planted bug {name}: {about}\n");
    let broken = seeds::broken_page(arguments, total);
    let tried = counted(total.runs.len() as u64, "seed");
    let end = if planted::withstood().any(|world| world.name == *name) {
        let word = if broken.is_empty() { "withstood" } else { "not withstood" };
        format!("  {word}: {tried}. The runtime is to keep all clauses in this world.\n")
    } else if is_named(total, bug) {
        format!("  named {clause} after {tried}. That is the clause it was planted to break, hence exit code 1.\n")
    } else if broken.is_empty() {
        format!("  not noticed: {tried} with the bug, and no clause is broken. It was planted to break {clause}.\n")
    } else {
        format!("  not named: {tried} with the bug, and {clause}, which it was planted to break, is not broken.\n")
    };
    format!("{head}{broken}\n{end}")
}

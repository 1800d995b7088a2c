//! Which clauses break under which planted bug: every bug over the same seeds, as a page of Markdown (`docs/kill-matrix.md`)
//! or as JSON. One bug's line depends on that bug and the number of seeds alone, so the page can be checked in parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::ControlFlow;

use kew_sim::planted::{self, Bug};
use kew_spec::clause::CLAUSES;
use serde::Serialize;

use super::play::play;
use super::replay::Replay;
use super::{Arguments, pool};
use crate::outcome::{End, Failure};
use crate::report;
use crate::report::progress;

/// How many seeds each bug is tried with, unless told otherwise.
const SEEDS: u64 = 40;

/// A bug whose clause is not named by then is tried with more, up to this number.
const SEEDS_MAX: u64 = 200;

/// What one bug came to.
#[derive(Serialize)]
struct Row {
    bug: &'static str,
    clause: &'static str,
    /// How many seeds it took until its clause was broken; none if it never was.
    seeds_to_detection: Option<u64>,
    /// How many seeds were played.
    seeds: u64,
    /// The broken clauses, each with how many seeds it broke in.
    broken: BTreeMap<String, u64>,
    /// A world of this kind must break nothing.
    withstood: bool,
}

impl Row {
    /// Plays the seeds of one bug.
    fn of(bug: &Bug, withstood: bool, seeds: u64) -> Result<Self, Failure> {
        let (bug, clause) = (bug.name, bug.clause);
        let mut row = Self { bug, clause, seeds_to_detection: None, seeds: 0, broken: BTreeMap::new(), withstood };
        while row.seeds < seeds || !withstood && row.seeds_to_detection.is_none() && row.seeds < SEEDS_MAX {
            let played = play(&Replay { seed: row.seeds, scenario: None, planted: Some(bug) }, None)?;
            row.seeds += 1;
            for entry in played.verdict.broken() {
                *row.broken.entry(entry.clause.clone()).or_default() += 1;
            }
            if row.seeds_to_detection.is_none() && row.broken.contains_key(clause) {
                row.seeds_to_detection = Some(row.seeds);
            }
        }
        Ok(row)
    }

    /// The clauses besides its own that broke.
    fn others(&self) -> impl Iterator<Item = (&String, &u64)> {
        self.broken.iter().filter(|(clause, _)| *clause != self.clause)
    }

    /// Whether no other clause tells of this bug.
    fn is_unique(&self) -> bool {
        self.seeds_to_detection.is_some() && self.others().next().is_none()
    }

    fn is_as_it_should(&self) -> bool {
        if self.withstood { self.broken.is_empty() } else { self.seeds_to_detection.is_some() }
    }

    /// The bug's line of the page.
    fn line(&self) -> String {
        let Self { bug, clause, seeds, .. } = self;
        let others: Vec<_> = self.others().map(|(clause, count)| format!("`{clause}` {count}")).collect();
        let others = if others.is_empty() { "–".into() } else { others.join(", ") };
        if self.withstood {
            let all = self.broken.keys().cloned().collect::<Vec<_>>().join(", ");
            return format!("| `{bug}` | {seeds} | {} |\n", if all.is_empty() { "nothing" } else { &all });
        }
        let found = self.seeds_to_detection.map_or("never".into(), |seeds| seeds.to_string());
        let own = self.broken.get(*clause).copied().unwrap_or(0);
        format!("| `{bug}` | `{clause}` | {found} | {own} of {seeds} | {others} |\n")
    }
}

/// Tries every bug, or the one that was asked for.
pub(super) fn run(arguments: &Arguments) -> Result<End, Failure> {
    let seeds = arguments.seeds.unwrap_or(SEEDS);
    let wanted = |bug: &&(&Bug, bool)| arguments.planted.as_deref().is_none_or(|name| name == bug.0.name);
    let all = planted::list().map(|bug| (bug, false)).chain(planted::withstood().map(|bug| (bug, true)));
    let bugs: Vec<(&Bug, bool)> = all.collect();
    let bugs: Vec<_> = bugs.iter().filter(wanted).copied().collect();
    let rows = rows(arguments, &bugs, seeds)?;
    if arguments.json {
        report::print_json(&rows);
    } else if arguments.planted.is_some() {
        report::print(&rows.iter().map(Row::line).collect::<String>());
    } else {
        report::print(&page(&rows, seeds));
    }
    Ok(if rows.iter().all(Row::is_as_it_should) { End::Kept } else { End::Broken })
}

fn rows(arguments: &Arguments, bugs: &[(&Bug, bool)], seeds: u64) -> Result<Vec<Row>, Failure> {
    let bar = progress::seeds(bugs.len() as u64);
    let mut rows = Ok(Vec::new());
    let row = |n: u64| {
        let (bug, withstood) = bugs[n as usize];
        Row::of(bug, withstood, seeds)
    };
    pool::in_order(0..bugs.len() as u64, arguments.jobs(), row, |row| {
        bar.inc(1);
        match (row, &mut rows) {
            (Ok(row), Ok(rows)) => rows.push(row),
            (Err(failure), rows) => {
                *rows = Err(failure);
                return ControlFlow::Break(());
            }
            (Ok(_), Err(_)) => {}
        }
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    rows
}

fn page(rows: &[Row], seeds: u64) -> String {
    let (withstood, bugs): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.withstood);
    let mut page = head(&bugs, seeds);
    page.push_str(&by_clause(&bugs));
    page.push_str(&by_bug(&bugs));
    page.push_str(&unbroken(&withstood));
    page
}

fn head(bugs: &[&Row], seeds: u64) -> String {
    let missed = bugs.iter().filter(|row| row.seeds_to_detection.is_none()).count();
    let clauses = bugs.iter().map(|row| row.clause).collect::<BTreeSet<_>>().len();
    let to_detection = spread(bugs).unwrap_or_else(|| "none was found".into());
    format!(
        "# Kill matrix\n\n\
         What the checkers say of each planted bug ([what they are](planted.md)). This page is generated, and the same on\n\
         every machine: `kew sim --kill-matrix --seeds {seeds} > docs/kill-matrix.md`. Each bug is played over the seeds from 0\n\
         on, {seeds} of them; one whose clause has not been named by then goes on up to {SEEDS_MAX}.\n\n\
         {} bugs break {clauses} of {} clauses; {missed} not named. Seeds to detection: {to_detection}.\n",
        bugs.len(),
        CLAUSES.len(),
    )
}

/// The median and the worst of the seeds to detection.
fn spread(rows: &[&Row]) -> Option<String> {
    let mut seeds: Vec<u64> = rows.iter().filter_map(|row| row.seeds_to_detection).collect();
    seeds.sort_unstable();
    let worst = seeds.last()?;
    Some(format!("median {}, worst {worst}", seeds[seeds.len() / 2]))
}

fn by_clause(bugs: &[&Row]) -> String {
    let mut text = "\n## By clause\n\n\
                    | clause | bugs | caught by it alone | seeds to detection |\n|---|---|---|---|\n"
        .to_owned();
    for clause in CLAUSES {
        let own: Vec<&Row> = bugs.iter().copied().filter(|row| row.clause == clause.id).collect();
        let unique: Vec<_> = own.iter().filter(|row| row.is_unique()).map(|row| format!("`{}`", row.bug)).collect();
        let unique = if unique.is_empty() { "–".into() } else { unique.join(", ") };
        let spread = spread(&own).unwrap_or_else(|| "–".into());
        writeln!(text, "| `{}` | {} | {unique} | {spread} |", clause.id, own.len()).expect("a string takes all");
    }
    text
}

fn by_bug(bugs: &[&Row]) -> String {
    let head = "\n## By bug\n\n\
                Of the seeds played, in how many the bug's own clause broke, and in how many others did.\n\n\
                | bug | clause | seeds to detection | broken in | also broken, in so many seeds |\n|---|---|---|---|---|\n";
    head.to_owned() + &bugs.iter().map(|row| row.line()).collect::<String>()
}

fn unbroken(withstood: &[&Row]) -> String {
    let head = "\n## What the runtime withstands\n\n\
                Worlds that cheat around the runtime, and what broke in them.\n\n\
                | world | seeds | broken |\n|---|---|---|\n";
    head.to_owned() + &withstood.iter().map(|row| row.line()).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seeds_to_detection: Option<u64>, broken: &[(&str, u64)]) -> Row {
        let broken = broken.iter().map(|(clause, count)| ((*clause).to_owned(), *count)).collect();
        let (bug, clause) = ("a-bug", "batch/size");
        Row { bug, clause, seeds_to_detection, seeds: 40, broken, withstood: false }
    }

    #[test]
    fn a_line_tells_the_bugs_own_clause_from_the_others() {
        let line = row(Some(3), &[("batch/full", 2), ("batch/size", 9)]).line();
        assert_eq!(line, "| `a-bug` | `batch/size` | 3 | 9 of 40 | `batch/full` 2 |\n");
        let never = row(None, &[]).line();
        assert_eq!(never, "| `a-bug` | `batch/size` | never | 0 of 40 | – |\n");
    }

    #[test]
    fn only_what_no_other_clause_tells_of_is_caught_by_one_alone() {
        assert!(row(Some(1), &[("batch/size", 1)]).is_unique());
        assert!(!row(Some(1), &[("batch/size", 1), ("batch/full", 1)]).is_unique());
        assert!(!row(None, &[]).is_unique());
    }

    #[test]
    fn a_withstood_world_is_as_it_should_only_if_nothing_broke() {
        let world = |broken: &[(&str, u64)]| Row { withstood: true, ..row(None, broken) };
        assert!(world(&[]).is_as_it_should());
        assert!(!world(&[("batch/size", 1)]).is_as_it_should());
    }
}

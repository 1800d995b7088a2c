//! The catalogue's clauses, family by family, with how each stands and what shows it.

use kew_spec::clause::{self, Level};
use kew_spec::history::Sight;
use kew_spec::verdict::{ClauseVerdict, Finding, State};
use serde::Serialize;

use super::{Across, Elsewhere, Page};
use crate::architecture::origin;
use crate::report::excerpt::shortest;

/// The clauses of a family.
#[derive(Serialize)]
pub(super) struct Family<'a> {
    name: &'a str,
    clauses: Vec<Row<'a>>,
}

/// A clause and how it stands.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    text: &'static str,
    level: Option<Level>,
    source: String,
    needs: &'static [Sight],
    state: State,
    exercised: u64,
    broken: u64,
    inconclusive: u64,
    /// How often the run that is shown broke it.
    broken_here: u64,
    /// Of the run that is shown, the one that shows it best first.
    findings: Vec<&'a Finding>,
    /// Where another run shows it.
    elsewhere: Option<&'a Elsewhere<'a>>,
    /// Why nobody asks whether it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_offered: Option<&'a str>,
}

/// The table: of all runs where there are many, with the findings of the one that is shown.
pub(super) fn families<'a>(page: &'a Page<'a>) -> Vec<Family<'a>> {
    let (run, across) = (page.verdict, page.across.as_ref());
    let all = across.map_or(run, |across| across.verdict);
    let mut families: Vec<Family<'a>> = Vec::new();
    for entry in &all.clauses {
        let name = entry.clause.split('/').next().unwrap_or_default();
        // What is not offered is not held against the system, whatever a checker found in the play.
        let not_offered = page.not_offered.and_then(|them| them.get(&entry.clause)).map(String::as_str);
        let here = run.get(&entry.clause).filter(|_| not_offered.is_none());
        let row = Row { not_offered, ..row(entry, here, across) };
        match families.last_mut().filter(|family| family.name == name) {
            Some(family) => family.clauses.push(row),
            None => families.push(Family { name, clauses: vec![row] }),
        }
    }
    families
}

fn row<'a>(entry: &'a ClauseVerdict, here: Option<&'a ClauseVerdict>, across: Option<&'a Across<'a>>) -> Row<'a> {
    let clause = clause::find(&entry.clause);
    let is_it = |shown: &&Elsewhere<'_>| shown.clause == entry.clause;
    let broken_here = here.map_or(0, |here| here.broken);
    let elsewhere = across.filter(|_| broken_here == 0).and_then(|across| across.shown.iter().find(is_it));
    Row {
        id: &entry.clause,
        text: clause.map_or("", |clause| clause.text),
        level: clause.map(|clause| clause.level),
        source: clause.map(|clause| origin(clause.source)).unwrap_or_default(),
        needs: clause.map_or(&[], |clause| clause.needs),
        state: entry.state,
        exercised: entry.exercised,
        broken: entry.broken,
        inconclusive: entry.inconclusive,
        broken_here,
        findings: here.map(best_first).unwrap_or_default(),
        elsewhere,
        not_offered: None,
    }
}

fn best_first(entry: &ClauseVerdict) -> Vec<&Finding> {
    let best = shortest(entry);
    let is_best = |finding: &&Finding| best.is_some_and(|best| std::ptr::eq(best, *finding));
    let others = entry.findings.iter().filter(|finding| !is_best(finding));
    best.into_iter().chain(others).collect()
}

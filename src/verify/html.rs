//! `kew verify --report`: the verdict over all plays, and the play that shows it best in full, on the page that every
//! player has.

use std::collections::BTreeMap;
use std::path::Path;

use kew_spec::history::Event;
use kew_verify::result::{Cell, ClauseResult, Shown, Verification};
use kew_verify::{Judged, Verified};

use super::again::Again;
use super::page;
use crate::outcome::Failure;
use crate::report::excerpt::Excerpt;
use crate::report::html::{self, Across, Elsewhere, Page};

/// Writes the page. Where no scenario fitted there is no play to show, and so no page.
pub(super) fn write(path: &Path, verified: &Verified, again: &Again<'_>) -> Result<(), Failure> {
    let result = &verified.result;
    let Some((scenario, play)) = chosen(verified) else {
        return Err(Failure::input(format!(
            "write report {}: no scenario fits, so nothing was played",
            path.display()
        )));
    };
    let events: Vec<(u64, Event)> = (2..).zip(play.events.iter().cloned()).collect();
    let excerpts = excerpts(verified);
    let here = broken(result).find(|(_, shown)| shown.scenario == *scenario).map(|(it, _)| it.clause.as_str());
    let replay = here.map(|clause| again.line(clause, scenario));
    let not_offered = not_offered(result);
    let across = page::verdict(result);
    html::write(
        path,
        &Page {
            title: &format!("{} · {scenario}", result.system),
            subtitle: &subtitle(result),
            replay: replay.as_deref(),
            header: &play.header,
            events: &events,
            left_out: 0,
            verdict: &play.verdict,
            opening: here,
            across: Some(Across {
                runs: result.played.len() as u64,
                verdict: &across,
                shown: elsewhere(result, &excerpts, again),
            }),
            not_offered: Some(&not_offered),
            coverage: None,
        },
    )
}

fn broken(result: &Verification) -> impl Iterator<Item = (&ClauseResult, &Shown)> {
    let broken = result.clauses.iter().filter(|it| it.cell == Cell::Broken);
    broken.filter_map(|it| Some((it, it.shown.as_ref()?)))
}

/// The play of the first broken clause. Where nothing is broken, the one that puts most clauses to the test; of those
/// the shortest.
fn chosen(verified: &Verified) -> Option<(&String, &Judged)> {
    let first = broken(&verified.result).find_map(|(_, shown)| verified.plays.get_key_value(&shown.scenario));
    let most = || {
        let tested = |play: &Judged| play.verdict.clauses.iter().filter(|entry| 0 < entry.exercised).count();
        verified.plays.iter().max_by_key(|(_, play)| (tested(play), std::cmp::Reverse(play.events.len())))
    };
    first.or_else(most)
}

fn excerpts(verified: &Verified) -> BTreeMap<&str, Excerpt> {
    let one = |(it, _): (&'_ ClauseResult, _)| page::excerpt_of(verified, it);
    broken(&verified.result).filter_map(|found| Some((found.0.clause.as_str(), one(found)?))).collect()
}

fn elsewhere<'a>(
    result: &'a Verification,
    excerpts: &'a BTreeMap<&str, Excerpt>,
    again: &Again<'_>,
) -> Vec<Elsewhere<'a>> {
    let one = |(it, shown): (&'a ClauseResult, &'a Shown)| {
        Some(Elsewhere {
            clause: &it.clause,
            run: format!("{} ({} of {} plays)", shown.scenario, shown.rate.broken, shown.rate.plays),
            replay: again.line(&it.clause, &shown.scenario),
            excerpt: excerpts.get(it.clause.as_str())?,
        })
    };
    broken(result).filter_map(one).collect()
}

/// The clauses that nobody asks about, each with why not.
fn not_offered(result: &Verification) -> BTreeMap<String, String> {
    let why = |it: &ClauseResult| match it.feature.as_str() {
        "not asked for" => "not asked for in this run".to_owned(),
        feature => format!("not offered, and not held against the system: {}", feature.replace('_', " ")),
    };
    let them = result.clauses.iter().filter(|it| it.cell == Cell::NotOffered);
    them.map(|it| (it.clause.clone(), why(it))).collect()
}

fn subtitle(result: &Verification) -> String {
    let skipped = match result.skipped.len() {
        0 => String::new(),
        count => {
            format!(" {count} scenarios do not fit what it offers, or take too long, and were left out.")
        }
    };
    let summary = page::summary(result);
    let time = if result.virtual_ms.is_some() { "virtual" } else { "real" };
    format!("One of {} plays in {time} time: {}.{skipped}", result.played.len(), summary.trim())
}

//! A verification on the terminal: one row per clause family, then each broken clause with what shows it.

use std::collections::BTreeMap;
use std::fmt::Write;

use kew_spec::verdict::{ClauseVerdict, State, Verdict};
use kew_verify::Verified;
use kew_verify::known::{Against, Known};
use kew_verify::result::{Cell, ClauseResult, Verification};

use super::again::Again;
use crate::report::excerpt::{self, Excerpt};
use crate::report::terminal;

/// What takes longer says why.
const LONG_MS: u64 = 60_000;

/// The whole page.
pub(super) fn page(verified: &Verified, known: &Known, against: &Against, again: &Again<'_>) -> String {
    let result = &verified.result;
    let mut text = head(result);
    text.push('\n');
    text.push_str(&terminal::table(&verdict(result)));
    text.push('\n');
    text.push_str(&summary(result));
    for it in result.clauses.iter().filter(|it| it.cell == Cell::Broken) {
        text.push('\n');
        text.push_str(&broken(verified, it, known, again));
    }
    text.push_str(&remarks(result, against));
    text
}

fn head(result: &Verification) -> String {
    format!(
        "{} · {} · {} played, {} left out · lag p99.9 {} ms, late from {} ms on · {:.0} s\n",
        result.system,
        time(result),
        terminal::counted(result.played.len() as u64, "scenario"),
        result.skipped.len(),
        result.lag_p999_ms,
        result.late_ms,
        result.wall_ms as f64 / 1_000.0,
    )
}

/// The kind of time that it was played in.
fn time(result: &Verification) -> String {
    match result.virtual_ms {
        None => "real time".into(),
        Some(ms) => format!("{:.0} s of virtual time", ms as f64 / 1_000.0),
    }
}

/// The result in the form of a verdict: what is not offered was not exercised.
pub(super) fn verdict(result: &Verification) -> Verdict {
    let entry = |it: &ClauseResult| ClauseVerdict {
        clause: it.clause.clone(),
        state: match it.cell {
            Cell::NotOffered | Cell::NotExercised => State::NotExercised,
            Cell::Kept => State::Kept,
            Cell::Inconclusive => State::Inconclusive,
            Cell::Broken => State::Broken,
        },
        exercised: it.exercised,
        broken: it.shown.as_ref().map_or(0, |shown| shown.scenarios.len() as u64),
        inconclusive: u64::from(it.cell == Cell::Inconclusive),
        findings: Vec::new(),
    };
    Verdict { clauses: result.clauses.iter().map(entry).collect() }
}

pub(super) fn summary(result: &Verification) -> String {
    let count = |cell| result.count(cell);
    let mut text = format!(
        "  kept {} · broken {} · not offered {} · inconclusive {}",
        count(Cell::Kept),
        count(Cell::Broken),
        count(Cell::NotOffered) - result.not_asked_for(),
        count(Cell::Inconclusive),
    );
    if let asked @ 1.. = result.not_asked_for() {
        let _ = write!(text, " · not asked for {asked}");
    }
    if let unexercised @ 1.. = count(Cell::NotExercised) {
        let _ = write!(text, " · offered but not exercised {unexercised}");
    }
    text + "\n"
}

/// A broken clause: its text, what was seen, in which play, how often, and whether it is known.
fn broken(verified: &Verified, it: &ClauseResult, known: &Known, again: &Again<'_>) -> String {
    let Some(shown) = &it.shown else { return String::new() };
    let play = verified.plays.get(&shown.scenario);
    let entry = play.and_then(|play| play.verdict.get(&it.clause)).cloned();
    let entry = entry.unwrap_or_else(|| Verdict::none().clauses[0].clone());
    let mut text = terminal::broken(&entry, excerpt_of(verified, it).as_ref());
    let rate = shown.rate;
    let _ = writeln!(
        text,
        "      {} of {} plays of {}; {}",
        rate.broken,
        rate.plays,
        shown.scenario,
        again.line(&it.clause, &shown.scenario),
    );
    if let Some(known) = known.get(&it.clause) {
        let link = known.link.as_ref().map(|link| format!(" ({link})")).unwrap_or_default();
        let _ = writeln!(text, "      known: {}{link}", known.reason);
    }
    text
}

/// The lines of the smallest play that broke a clause.
pub(super) fn excerpt_of(verified: &Verified, it: &ClauseResult) -> Option<Excerpt> {
    let play = verified.plays.get(&it.shown.as_ref()?.scenario)?;
    let events: BTreeMap<u64, _> = (2..).zip(&play.events).collect();
    let verdict = Verdict { clauses: vec![play.verdict.get(&it.clause)?.clone()] };
    excerpt::excerpts(&verdict, &events).remove(&it.clause)
}

/// What else there is to say of the run.
fn remarks(result: &Verification, against: &Against) -> String {
    let mut text = String::new();
    let mut say = |what: &str, clauses: &[String]| {
        if !clauses.is_empty() {
            let _ = writeln!(text, "\n  {what}: {}", clauses.join(", "));
        }
    };
    say("known to be broken, but kept: take these off the known-failing list", &against.stale);
    say("known to be broken, but the entry has expired: look at these again", &against.expired);
    say("offered, but no scenario put it to the test", &against.unexercised);
    if result.not_asked_for() == 0 {
        say("declared, but used by none of the scenarios that fit", &result.unplayed);
    }
    let emulated = result.clauses.iter().filter(|it| it.emulated && it.cell != Cell::NotOffered);
    let emulated: Vec<_> = emulated.map(|it| it.clause.clone()).collect();
    say("emulated by the adapter", &emulated);
    if let Some(spent) = result.spent.as_ref().filter(|_| LONG_MS < result.wall_ms) {
        let s = |ms: u64| format!("{:.0} s", ms as f64 / 1_000.0);
        let again = match spent.again_ms {
            0..1_000 => String::new(),
            ms => format!(", and what broke or was not reached was played again for {}", s(ms)),
        };
        let _ = writeln!(
            text,
            "\n  it took {}: a play of {} takes {}{again}",
            s(result.wall_ms),
            spent.longest,
            s(spent.longest_ms)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use kew_verify::known::Against;
    use kew_verify::result::Spent;

    use super::super::made_up;
    use super::remarks;

    #[test]
    fn what_takes_longer_than_a_minute_says_why() {
        let spent = Spent { longest: "aging".into(), longest_ms: 62_000, again_ms: 5_000 };
        let mut result = made_up::result("made-up");
        result.spent = Some(spent.clone());
        assert!(!remarks(&result, &Against::default()).contains("it took"));
        result.wall_ms = 74_000;
        let why =
            "  it took 74 s: a play of aging takes 62 s, and what broke or was not reached was played again for 5 s\n";
        assert!(remarks(&result, &Against::default()).ends_with(why));
        result.spent = Some(Spent { again_ms: 10, ..spent });
        assert!(remarks(&result, &Against::default()).ends_with("a play of aging takes 62 s\n"));
    }
}

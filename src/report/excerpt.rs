//! The part of a history that shows a finding: the named lines, each told as a sentence, the last one where it broke.

use std::collections::{BTreeMap, BTreeSet};

use kew_spec::history::Event;
use kew_spec::verdict::{ClauseVerdict, Finding, Verdict};
use serde::{Deserialize, Serialize};

use super::tell::tell;

/// A finding with its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Excerpt {
    /// What was promised and what was seen.
    pub(crate) says: String,
    /// The kind of event at which it broke, as in a history. Absent when the line is no longer at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) broke_at: Option<String>,
    /// The lines that show it. The last one is where it broke.
    pub(crate) lines: Vec<Line>,
}

/// One line of a history, told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Its number in the history.
    pub(crate) line: u64,
    /// When, on the player's clock. Absent when the line is no longer at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at_ms: Option<u64>,
    /// What happened.
    pub(crate) text: String,
    /// What is worth knowing beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beside: Option<String>,
}

/// One excerpt per broken clause, by the clause's id.
pub(crate) type Excerpts = BTreeMap<String, Excerpt>;

/// The finding to show for a clause: the one with the fewest lines, of those the first.
pub(crate) fn shortest(entry: &ClauseVerdict) -> Option<&Finding> {
    entry.findings.iter().min_by_key(|finding| finding.lines.len())
}

/// The lines that the excerpts of `verdict` are made of.
pub(crate) fn lines_named(verdict: &Verdict) -> BTreeSet<u64> {
    verdict.broken().filter_map(shortest).flat_map(|finding| finding.lines.iter().copied()).collect()
}

/// An excerpt for each broken clause, from the events at hand.
pub(crate) fn excerpts(verdict: &Verdict, events: &BTreeMap<u64, &Event>) -> Excerpts {
    let one = |entry: &ClauseVerdict| Some((entry.clause.clone(), excerpt(shortest(entry)?, events)));
    verdict.broken().filter_map(one).collect()
}

fn excerpt(finding: &Finding, events: &BTreeMap<u64, &Event>) -> Excerpt {
    let lines = finding.lines.iter().map(|&line| told(line, events.get(&line).copied())).collect();
    let last = finding.lines.last().and_then(|line| events.get(line));
    let broke_at = last.map(|event| event.what.name().to_owned());
    Excerpt { says: finding.says.clone(), broke_at, lines }
}

fn told(line: u64, event: Option<&Event>) -> Line {
    match event {
        Some(event) => {
            let (text, beside) = tell(event);
            Line { line, at_ms: Some(event.at), text, beside }
        }
        None => Line { line, at_ms: None, text: "no longer at hand".into(), beside: None },
    }
}

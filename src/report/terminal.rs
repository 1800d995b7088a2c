//! A verdict on the terminal: one row per clause family, then each broken clause with what shows it.

use std::fmt::Write;
use std::path::Path;

use kew_spec::causes::{Cause, Causes};
use kew_spec::clause::{self, Clause};
use kew_spec::verdict::{ClauseVerdict, State, Verdict};

use super::excerpt::{Excerpt, Line, shortest};
use super::style::{BAD, DIM, GOOD, HEAD, UNSURE};
use super::tell::seconds;
use crate::architecture::origin;

/// Rows of the table are broken here; most terminals are wider.
const WIDTH: usize = 110;

/// The families' column.
const FAMILY_WIDTH: usize = 14;

/// An excerpt of more lines is shown without its middle.
const LINES_MAX: usize = 24;

/// Of such an excerpt, how many lines are shown of its beginning.
const LINES_HEAD: usize = 8;

/// One row per clause family: how often each clause was exercised, and how it stands.
pub(crate) fn table(verdict: &Verdict) -> String {
    let mut table = String::new();
    let mut rest = verdict.clauses.as_slice();
    while let [first, ..] = rest {
        let family = family_of(first);
        let (row, after) = rest.split_at(rest.iter().take_while(|entry| family_of(entry) == family).count());
        table.push_str(&self::row(family, row));
        rest = after;
    }
    table
}

fn family_of(entry: &ClauseVerdict) -> &str {
    entry.clause.split('/').next().unwrap_or_default()
}

fn row(family: &str, entries: &[ClauseVerdict]) -> String {
    let mut row = format!("  {HEAD}{family:FAMILY_WIDTH$}{HEAD:#}");
    let mut column = FAMILY_WIDTH + 2;
    for entry in entries {
        let (plain_width, cell) = self::cell(entry);
        if WIDTH < column + plain_width && FAMILY_WIDTH + 2 < column {
            column = FAMILY_WIDTH + 2;
            let _ = write!(row, "\n{:column$}", "");
        }
        row.push_str(&cell);
        row.push_str("   ");
        column += plain_width + 3;
    }
    row.truncate(row.trim_end().len());
    row + "\n"
}

/// A cell and its width without colours.
fn cell(entry: &ClauseVerdict) -> (usize, String) {
    let name = entry.clause.split('/').nth(1).unwrap_or(&entry.clause);
    let (style, mark, count) = match entry.state {
        State::Kept => (GOOD, "✓", grouped(entry.exercised)),
        State::Broken => (BAD, "✗", grouped(entry.broken)),
        State::Inconclusive => (UNSURE, "?", grouped(entry.inconclusive)),
        State::NotExercised => (DIM, "–", String::new()),
    };
    let plain = format!("{name} {mark} {count}").trim_end().chars().count();
    let cell = format!("{name} {style}{mark}{style:#} {count}");
    (plain, cell.trim_end().to_owned())
}

/// `41 clauses kept · 0 broken · 0 not exercised`.
pub(crate) fn summary(verdict: &Verdict) -> String {
    let count = |state| verdict.count(state);
    let part = |style: anstyle::Style, state, words: &str| match count(state) {
        0 => format!("0 {words}"),
        count => format!("{style}{count}{style:#} {words}"),
    };
    let kept = if count(State::Kept) == 1 { "clause kept" } else { "clauses kept" };
    let unsure = match count(State::Inconclusive) {
        0 => String::new(),
        count => format!(" · {UNSURE}{count}{UNSURE:#} inconclusive"),
    };
    format!(
        "  {} · {} · {}{unsure}\n",
        part(GOOD, State::Kept, kept),
        part(BAD, State::Broken, "broken"),
        part(UNSURE, State::NotExercised, "not exercised"),
    )
}

/// `redeliveries: failed 120 · timed out 30 · …`, or nothing where there were none.
pub(crate) fn redeliveries(causes: &Causes) -> String {
    let told = |cause: Cause| format!("{} {}", cause.words(), grouped(causes.get(Some(cause))));
    let mut parts: Vec<_> = Cause::ALL.into_iter().map(told).collect();
    if let unexplained @ 1.. = causes.get(None) {
        parts.push(format!("{BAD}without a cause{BAD:#} {}", grouped(unexplained)));
    }
    if causes.sum() == 0 { String::new() } else { format!("  redeliveries: {}\n", parts.join(" · ")) }
}

/// A broken clause: its text, where it comes from, what was seen, and the excerpt that shows it.
pub(crate) fn broken(entry: &ClauseVerdict, excerpt: Option<&Excerpt>) -> String {
    let mut text = match clause::find(&entry.clause) {
        Some(clause) => head(clause),
        None => format!("  {BAD}✗ {}{BAD:#}\n", entry.clause),
    };
    if let Some(excerpt) = excerpt {
        let _ = writeln!(text, "      {}", excerpt.says);
        text.push_str(&lines(&excerpt.lines));
    }
    text
}

fn head(clause: &Clause) -> String {
    let Clause { id, text, source, .. } = clause;
    format!("  {BAD}✗ {id}{BAD:#}   {text}   {DIM}{}{DIM:#}\n", origin(*source))
}

/// The clause's other findings, beside the one that is shown in full.
pub(crate) fn others(entry: &ClauseVerdict) -> String {
    let shown = shortest(entry);
    let mut text = String::new();
    for finding in entry.findings.iter().filter(|finding| !shown.is_some_and(|shown| std::ptr::eq(shown, *finding))) {
        let line = finding.lines.last().map(|line| format!("line {line}: ")).unwrap_or_default();
        let _ = writeln!(text, "      {DIM}also{DIM:#} {line}{}", finding.says);
    }
    let more = entry.broken.saturating_sub(entry.findings.len() as u64);
    if 0 < more {
        let _ = writeln!(text, "      {DIM}and {} times more{DIM:#}", grouped(more));
    }
    text
}

fn lines(lines: &[Line]) -> String {
    let number_width = lines.last().map_or(0, |line| line.line.to_string().len());
    let time = |line: &Line| line.at_ms.map(seconds).unwrap_or_default();
    let time_width = lines.iter().map(|line| time(line).len()).max().unwrap_or(0);
    let text_width = lines.iter().map(|line| line.text.chars().count()).max().unwrap_or(0).min(72);
    let hidden = if LINES_MAX < lines.len() { LINES_HEAD..lines.len() - (LINES_MAX - LINES_HEAD) } else { 0..0 };
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        if i == hidden.start && !hidden.is_empty() {
            let _ = writeln!(text, "        {DIM}… {} lines{DIM:#}", hidden.len());
        }
        if hidden.contains(&i) {
            continue;
        }
        let number = format!("{DIM}{:number_width$}{DIM:#}", line.line);
        let mark = mark(line, i + 1 == lines.len());
        let told = format!("        {number}  {:>time_width$}  {:text_width$}{mark}", time(line), line.text);
        let _ = writeln!(text, "{}", told.trim_end());
    }
    text
}

fn mark(line: &Line, is_last: bool) -> String {
    let beside = line.beside.as_ref().map(|beside| format!("  {DIM}── {beside}{DIM:#}")).unwrap_or_default();
    if is_last { format!("{beside}  {BAD}◄── broken here{BAD:#}") } else { beside }
}

/// Where a page was written to.
pub(crate) fn written(page: Option<&Path>) -> String {
    page.map(|path| format!("\n  report: {}\n", path.display())).unwrap_or_default()
}

/// A number with commas: `48,112`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if 0 < i && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 seed`, `1,200 seeds`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(number))
}

//! Known failures: clauses that a system is known to break, each with a reason, so that a run that breaks no other still
//! passes. One that is kept after all fails the run, so that the list stays true.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::result::{Cell, Verification};

/// The file in a target's folder.
pub const FILE: &str = "known-failing.toml";

/// The clauses that a system is known to break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// One entry per clause.
    #[serde(default)]
    pub known: Vec<Failing>,
}

/// A clause that is known to be broken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    /// The clause's id.
    pub clause: String,
    /// Why.
    pub reason: String,
    /// Where it is told of: an issue, a page of the documents.
    #[serde(default)]
    pub link: Option<String>,
    /// Whether the system's own documents promise what is broken.
    #[serde(default)]
    pub promised: bool,
    /// It does not show in every run, so that it may also be kept.
    #[serde(default)]
    pub sometimes: bool,
    /// From this day on (`2027-06-30`) it counts no more, and somebody must look at it again.
    #[serde(default)]
    pub expires: Option<String>,
}

/// How a run stands against what was known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Against {
    /// Broken, and not known to be.
    pub unexpected: Vec<String>,
    /// Broken, as known.
    pub expected: Vec<String>,
    /// Known to be broken, but kept: take it off the list.
    pub stale: Vec<String>,
    /// Known, but the entry has run out.
    pub expired: Vec<String>,
    /// Offered, but never put to the test.
    pub unexercised: Vec<String>,
}

impl Known {
    /// Reads a file. The error says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads the text of a file, which the error calls `name`.
    pub fn parse(text: &str, name: &str) -> Result<Self, String> {
        let known: Self = toml::from_str(text).map_err(|error| format!("understand {name}: {error}"))?;
        if let Some(it) = known.known.iter().find(|it| kew_spec::clause::find(&it.clause).is_none()) {
            return Err(format!("use {name}: there is no clause {}; `kew spec` lists them", it.clause));
        }
        match known.known.iter().filter_map(|it| it.expires.as_deref()).find(|day| !is_day(day)) {
            Some(day) => Err(format!("use {name}: expires = {day:?} is no day; write it as 2027-06-30")),
            None => Ok(known),
        }
    }

    /// The entry of a clause.
    pub fn get(&self, clause: &str) -> Option<&Failing> {
        self.known.iter().find(|it| it.clause == clause)
    }

    /// Compares a run with what is known. `today` is a day such as `2026-11-25`.
    pub fn against(&self, result: &Verification, today: &str) -> Against {
        let mut against = Against::default();
        for it in &result.clauses {
            let known = self.get(&it.clause);
            let clause = it.clause.clone();
            match (it.cell, known) {
                (Cell::Broken, None) => against.unexpected.push(clause),
                (Cell::Broken, Some(known)) if known.is_over(today) => against.expired.push(clause),
                (Cell::Broken, Some(_)) => against.expected.push(clause),
                (Cell::Kept, Some(known)) if !known.sometimes => against.stale.push(clause),
                (Cell::NotExercised, _) => against.unexercised.push(clause),
                _ => {}
            }
        }
        against
    }
}

/// Whether `text` has the form of a day, so that days can be compared as texts.
fn is_day(text: &str) -> bool {
    let form = |(place, byte): (usize, u8)| if place == 4 || place == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(form)
}

impl Failing {
    /// Whether it counts no more on the day `today`.
    pub fn is_over(&self, today: &str) -> bool {
        self.expires.as_deref().is_some_and(|day| day <= today)
    }
}

impl Against {
    /// Whether the run went as known.
    pub fn is_fine(&self) -> bool {
        self.unexpected.is_empty() && self.stale.is_empty() && self.expired.is_empty() && self.unexercised.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Known;

    #[test]
    fn an_entry_runs_out_on_a_day_or_not_at_all() {
        let read = |expires: &str| {
            let text = format!("[[known]]\nclause = 'retry/count'\nreason = 'because'\nexpires = '{expires}'\n");
            Known::parse(&text, "known-failing.toml")
        };
        assert!(read("2027-06-30").is_ok());
        for no_day in ["never", "2027-6-30", "2027-06-30T00:00", "30.06.2027"] {
            let why = read(no_day).expect_err("days are compared as texts");
            assert!(why.contains("write it as 2027-06-30"), "{why}");
        }
    }
}

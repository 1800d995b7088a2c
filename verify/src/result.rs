//! What a verification came to: how it stands with every clause, and what shows it. This is what reports and the
//! scoreboard are made of, and what is kept as a file.

use kew_spec::clause::CLAUSES;
use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;

/// The version of the form of result files.
pub const VERSION: u32 = 1;

/// What stands in place of a feature where nobody asked for the clause.
pub(crate) const NOT_ASKED_FOR: &str = "not asked for";

/// How it stands with one clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// The system does not offer what the clause is about, or nobody outside can judge it.
    NotOffered,
    /// It was put to the test and held every time.
    Kept,
    /// It could not be decided: the machine was too slow, or an outcome is unknown.
    Inconclusive,
    /// It is offered, but no scenario put it to the test.
    NotExercised,
    /// It was broken.
    Broken,
}

/// How it stands with one clause, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClauseResult {
    /// The clause's id.
    pub clause: String,
    /// How it stands.
    pub cell: Cell,
    /// How often it was put to the test.
    pub exercised: u64,
    /// The feature that offers it, or that is missing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub feature: String,
    /// Whether the adapter emulates that feature.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emulated: bool,
    /// What shows that it is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
}

/// The smallest play that breaks a clause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The scenario.
    pub scenario: String,
    /// What was promised and what was seen.
    pub says: String,
    /// The lines of its history that show it.
    pub lines: Vec<u64>,
    /// The scenario was played so often more, and broke the clause so often.
    pub rate: Rate,
    /// In how many of the scenarios played first it was broken.
    pub scenarios: Vec<String>,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// So many.
    pub broken: u32,
    /// Of so many.
    pub plays: u32,
}

/// A scenario that was not played.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub scenario: String,
    /// Why not.
    pub why: String,
}

/// What a verification came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// [`VERSION`].
    pub kew_verification: u32,
    /// The target's name.
    pub target: String,
    /// The system, its version and what it stands on.
    pub system: String,
    /// The version alone.
    pub version: String,
    /// What it declares.
    pub capabilities: Capabilities,
    /// One entry per clause, in the order of the catalogue.
    pub clauses: Vec<ClauseResult>,
    /// The scenarios that were played.
    pub played: Vec<String>,
    /// Those that were not.
    pub skipped: Vec<Skipped>,
    /// What the system declares and no scenario that was played made use of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unplayed: Vec<String>,
    /// What "not late" bounds got on top, in milliseconds.
    pub late_ms: u64,
    /// What 999 of 1,000 sleepers on this machine were not later than, in milliseconds.
    pub lag_p999_ms: u64,
    /// How long it took in real time, in milliseconds.
    pub wall_ms: u64,
    /// How much time passed for the system, if that was virtual, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_ms: Option<u64>,
    /// What the real time went into. Results of earlier versions do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// What the time of a verification went into. Plays go on side by side, so the longest one bounds them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The scenario of the longest play.
    pub longest: String,
    /// How long that took, in milliseconds.
    pub longest_ms: u64,
    /// How long it took to play again what broke a clause, or did not reach one, in milliseconds.
    pub again_ms: u64,
}

impl Verification {
    /// How many clauses stand at `cell`.
    pub fn count(&self, cell: Cell) -> usize {
        self.clauses.iter().filter(|it| it.cell == cell).count()
    }

    /// How many clauses nobody asked for.
    pub fn not_asked_for(&self) -> usize {
        self.clauses.iter().filter(|it| it.feature == NOT_ASKED_FOR).count()
    }

    /// The entry of a clause.
    pub fn get(&self, clause: &str) -> Option<&ClauseResult> {
        self.clauses.iter().find(|it| it.clause == clause)
    }

    /// The entries of one family, in the order of the catalogue.
    pub fn family<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a ClauseResult> {
        let of = move |clause: &str| CLAUSES.iter().any(|it| it.id == clause && it.family() == family);
        self.clauses.iter().filter(move |it| of(&it.clause))
    }
}

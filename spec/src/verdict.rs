//! The answer of the checkers: per clause kept, broken, not exercised or inconclusive, with the lines that show it.
//!
//! A verdict is data. How it is shown (terminal, JSON, a page) is the command line's business.

use serde::{Deserialize, Serialize};

use crate::causes::{Cause, Causes};
use crate::clause::{CLAUSES, Clause, Place};

/// How many findings per clause are kept in full. All are counted.
pub const FINDINGS_MAX: usize = 5;

/// How it stands with one clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The history never put it to the test.
    NotExercised,
    /// It was put to the test and held every time.
    Kept,
    /// It could not be decided, because an outcome that it hangs on is unknown.
    Inconclusive,
    /// It was broken.
    Broken,
}

/// A place where a clause is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What went wrong, in a sentence: what was promised and what was seen.
    pub says: String,
    /// The lines of the history that show it, in order; the last one is where it broke.
    pub lines: Vec<u64>,
}

/// How it stands with one clause, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClauseVerdict {
    /// The clause's id.
    pub clause: String,
    /// How it stands.
    pub state: State,
    /// How often it was put to the test.
    pub exercised: u64,
    /// How often it was broken.
    pub broken: u64,
    /// How often it could not be decided.
    pub inconclusive: u64,
    /// The first few places where it is broken.
    pub findings: Vec<Finding>,
}

/// The verdict on a history: one entry per clause, in the order of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// One entry per clause.
    pub clauses: Vec<ClauseVerdict>,
}

impl Verdict {
    /// A verdict on nothing: no clause is exercised.
    pub fn none() -> Self {
        let empty = |clause: &Clause| ClauseVerdict {
            clause: clause.id.to_owned(),
            state: State::NotExercised,
            exercised: 0,
            broken: 0,
            inconclusive: 0,
            findings: Vec::new(),
        };
        Self { clauses: CLAUSES.iter().map(empty).collect() }
    }

    /// The entry of the clause with this id.
    pub fn get(&self, id: &str) -> Option<&ClauseVerdict> {
        self.clauses.iter().find(|entry| entry.clause == id)
    }

    /// The entries that are broken.
    pub fn broken(&self) -> impl Iterator<Item = &ClauseVerdict> {
        self.clauses.iter().filter(|entry| entry.state == State::Broken)
    }

    /// How many clauses stand at `state`.
    pub fn count(&self, state: State) -> usize {
        self.clauses.iter().filter(|entry| entry.state == state).count()
    }

    /// Adds another history's verdict: counts add up, the worst state wins, the first findings stay.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.clauses.iter_mut().zip(&other.clauses) {
            mine.state = mine.state.max(theirs.state);
            mine.exercised += theirs.exercised;
            mine.broken += theirs.broken;
            mine.inconclusive += theirs.inconclusive;
            let room = FINDINGS_MAX.saturating_sub(mine.findings.len());
            mine.findings.extend(theirs.findings.iter().take(room).cloned());
        }
    }
}

/// What checkers write while they read; it becomes a [`Verdict`].
#[derive(Debug)]
pub struct Notes {
    /// One entry per clause, in the order of the catalogue.
    entries: Vec<Note>,
    causes: Causes,
}

#[derive(Clone, Debug, Default)]
struct Note {
    exercised: u64,
    broken: u64,
    inconclusive: u64,
    findings: Vec<Finding>,
}

impl Default for Notes {
    fn default() -> Self {
        Self { entries: vec![Note::default(); CLAUSES.len()], causes: Causes::default() }
    }
}

impl Notes {
    /// The clause was put to the test once. (Also call this where it turns out broken.)
    pub fn exercised(&mut self, clause: Place) {
        self.entry(clause).exercised += 1;
    }

    /// The clause is broken: what was promised and seen, and the lines that show it, the last one where it broke.
    pub fn broken(&mut self, clause: Place, says: impl Into<String>, lines: Vec<u64>) {
        let note = self.entry(clause);
        note.broken += 1;
        if note.findings.len() < FINDINGS_MAX {
            note.findings.push(Finding { says: says.into(), lines });
        }
    }

    /// The clause could not be decided here.
    pub fn inconclusive(&mut self, clause: Place) {
        self.entry(clause).inconclusive += 1;
    }

    /// A job was delivered once more, for this cause or for none.
    pub fn delivered_again(&mut self, cause: Option<Cause>) {
        self.causes.count(cause);
    }

    /// How often jobs were delivered again, by cause.
    pub fn causes(&self) -> Causes {
        self.causes
    }

    fn entry(&mut self, clause: Place) -> &mut Note {
        &mut self.entries[clause.index()]
    }

    /// The verdict on all that was noted, except on clauses that could not be judged at all.
    pub fn verdict_without(mut self, unjudged: &[Place]) -> Verdict {
        unjudged.iter().for_each(|&clause| *self.entry(clause) = Note::default());
        self.verdict()
    }

    /// The verdict on all that was noted.
    pub fn verdict(self) -> Verdict {
        let mut verdict = Verdict::none();
        for (entry, note) in verdict.clauses.iter_mut().zip(self.entries) {
            entry.state = note.state();
            entry.exercised = note.exercised;
            entry.broken = note.broken;
            entry.inconclusive = note.inconclusive;
            entry.findings = note.findings;
        }
        verdict
    }
}

impl Note {
    fn state(&self) -> State {
        match (self.broken, self.exercised, self.inconclusive) {
            (1.., _, _) => State::Broken,
            (0, 1.., _) => State::Kept,
            (0, 0, 1..) => State::Inconclusive,
            (0, 0, 0) => State::NotExercised,
        }
    }
}

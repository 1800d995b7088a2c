//! What a point came to: how the database was found, what followed, and the verdict of all clauses on the whole history.

use std::sync::Arc;

use kew_spec::check::Checker;
use kew_spec::history::{Event, Header, Slack};
use kew_spec::verdict::Verdict;

use super::{LATE_MS, Model, RECOVERY_MS, Sweep};
use crate::record::{Recorder, hash};

/// How the database was found when the power was back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Sound, with every acknowledged commit.
    Kept {
        /// Whether the commit that was under way is there too.
        in_doubt_too: bool,
    },
    /// Sound, as it was some acknowledged commits earlier.
    RolledBack {
        /// How many are gone.
        commits: u64,
    },
    /// Sound to SQLite, and yet as it never was after any commit.
    Between,
    /// SQLite's own check complains.
    Unsound(String),
    /// It cannot be opened or read.
    Unreadable(String),
}

/// What one point came to.
#[derive(Debug)]
pub struct Point {
    /// The disk operation at which the power went.
    pub operation: u64,
    /// What was left.
    pub model: Model,
    /// How the database was found.
    pub state: State,
    /// What followed. Points of one cut share it where their databases say the same.
    pub future: Arc<Future>,
    /// Whether the future was played for this point: the others of its cut that share it come after.
    pub is_first: bool,
}

/// What followed a cut, judged together with what came before.
#[derive(Debug)]
pub struct Future {
    /// How many acknowledged jobs were not there at the end.
    pub lost: u64,
    /// All clauses on the whole history.
    pub verdict: Verdict,
    /// The history's first line.
    pub header: Header,
    /// What was seen, in order of time.
    pub history: Vec<Event>,
}

impl Point {
    /// Whether anything is lost or broken.
    pub fn is_broken(&self) -> bool {
        let broken = 0 < self.future.lost || self.future.verdict.broken().next().is_some();
        broken || !matches!(self.state, State::Kept { .. })
    }
}

impl Future {
    /// A hash over the history: the same point has the same one, in any process.
    pub fn hash(&self) -> String {
        hash(&self.history)
    }
}

impl Sweep {
    pub(super) fn judge(&self, lost: u64, recorder: &Recorder) -> Future {
        let header = Header {
            player: "sim, power sweep".into(),
            scenario: Some(self.workload.scenario.name.clone()),
            seed: Some(self.seed),
            queues: self.workload.queues.as_ref().clone(),
            slack: Slack { late_ms: LATE_MS, recovery_ms: RECOVERY_MS, clock_error_ms: 0 },
            ..Header::new(concat!("kew ", env!("CARGO_PKG_VERSION")))
        };
        let history = recorder.take();
        let mut checker = Checker::new(&header);
        // The header is line 1.
        (2..).zip(&history).for_each(|(line, event)| checker.see(line, event));
        Future { lost, verdict: checker.finish(), header, history }
    }
}

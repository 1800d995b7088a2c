//! What the points of a sweep came to together: per kind of loss, per clause, and what shows each broken clause best.

use std::collections::{BTreeMap, BTreeSet};

use kew_sim::sweep::{Model, Point, State};
use kew_spec::verdict::Verdict;
use serde::{Deserialize, Serialize};

use crate::report::excerpt::{self, Excerpt};
use crate::report::terminal::counted;
use crate::sim::child;

/// How many points are kept at which the database was not as it should be.
const WRONG_MAX: usize = 3;

/// The sum over points.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Swept {
    /// Per kind of loss.
    pub(super) losses: BTreeMap<String, Tally>,
    /// How many different futures were played. Points of one cut whose databases say the same share one.
    pub(super) futures: u64,
    /// Counts add up over futures, each once; findings are left out, since lines of different histories mean nothing
    /// together.
    pub(super) verdict: Verdict,
    /// Per broken clause the point that shows it best.
    pub(super) shown: BTreeMap<String, Shown>,
    /// The first points at which the database was not as it should be.
    pub(super) wrong: Vec<Place>,
}

/// What the points of one kind of loss came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) points: u64,
    /// Acknowledged jobs that were not there, over all points.
    pub(super) jobs_lost: u64,
    /// Points at which acknowledged commits were not there.
    pub(super) undone: u64,
    /// Points at which the database was damaged, or stood between two commits.
    pub(super) damaged: u64,
    /// Points at which a clause was broken.
    pub(super) broken: u64,
}

/// A point, and how its database was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) cut: u64,
    pub(super) model: String,
    pub(super) found: String,
}

/// A broken clause at a point.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) at: Place,
    pub(super) excerpt: Excerpt,
}

impl Swept {
    /// No point yet.
    pub(super) fn none() -> Self {
        let (losses, shown, wrong) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { losses, futures: 0, verdict: Verdict::none(), shown, wrong }
    }

    /// Adds a point.
    pub(super) fn add_point(&mut self, point: &Point) {
        let tally = Tally::of(point);
        self.losses.entry(point.model.kind().to_owned()).or_default().add(tally);
        if point.is_first {
            self.add_future(point);
        }
        if 0 < tally.undone + tally.damaged && self.wrong.len() < WRONG_MAX {
            self.wrong.push(Place::of(point));
        }
    }

    fn add_future(&mut self, point: &Point) {
        self.futures += 1;
        let verdict = &point.future.verdict;
        let mut counts = verdict.clone();
        counts.clauses.iter_mut().for_each(|entry| entry.findings.clear());
        self.verdict.add(&counts);
        let named: BTreeSet<_> = excerpt::lines_named(verdict);
        let lines = (child::FIRST_LINE..).zip(&point.future.history).filter(|(line, _)| named.contains(line));
        for (clause, excerpt) in excerpt::excerpts(verdict, &lines.collect()) {
            self.show_clause(clause, Shown { at: Place::of(point), excerpt });
        }
    }

    fn show_clause(&mut self, clause: String, it: Shown) {
        let is_shorter = |shown: &Shown| it.excerpt.lines.len() < shown.excerpt.lines.len();
        if self.shown.get(&clause).is_none_or(is_shorter) {
            self.shown.insert(clause, it);
        }
    }

    /// Adds another sweep's points.
    pub(super) fn add(&mut self, other: Self) {
        for (kind, tally) in other.losses {
            self.losses.entry(kind).or_default().add(tally);
        }
        self.futures += other.futures;
        self.verdict.add(&other.verdict);
        other.shown.into_iter().for_each(|(clause, shown)| self.show_clause(clause, shown));
        self.wrong.extend(other.wrong);
        self.wrong.truncate(WRONG_MAX);
    }

    /// All kinds of loss together.
    pub(super) fn all(&self) -> Tally {
        let mut all = Tally::default();
        self.losses.values().for_each(|tally| all.add(*tally));
        all
    }

    /// Whether anything was lost or broken at any point.
    pub(super) fn is_broken(&self) -> bool {
        let Tally { jobs_lost, undone, damaged, broken, .. } = self.all();
        0 < jobs_lost + undone + damaged + broken
    }
}

impl Tally {
    fn of(point: &Point) -> Self {
        let (undone, damaged) = match point.state {
            State::Kept { .. } => (0, 0),
            State::RolledBack { .. } => (1, 0),
            State::Between | State::Unsound(_) | State::Unreadable(_) => (0, 1),
        };
        let broken = u64::from(point.future.verdict.broken().next().is_some());
        Self { points: 1, jobs_lost: point.future.lost, undone, damaged, broken }
    }

    fn add(&mut self, other: Self) {
        self.points += other.points;
        self.jobs_lost += other.jobs_lost;
        self.undone += other.undone;
        self.damaged += other.damaged;
        self.broken += other.broken;
    }
}

impl Place {
    fn of(point: &Point) -> Self {
        Self { cut: point.operation, model: point.model.to_string(), found: found(&point.state) }
    }
}

/// How a database was found, in words.
pub(super) fn found(state: &State) -> String {
    match state {
        State::Kept { in_doubt_too: false } => "sound, with every acknowledged commit".into(),
        State::Kept { in_doubt_too: true } => "sound, with every acknowledged commit and the one under way".into(),
        State::RolledBack { commits } => format!("sound, {} undone", counted(*commits, "acknowledged commit")),
        State::Between => "as it never was after any commit".into(),
        State::Unsound(complaint) => format!("damaged: {complaint}"),
        State::Unreadable(error) => format!("unreadable: {error}"),
    }
}

/// The kinds of loss in the order of the models.
pub(super) fn kinds() -> Vec<&'static str> {
    let mut kinds: Vec<_> = Model::all().map(Model::kind).collect();
    kinds.dedup();
    kinds
}

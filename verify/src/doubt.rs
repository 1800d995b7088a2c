//! What is put down to this machine, and not held against the system: what broke only while it stood still, or seldom, or at
//! all on a machine that was too slow.

use std::collections::{BTreeMap, BTreeSet};

use kew_spec::clause::{self, CLAUSES, Level};
use kew_spec::verdict::State;

use crate::judge::Judged;
use crate::result::{Cell, ClauseResult};

/// The clauses that were broken in a play in which the machine never stood still.
pub(crate) fn broken_calmly(plays: &BTreeMap<String, Judged>) -> BTreeSet<String> {
    plays.values().filter(|play| !play.stalled).flat_map(broken_by).collect()
}

/// The clauses that a play broke.
pub(crate) fn broken_by(play: &Judged) -> impl Iterator<Item = String> + '_ {
    CLAUSES.iter().map(|clause| clause.id).filter(|id| is_broken(play, id)).map(str::to_owned)
}

/// Whether a play broke `clause`.
pub(crate) fn is_broken(play: &Judged, clause: &str) -> bool {
    play.verdict.get(clause).is_some_and(|entry| entry.state == State::Broken)
}

/// What broke only while the machine stood still, or in fewer than half of the plays, is put down to the machine if it is
/// about being late. Anything else must be both: what came first is not known then, but a promise that is broken at most
/// times is broken.
pub(crate) fn put_down_to_the_machine(clauses: &mut [ClauseResult], calmly: &BTreeSet<String>) {
    for it in clauses.iter_mut().filter(|it| it.cell == Cell::Broken) {
        if is_doubtful(it, calmly) {
            it.cell = Cell::Inconclusive;
        }
    }
}

/// Whether what shows that `it` is broken may be the machine's doing. What was not played again is not doubted.
pub(crate) fn is_doubtful(it: &ClauseResult, calmly: &BTreeSet<String>) -> bool {
    let rate = it.shown.as_ref().map(|shown| shown.rate).unwrap_or_default();
    let timing = clause::find(&it.clause).is_some_and(|clause| clause.level == Level::Timing);
    let (stalled, seldom) = (!calmly.contains(&it.clause), 2 * rate.broken < rate.plays);
    1 < rate.plays && if timing { stalled || seldom } else { stalled && seldom }
}

/// What was tried while the machine stood still, and not exercised, says nothing of the system. `tried` tells of a clause
/// whether it was.
pub(crate) fn excuse_missed(clauses: &mut [ClauseResult], tried: impl Fn(&str) -> bool) {
    for it in clauses.iter_mut().filter(|it| it.cell == Cell::NotExercised) {
        if tried(&it.clause) {
            it.cell = Cell::Inconclusive;
        }
    }
}

/// On a machine that was too slow nothing is called late.
pub(crate) fn excuse(clauses: &mut [ClauseResult]) {
    for it in clauses.iter_mut().filter(|it| it.cell == Cell::Broken) {
        if clause::find(&it.clause).is_some_and(|clause| clause.level == Level::Timing) {
            it.cell = Cell::Inconclusive;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Rate, Shown};

    /// What becomes of a clause that broke in so many of so many plays.
    fn becomes(clause: &str, broken: u32, plays: u32, calmly: bool) -> Cell {
        let shown = Shown {
            scenario: "made-up".into(),
            says: String::new(),
            lines: Vec::new(),
            rate: Rate { broken, plays },
            scenarios: Vec::new(),
        };
        let mut all = [ClauseResult {
            clause: clause.into(),
            cell: Cell::Broken,
            exercised: 1,
            feature: String::new(),
            emulated: false,
            shown: Some(shown),
        }];
        put_down_to_the_machine(&mut all, &calmly.then(|| clause.to_owned()).into_iter().collect());
        all[0].cell
    }

    #[test]
    fn a_broken_promise_is_doubted_only_if_it_broke_seldom_and_while_the_machine_stood_still() {
        assert_eq!(becomes("retry/at-most", 1, 6, false), Cell::Inconclusive);
        assert_eq!(becomes("retry/at-most", 1, 6, true), Cell::Broken, "a calm play broke it");
        assert_eq!(becomes("retry/at-most", 3, 6, false), Cell::Broken, "half of the plays broke it");
        assert_eq!(becomes("retry/at-most", 1, 1, false), Cell::Broken, "it was not played again");
    }

    #[test]
    fn what_a_machine_that_stood_still_did_not_exercise_is_inconclusive() {
        let result = |clause: &str, cell: Cell| ClauseResult {
            clause: clause.into(),
            cell,
            exercised: 0,
            feature: String::new(),
            emulated: false,
            shown: None,
        };
        let mut all = [
            result("rate/ceiling", Cell::NotExercised),
            result("batch/full", Cell::NotExercised),
            result("rate/used", Cell::NotOffered),
        ];
        excuse_missed(&mut all, |clause| clause.starts_with("rate/"));
        let cells = all.map(|it| it.cell);
        assert_eq!(cells, [Cell::Inconclusive, Cell::NotExercised, Cell::NotOffered]);
    }

    #[test]
    fn being_late_is_doubted_if_it_was_seldom_or_while_the_machine_stood_still() {
        assert_eq!(becomes("backoff/not-late", 1, 6, true), Cell::Inconclusive);
        assert_eq!(becomes("backoff/not-late", 6, 6, false), Cell::Inconclusive);
        assert_eq!(becomes("backoff/not-late", 3, 6, true), Cell::Broken);
    }
}

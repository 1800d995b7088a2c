//! `kew verify --junit`: one test suite per clause family, one test per clause, for whatever shows test results.

use std::fmt::Write;

use kew_verify::known::{Against, Known};
use kew_verify::result::{Cell, ClauseResult, Verification};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

/// The file's text.
pub(super) fn xml(result: &Verification, known: &Known, against: &Against) -> String {
    let mut report = Report::new(format!("kew verify {}", result.target));
    let mut suites: Vec<TestSuite> = Vec::new();
    for it in &result.clauses {
        let family = it.clause.split('/').next().unwrap_or_default();
        if suites.last().is_none_or(|suite| suite.name.as_str() != family) {
            let mut suite = TestSuite::new(family);
            suite.add_property(Property::new("system", result.system.as_str()));
            suites.push(suite);
        }
        if let Some(suite) = suites.last_mut() {
            suite.add_test_case(case(result, it, known, against));
        }
    }
    report.add_test_suites(suites);
    report.to_string().expect("it is written into memory")
}

fn case(result: &Verification, it: &ClauseResult, known: &Known, against: &Against) -> TestCase {
    let mut case = TestCase::new(it.clause.as_str(), status(it, known, against));
    case.set_classname(format!("kew.{}", result.target));
    if it.emulated {
        case.add_property(Property::new("emulated", "true"));
    }
    case
}

/// A test fails where the run does: what is known to be broken does not, what is known and kept does.
fn status(it: &ClauseResult, known: &Known, against: &Against) -> TestCaseStatus {
    let is_among = |clauses: &[String]| clauses.contains(&it.clause);
    let reason = known.get(&it.clause).map(|known| known.reason.as_str()).unwrap_or_default();
    match it.cell {
        Cell::Broken if is_among(&against.expected) => skipped(format!("known to be broken: {reason}")),
        Cell::Broken => broken(it, is_among(&against.expired)),
        Cell::Kept if is_among(&against.stale) => {
            not(NonSuccessKind::Failure, "known to be broken, but kept: take it off the known-failing list".into())
        }
        Cell::Kept => TestCaseStatus::success(),
        Cell::NotOffered => skipped(format!("not offered: {}", it.feature)),
        Cell::Inconclusive => skipped("inconclusive: it could not be decided in this run".into()),
        Cell::NotExercised => {
            not(NonSuccessKind::Error, "offered, but no scenario that was played put it to the test".into())
        }
    }
}

fn broken(it: &ClauseResult, is_expired: bool) -> TestCaseStatus {
    let text = kew_spec::clause::find(&it.clause).map(|clause| clause.text).unwrap_or_default();
    let Some(shown) = &it.shown else { return not(NonSuccessKind::Failure, text.into()) };
    let mut status = not(NonSuccessKind::Failure, shown.says.clone());
    let mut told = format!("{text}\n{}\n", shown.says);
    let _ = writeln!(told, "{} of {} plays of {}", shown.rate.broken, shown.rate.plays, shown.scenario);
    if is_expired {
        told.push_str("it was known, but the entry has expired\n");
    }
    status.set_type("broken").set_description(told);
    status
}

fn skipped(message: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(message);
    status
}

fn not(kind: NonSuccessKind, message: String) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::xml;
    use crate::verify::made_up;

    #[test]
    fn each_clause_is_a_test_that_fails_where_the_run_does() {
        let (result, known) = (made_up::result("made-up"), made_up::known());
        assert_snapshot!(xml(&result, &known, &known.against(&result, made_up::TODAY)));
    }
}

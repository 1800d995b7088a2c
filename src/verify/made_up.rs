//! A result that nobody measured, for the tests of what is made of results.

use kew_spec::clause::CLAUSES;
use kew_verify::capability::Capabilities;
use kew_verify::known::{Failing, Known};
use kew_verify::result::{Cell, ClauseResult, Rate, Shown, VERSION, Verification};

/// The day on which it was not measured.
pub(super) const TODAY: &str = "2026-11-25";

/// The clauses that it breaks.
pub(super) fn broken() -> [&'static str; 2] {
    ["retry/at-least", "status/flow"]
}

/// Two clauses are broken; of the others each state occurs.
pub(super) fn result(target: &str) -> Verification {
    let clauses: Vec<_> = CLAUSES.iter().map(|clause| entry(clause.id)).collect();
    Verification {
        kew_verification: VERSION,
        target: target.into(),
        system: format!("{target} 1.2.0 on <Redis> 7"),
        version: "1.2.0".into(),
        capabilities: Capabilities::default(),
        clauses,
        played: vec!["pdf-success".into(), "pdf-retries".into()],
        skipped: Vec::new(),
        unplayed: Vec::new(),
        late_ms: 300,
        lag_p999_ms: 4,
        wall_ms: 12_000,
        virtual_ms: None,
        spent: None,
    }
}

/// One of the broken clauses is known to be.
pub(super) fn known() -> Known {
    let known = Failing {
        clause: "retry/at-least".into(),
        reason: "a stalled job counts | twice".into(),
        link: Some("https://example.org/issues/1".into()),
        promised: true,
        sometimes: false,
        expires: None,
    };
    Known { known: vec![known] }
}

fn entry(clause: &str) -> ClauseResult {
    let family = clause.split('/').next().unwrap_or_default();
    let cell = match (family, clause) {
        _ if broken().contains(&clause) => Cell::Broken,
        ("job" | "retry" | "status" | "dead-letter", _) => Cell::Kept,
        (_, "backoff/capped") => Cell::NotExercised,
        ("backoff", _) => Cell::Inconclusive,
        _ => Cell::NotOffered,
    };
    let shown = (cell == Cell::Broken).then(|| Shown {
        scenario: "pdf-retries".into(),
        says: "job `7c1e` had 2 deliveries & 3 were <promised>".into(),
        lines: vec![4, 9],
        rate: Rate { broken: 2, plays: 6 },
        scenarios: vec!["pdf-retries".into()],
    });
    let exercised = if cell == Cell::Kept || cell == Cell::Broken { 3 } else { 0 };
    ClauseResult {
        clause: clause.into(),
        cell,
        exercised,
        feature: if family == "job" { String::new() } else { family.replace('-', "_") },
        emulated: family == "dead-letter",
        shown,
    }
}

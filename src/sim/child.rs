//! The child's side: runs one seed in this process, judges its history and prints one line. Nothing else may run in
//! this process before or beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use kew_sim::{Plan, Run};
use kew_spec::causes::Causes;
use kew_spec::check::Checker;
use kew_spec::coverage;
use kew_spec::history::{Event, Header, Writer};
use kew_spec::verdict::Verdict;

use super::Arguments;
use super::play::Played;
use crate::outcome::{End, Failure};
use crate::report::{self, excerpt};

/// The header is the history's line 1.
pub(super) const FIRST_LINE: u64 = 2;

/// Runs the plan. Ends well however the clauses stand: the parent reads that from the line.
pub(super) fn run(arguments: &Arguments, plan: &Plan) -> Result<End, Failure> {
    let run = kew_sim::run(plan).map_err(Failure::harness)?;
    if let Some(path) = &arguments.history {
        write(path, &run.header, &run.history)
            .map_err(|error| Failure::input(format!("write history {}: {error}", path.display())))?;
    }
    let line = serde_json::to_string(&judge(plan, &run)).expect("a result has string keys alone");
    report::print(&format!("{line}\n"));
    Ok(End::Kept)
}

fn judge(plan: &Plan, run: &Run) -> Played {
    let (verdict, causes) = check(run);
    let named = excerpt::lines_named(&verdict);
    let shown: BTreeMap<_, _> = lines(run).filter(|(line, _)| named.contains(line)).collect();
    Played {
        seed: plan.seed,
        scenario: plan.scenario.name.clone(),
        hash: run.hash.clone(),
        simulated_ms: run.simulated_ms,
        faults: run.faults as u64,
        events: run.history.len() as u64,
        coverage: coverage::coverage(&run.header, &run.history).into_iter().collect(),
        drain: run.drain.into(),
        causes,
        excerpts: excerpt::excerpts(&verdict, &shown),
        verdict,
    }
}

/// Puts the run's history to all clauses.
pub(super) fn check(run: &Run) -> (Verdict, Causes) {
    let mut checker = Checker::new(&run.header);
    for (line, event) in lines(run) {
        checker.see(line, event);
    }
    let causes = checker.causes().unwrap_or_default();
    (checker.finish(), causes)
}

fn lines(run: &Run) -> impl Iterator<Item = (u64, &Event)> {
    (FIRST_LINE..).zip(&run.history)
}

/// Writes a history to a file.
pub(super) fn write(path: &Path, header: &Header, history: &[Event]) -> std::io::Result<()> {
    let mut writer = Writer::new(BufWriter::new(File::create(path)?), header)?;
    for event in history {
        writer.write(event)?;
    }
    writer.finish()?.flush()
}

//! The child's side: runs one seed in this process, judges its history and prints one line. Nothing else may run in
//! this process before or beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use kew_sim::{Options, Run};
use kew_spec::check::Checker;
use kew_spec::history::{Event, Header, Writer};
use kew_spec::scenario::Scenario;
use kew_spec::verdict::Verdict;

use super::Arguments;
use super::play::Played;
use crate::outcome::{End, Failure};
use crate::report::{self, excerpt};

/// The header is the history's line 1.
pub(super) const FIRST_LINE: u64 = 2;

/// Runs the seed. Ends well however the clauses stand: the parent reads that from the line.
pub(super) fn run(arguments: &Arguments, seed: u64, scenario: Option<Scenario>) -> Result<End, Failure> {
    let options = Options { seed, scenario, planted: arguments.planted.clone() };
    let run = kew_sim::run(&options).map_err(Failure::harness)?;
    if let Some(path) = &arguments.history {
        write(path, &run.header, &run.history)
            .map_err(|error| Failure::input(format!("write history {}: {error}", path.display())))?;
    }
    let line = serde_json::to_string(&judge(seed, &run)).expect("a result has string keys alone");
    report::print(&format!("{line}\n"));
    Ok(End::Kept)
}

fn judge(seed: u64, run: &Run) -> Played {
    let verdict = check(run);
    let named = excerpt::lines_named(&verdict);
    let shown: BTreeMap<_, _> = lines(run).filter(|(line, _)| named.contains(line)).collect();
    Played {
        seed,
        scenario: run.scenario.name.clone(),
        hash: run.hash.clone(),
        simulated_ms: run.simulated_ms,
        faults: run.faults as u64,
        events: run.history.len() as u64,
        excerpts: excerpt::excerpts(&verdict, &shown),
        verdict,
    }
}

fn check(run: &Run) -> Verdict {
    let mut checker = Checker::new(&run.header);
    for (line, event) in lines(run) {
        checker.see(line, event);
    }
    checker.finish()
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

//! `kew verify --self-check`: whether the harness can be believed. It verifies a queue in memory that is honest, and one
//! for each lie that it knows, and shows which clause named it.

use std::fmt::Write;

use kew_verify::honesty::{self, Honesty, Told};
use kew_verify::memory::Lie;
use kew_verify::result::Cell;

use crate::outcome::{End, Failure};
use crate::report::{self, progress};

/// Runs the command.
pub(super) fn run() -> Result<End, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::harness(format!("start: {error}")))?;
    let bar = progress::plays(Lie::ALL.len() as u64);
    let honesty = runtime.block_on(honesty::check(&|_| bar.inc(1)));
    bar.finish_and_clear();
    runtime.shutdown_background(); // Handlers that hang are still there.
    let honesty = honesty.map_err(|error| Failure::harness(format!("verify the queue in memory: {error}")))?;
    report::print(&page(&honesty));
    if honesty.is_fine() {
        Ok(End::Kept)
    } else {
        Err(Failure::harness("judge a queue that is known: what it says of others is in doubt"))
    }
}

fn page(honesty: &Honesty) -> String {
    let mut text = String::new();
    let caught = honesty.lies.iter().filter(|told| told.is_caught()).count();
    let kept = honesty.honest.count(Cell::Kept);
    let _ = writeln!(text, "An honest queue in memory: {kept} clauses kept, none to be broken.\n");
    for (clause, cell) in honesty.doubtful() {
        let what = if cell == Cell::Broken { "ACCUSED of breaking it" } else { "not put to the test" };
        let _ = writeln!(text, "  {clause}  {what}");
    }
    let width = honesty.lies.iter().map(|told| told.lie.name().len()).max().unwrap_or(0);
    let clauses = honesty.lies.iter().map(|told| named(told).len()).max().unwrap_or(0);
    for told in &honesty.lies {
        let _ = writeln!(text, "  {:width$}  {:clauses$}  {}", told.lie.name(), named(told), told.lie.says());
    }
    let _ = writeln!(text, "\n{caught} of {} lies were named.", honesty.lies.len());
    text
}

fn named(told: &Told) -> String {
    if told.is_caught() { told.named.join(", ") } else { format!("MISSED ({})", told.lie.breaks().join(" or ")) }
}

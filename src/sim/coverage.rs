//! Proof of reach: what the seeds reached together, each cell with how often and in which seed first, and what they never
//! reached. What counts as a cell is `kew-spec`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use kew_spec::coverage::{self, Place, Reached, STATES};
use serde::Serialize;

use crate::outcome::Failure;
use crate::report::terminal::{counted, grouped};

/// A sweep of so many seeds must reach every declared cell.
const SEEDS_MIN: u64 = 10_000;

/// Columns of the table, and what stands before them.
const WIDTH: usize = 15;
const PLACE_WIDTH: usize = 30;

/// What the runs reached: per cell how often, and the first seed that did.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    reached: BTreeMap<String, (u64, u64)>,
}

/// A cell as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    cell: String,
    /// Whether a large sweep must reach it.
    declared: bool,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seed: Option<u64>,
}

impl Coverage {
    /// Adds what a seed reached. Seeds come in order.
    pub(super) fn add(&mut self, seed: u64, reached: &Reached) {
        for (cell, count) in reached {
            self.reached.entry(cell.clone()).or_insert((0, seed)).0 += count;
        }
    }

    /// Every declared cell in its order, reached or not, then what else was reached.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        let declared = coverage::declared();
        let known: BTreeSet<&String> = declared.iter().collect();
        let beyond: Vec<_> = self.reached.keys().filter(|cell| !known.contains(cell)).cloned().collect();
        let count = |cell: String| {
            let count = self.reached.get(&cell).map_or(0, |(count, _)| *count);
            (cell, count)
        };
        declared.into_iter().chain(beyond).map(count).collect()
    }

    /// The same with the first seed of each.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let declared: BTreeSet<_> = coverage::declared().into_iter().collect();
        let cell = |(cell, count)| Cell {
            declared: declared.contains(&cell),
            first_seed: self.reached.get(&cell).map(|(_, seed)| *seed),
            cell,
            count,
        };
        self.counts().into_iter().map(cell).collect()
    }

    /// The declared cells that no seed reached.
    pub(super) fn missing(&self) -> Vec<String> {
        coverage::declared().into_iter().filter(|cell| !self.reached.contains_key(cell)).collect()
    }

    /// An error if so many seeds should have reached every declared cell, and did not.
    pub(super) fn demand(&self, seeds: u64) -> Result<(), Failure> {
        let missing = self.missing();
        if missing.is_empty() || seeds < SEEDS_MIN {
            return Ok(());
        }
        let (seeds, cells) = (counted(seeds, "seed"), counted(missing.len() as u64, "declared cell"));
        let listed = missing.join("\n  ");
        Err(Failure::harness(format!("reach everything that is declared: {seeds} never reached {cells}\n  {listed}")))
    }

    /// All of it as a page.
    pub(super) fn page(&self, seeds: u64) -> String {
        let mut page = self.faults();
        page.push_str("\n  sometimes\n");
        for cell in coverage::moments() {
            let moment = cell.split_once('/').map_or(cell.as_str(), |(_, moment)| moment);
            let _ = writeln!(page, "  {:>WIDTH$}  {moment}", self.told(&cell));
        }
        page.push_str(&self.beyond());
        page + &self.never(seeds)
    }

    /// One row per place, one column per state.
    fn faults(&self) -> String {
        let heads: String = STATES.iter().map(|state| format!("{state:>WIDTH$}")).collect();
        let mut table = format!("\n  {:PLACE_WIDTH$}{heads}\n", "faults (count @ first seed)");
        for place in coverage::places() {
            let cell = |state: &&str| format!("{:>WIDTH$}", self.cell(&place, state));
            let cells: String = STATES.iter().map(cell).collect();
            let place = format!("{:12}{}", place.family, place.role);
            let _ = writeln!(table, "  {place:PLACE_WIDTH$}{}", cells.trim_end());
        }
        table
    }

    /// Blank where the state makes no difference to the place.
    fn cell(&self, place: &Place, state: &str) -> String {
        if place.states.contains(&state) { self.told(&place.cell(state)) } else { String::new() }
    }

    fn told(&self, cell: &str) -> String {
        self.reached.get(cell).map_or("never".into(), |(count, seed)| format!("{} @ {seed}", grouped(*count)))
    }

    /// What was reached beside what is declared: other kinds of faults, and other states and places of these.
    fn beyond(&self) -> String {
        let declared: BTreeSet<_> = coverage::declared().into_iter().collect();
        let beyond: Vec<_> = self.reached.keys().filter(|cell| !declared.contains(*cell)).collect();
        let mut text = if beyond.is_empty() { String::new() } else { "\n  beside what is declared\n".to_owned() };
        for cell in beyond {
            let _ = writeln!(text, "  {:>WIDTH$}  {cell}", self.told(cell));
        }
        text
    }

    fn never(&self, seeds: u64) -> String {
        let (missing, of) = (self.missing(), coverage::declared().len());
        if missing.is_empty() {
            return format!("\n  all {of} declared cells reached\n");
        }
        let left = of - missing.len();
        let seeds = counted(seeds, "seed");
        format!("\n  {left} of {of} declared cells reached; never in {seeds}:\n    {}\n", missing.join("\n    "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(cells: &[&str]) -> Reached {
        cells.iter().map(|&cell| (cell.to_owned(), 2)).collect()
    }

    #[test]
    fn counts_add_up_and_the_first_seed_stays() {
        let mut coverage = Coverage::default();
        let cell = coverage::declared().swap_remove(0);
        coverage.add(3, &reached(&[&cell]));
        coverage.add(4, &reached(&[&cell, "fault/flood × waiting × broker"]));
        let cells = coverage.cells();
        assert_eq!((cells[0].count, cells[0].first_seed, cells[0].declared), (4, Some(3), true));
        let last = cells.last().expect("there are cells");
        assert_eq!((last.cell.as_str(), last.declared), ("fault/flood × waiting × broker", false));
    }

    #[test]
    fn only_a_large_sweep_must_have_reached_everything() {
        let mut coverage = Coverage::default();
        assert!(coverage.demand(SEEDS_MIN - 1).is_ok());
        assert!(coverage.demand(SEEDS_MIN).is_err());
        let declared = coverage::declared();
        coverage.add(0, &declared.into_iter().map(|cell| (cell, 1)).collect());
        assert!(coverage.demand(SEEDS_MIN).is_ok());
        assert!(coverage.page(SEEDS_MIN).contains("declared cells reached"));
    }
}

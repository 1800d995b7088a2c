//! What many runs came to together. For each broken clause it keeps the shortest excerpt and the seed it came from.

use std::collections::BTreeMap;

use kew_spec::causes::Causes;
use kew_spec::verdict::Verdict;
use serde::Serialize;

use super::coverage::Coverage;
use super::play::{Drained, Played};
use crate::report::excerpt::Excerpt;
use crate::report::terminal::{counted, grouped};

/// The sum over runs.
#[derive(Debug)]
pub(super) struct Total {
    /// Counts add up; findings are left out, since lines of different histories mean nothing together.
    pub(super) verdict: Verdict,
    /// What the runs reached.
    pub(super) coverage: Coverage,
    /// How often jobs were delivered again, by cause.
    pub(super) causes: Causes,
    /// One entry per run, in the order of the seeds.
    pub(super) runs: Vec<Summary>,
    /// Per broken clause what shows it best, and in which seed.
    pub(super) shown: BTreeMap<String, (u64, Excerpt)>,
}

/// What is kept of one run.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) seed: u64,
    scenario: String,
    pub(super) hash: String,
    simulated_ms: u64,
    faults: u64,
    events: u64,
    pub(super) drain: Drained,
    broken: Vec<String>,
}

impl Total {
    /// No run yet.
    pub(super) fn none() -> Self {
        Self {
            verdict: Verdict::none(),
            coverage: Coverage::default(),
            causes: Causes::default(),
            runs: Vec::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Adds a run.
    pub(super) fn add(&mut self, mut played: Played) {
        played.verdict.clauses.iter_mut().for_each(|entry| entry.findings.clear());
        self.verdict.add(&played.verdict);
        self.coverage.add(played.seed, &played.coverage);
        self.causes.add(&played.causes);
        let broken = played.verdict.broken().map(|entry| entry.clause.clone()).collect();
        for (clause, excerpt) in played.excerpts {
            let is_shorter = |(_, shown): &(u64, Excerpt)| excerpt.lines.len() < shown.lines.len();
            if self.shown.get(&clause).is_none_or(is_shorter) {
                self.shown.insert(clause, (played.seed, excerpt));
            }
        }
        self.runs.push(Summary {
            seed: played.seed,
            scenario: played.scenario,
            hash: played.hash,
            simulated_ms: played.simulated_ms,
            faults: played.faults,
            events: played.events,
            drain: played.drain,
            broken,
        });
    }

    /// How long the worlds lasted together.
    pub(super) fn simulated_ms(&self) -> u64 {
        self.runs.iter().map(|run| run.simulated_ms).sum()
    }

    /// How long it took, how long the worlds lasted, and how much happened in them.
    pub(super) fn pace(&self, took_ms: u64) -> String {
        let simulated_ms = self.simulated_ms();
        let faults = self.runs.iter().map(|run| run.faults).sum();
        let events = self.runs.iter().map(|run| run.events).sum();
        format!(
            "  {} s · {} simulated · {} × real time · {} · {}\n",
            took_ms.div_ceil(1_000),
            duration(simulated_ms),
            grouped(simulated_ms / took_ms.max(1)),
            counted(faults, "fault"),
            counted(events, "event"),
        )
    }
}

impl Total {
    /// How a run drained, or of several the one that came closest to its bound.
    pub(super) fn drained(&self) -> String {
        match self.runs.as_slice() {
            [run] => format!("  {}\n", run.drain.told()),
            runs => {
                let Some(closest) = runs.iter().max_by_key(|run| run.drain.percent()) else { return String::new() };
                let Summary { drain, seed, .. } = closest;
                format!("  drained within {} % of the bound at most (seed {seed})\n", drain.percent())
            }
        }
    }
}

/// In the largest unit that leaves a number of at least 10: `1,412 hours`.
fn duration(ms: u64) -> String {
    match (ms / 3_600_000, ms / 60_000) {
        (hours @ 10.., _) => counted(hours, "hour"),
        (_, minutes @ 10..) => counted(minutes, "minute"),
        _ => counted(ms / 1_000, "second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_a_unit_of_fitting_size() {
        let told = [59_000, 601_000, 35_999_999, 36_000_000].map(duration);
        assert_eq!(told, ["59 seconds", "10 minutes", "599 minutes", "10 hours"]);
    }
}

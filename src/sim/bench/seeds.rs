//! How fast seeds are tried: each in two processes of its own, as many side by side as there are cores, and the two must
//! come to the same hash.

use std::ops::{ControlFlow, Range};

use serde::Serialize;

use super::{elapsed_us, median, percentile};
use crate::outcome::Failure;
use crate::sim::play::{Played, play};
use crate::sim::replay::Replay;
use crate::sim::seeds::{now, replay};
use crate::sim::{Arguments, pool, twice};

/// All seeds, once through.
#[derive(Default)]
pub(super) struct Tried {
    took_us: u64,
    /// What each process took, from its start to its end.
    runs_us: Vec<u64>,
    simulated_ms: u64,
    broken: Vec<String>,
}

/// A seed that was run twice.
struct Twice {
    played: Played,
    runs_us: [u64; 2],
}

/// Tries `seeds`.
pub(super) fn once(arguments: &Arguments, seeds: Range<u64>) -> Result<Tried, Failure> {
    let began = now();
    let mut tried = Tried::default();
    let mut ended = Ok(());
    let work = |seed| timed_twice(&replay(arguments, seed));
    pool::in_order(seeds, arguments.jobs(), work, |twice| match twice {
        Ok(twice) => {
            tried.add(&twice);
            ControlFlow::Continue(())
        }
        Err(failure) => {
            ended = Err(failure);
            ControlFlow::Break(())
        }
    });
    ended?;
    tried.took_us = elapsed_us(began);
    Ok(tried)
}

fn timed_twice(replay: &Replay<'_>) -> Result<Twice, Failure> {
    let (played, first_us) = timed(replay)?;
    let (again, again_us) = timed(replay)?;
    let played = twice::compare(replay, played, &again)?;
    Ok(Twice { played, runs_us: [first_us, again_us] })
}

fn timed(replay: &Replay<'_>) -> Result<(Played, u64), Failure> {
    let began = now();
    let played = play(replay, None)?;
    Ok((played, elapsed_us(began)))
}

impl Tried {
    fn add(&mut self, Twice { played, runs_us }: &Twice) {
        self.runs_us.extend(runs_us);
        self.simulated_ms += played.simulated_ms;
        let broken = played.verdict.broken().map(|entry| format!("{} in seed {}", entry.clause, played.seed));
        self.broken.extend(broken);
    }
}

/// What the rounds of seeds come to.
#[derive(Serialize)]
pub(super) struct SeedSpeed {
    /// How many seeds each round tried, each twice.
    pub(super) seeds: u64,
    /// At this pace so many are tried in an hour, each twice.
    pub(super) an_hour: u64,
    /// What one run took, with its process and its verdict.
    pub(super) run_median_us: u64,
    /// Nine of ten took no longer.
    pub(super) run_p90_us: u64,
    /// How much the seeds simulate, each once.
    pub(super) simulated_ms: u64,
    /// What each round took.
    pub(super) rounds_us: Vec<u64>,
    /// What was broken, where.
    pub(super) broken: Vec<String>,
}

impl SeedSpeed {
    /// Adds up what was tried: `seeds` in each round.
    pub(super) fn new(seeds: u64, mut rounds: Vec<Tried>) -> Self {
        let took_us = median(rounds.iter().map(|round| round.took_us));
        let runs = || rounds.iter().flat_map(|round| round.runs_us.iter().copied());
        let (run_median_us, run_p90_us) = (median(runs()), percentile(runs(), 90));
        let rounds_us = rounds.iter().map(|round| round.took_us).collect();
        let first = rounds.first_mut().map(std::mem::take).unwrap_or_default();
        Self {
            seeds,
            an_hour: seeds * 3_600_000_000 / took_us.max(1),
            run_median_us,
            run_p90_us,
            simulated_ms: first.simulated_ms,
            rounds_us,
            broken: first.broken,
        }
    }
}

//! `kew sim --bench`: how fast worlds are simulated. Each world is played in a process of its own, which also plays
//! turmoil alone, with as many hosts and the same tick; so both meet the same machine in the same state.
//!
//! [`worlds`] are the two worlds, [`seeds`] is how fast seeds are tried, [`page`] shows. Here is the order: three rounds of
//! all, so that what slows the machine for a while does not fall on one figure alone; the middle one of three counts.

mod page;
mod seeds;
mod worlds;

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::seeds::now;
use crate::outcome::{End, Failure};
use crate::report::json::VERSION;
use crate::report::{self, progress};
use seeds::SeedSpeed;
use worlds::{Measured, World, WorldSpeed};

/// How often all is measured.
const ROUNDS: usize = 3;

/// How many seeds are tried, if not told otherwise: half of them are scenarios of the library.
const SEEDS: u64 = 40;

/// What `kew sim --bench` takes besides.
#[derive(Debug, Args)]
#[command(next_help_heading = "Speed")]
pub(super) struct BenchArguments {
    /// Measure how fast worlds are simulated, beside turmoil alone; and how many seeds an hour are tried [default: 40 seeds]
    #[arg(long, conflicts_with_all = ["seed", "scenario", "report", "twice", "coverage", "planted", "kill_matrix", "scenarios",
        "capsule", "minimize", "sweep_power"])]
    bench: bool,
    /// With --child, measure this world
    #[arg(long, hide = true, value_name = "WORLD", requires = "child")]
    measure: Option<World>,
    /// Play no more than so much of each world: a figure of a short world says little
    #[arg(long, hide = true, value_name = "MS", default_value_t = u64::MAX)]
    length_ms: u64,
}

impl BenchArguments {
    /// Whether anything is to be measured.
    pub(super) fn is_asked(&self) -> bool {
        self.bench || self.measure.is_some()
    }
}

/// What was measured.
#[derive(Serialize)]
struct Speed {
    kew: &'static str,
    /// How many processes ran side by side when seeds were tried; the worlds had the machine for themselves.
    jobs: usize,
    /// The worlds, by their names.
    worlds: Vec<WorldSpeed>,
    seeds: SeedSpeed,
}

/// Runs the command.
pub(super) fn run(arguments: &super::Arguments) -> Result<End, Failure> {
    if let Some(world) = arguments.speed.measure {
        return worlds::child(world, arguments.speed.length_ms);
    }
    let speed = measure(arguments)?;
    if arguments.json {
        report::print_json(&speed);
    } else {
        report::print(&page::page(&speed));
    }
    let kept = speed.broken().next().is_none();
    Ok(if kept { End::Kept } else { End::Broken })
}

impl Speed {
    /// What broke a clause, each once: a fast simulator that plays something else is no use.
    fn broken(&self) -> impl Iterator<Item = &String> {
        self.worlds.iter().flat_map(WorldSpeed::broken).chain(&self.seeds.broken)
    }
}

fn measure(arguments: &super::Arguments) -> Result<Speed, Failure> {
    let range = arguments.range(SEEDS)?;
    let bar = progress::seeds((ROUNDS * (World::ALL.len() + 1)) as u64);
    let mut worlds = World::ALL.map(|world| (world, Vec::<Measured>::new()));
    let mut tries = Vec::new();
    for _ in 0..ROUNDS {
        for (world, rounds) in &mut worlds {
            rounds.push(worlds::in_child(*world, arguments.speed.length_ms)?);
            bar.inc(1);
        }
        tries.push(seeds::once(arguments, range.clone())?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Speed {
        kew: VERSION,
        jobs: arguments.jobs().get(),
        worlds: worlds.into_iter().map(|(world, rounds)| WorldSpeed::new(world, rounds)).collect(),
        seeds: SeedSpeed::new(range.end - range.start, tries),
    })
}

/// The microseconds since `began`.
fn elapsed_us(began: Instant) -> u64 {
    u64::try_from(now().duration_since(began).as_micros()).unwrap_or(u64::MAX).max(1)
}

/// The value that `percent` of `values` do not exceed; 0 of none.
fn percentile(values: impl IntoIterator<Item = u64>, percent: usize) -> u64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The middle one of `values`.
fn median(values: impl IntoIterator<Item = u64>) -> u64 {
    percentile(values, 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        assert_eq!(median([9, 1, 5]), 5);
        assert_eq!(percentile(1..=10, 90), 9);
        assert_eq!(percentile([7], 90), 7);
        assert_eq!(median([]), 0);
    }
}

//! What the simulator's speed is measured on: a world in which nothing happens, a day of ticks and backoffs, and turmoil
//! without any of Kew. It measures nothing itself: whoever runs a world holds the watch.

use std::collections::BTreeMap;
use std::time::Duration;

use kew_spec::scenario::{JobSpec, Scenario};

use crate::hosts::{api, broker, notifier, outside, processor, users};
use crate::shape::Shape;
use crate::{Error, Plan, world};

/// The seed of all: none of them depends on chance for its length.
const SEED: u64 = 0;

/// The queue's own hosts, with nothing to do: no job, no fault. At most `length_ms` of it.
pub fn idle(length_ms: u64) -> Plan {
    plan(include_str!("idle.toml"), 100, length_ms)
}

/// A day of schedule ticks, of retries at their longest backoff, and of leases that are lost. At most `length_ms` of it.
pub fn day(length_ms: u64) -> Plan {
    plan(include_str!("day.toml"), 250, length_ms)
}

/// Plays turmoil alone, as long as `plan`'s play and in its steps: as many hosts, each of which sleeps. How many
/// milliseconds were simulated.
pub fn bare(plan: &Plan) -> Result<u64, Error> {
    crate::sealed(plan, sleep)
}

/// How many hosts `plan`'s world has, the users' included.
pub fn hosts(plan: &Plan) -> usize {
    names(plan).len() + 1
}

fn plan(text: &str, tick_ms: u64, length_ms: u64) -> Plan {
    let mut scenario = Scenario::parse(text).expect("a test plays it");
    scenario.run_ms = scenario.run_ms.map(|run_ms| run_ms.min(length_ms));
    for spec in &mut scenario.job_specs {
        spec.count = count(spec, length_ms);
    }
    let shape = Shape { tick_ms, latency_ms: (1, 2), random_order: false, skews: BTreeMap::new() };
    Plan { seed: SEED, shape, planted: None, scenario }
}

/// How many of the jobs come before `length_ms`; the first one always does.
fn count(spec: &JobSpec, length_ms: u64) -> u32 {
    let most = length_ms.saturating_sub(spec.at_ms) / spec.every_ms.max(1);
    spec.count.min(u32::try_from(most).unwrap_or(u32::MAX).max(1))
}

/// The names of all hosts but the users'.
fn names(plan: &Plan) -> Vec<String> {
    let roles = [broker::HOST, api::HOST, notifier::HOST, outside::HOST].map(str::to_owned);
    roles.into_iter().chain((1..=plan.scenario.processors).map(processor::host)).collect()
}

fn sleep(plan: &Plan) -> Result<u64, Error> {
    let length = Duration::from_millis(plan.scenario.length_ms());
    let mut sim = world::build(plan);
    for host in names(plan) {
        // Twice as long as the users: a host that ends would be polled no more.
        sim.host(host, move || async move {
            tokio::time::sleep(2 * length).await;
            Ok(())
        });
    }
    sim.client(users::HOST, async move {
        tokio::time::sleep(length).await;
        Ok(())
    });
    while !sim.step().map_err(|error| Error::Host { reason: error.to_string() })? {}
    Ok(sim.elapsed().as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES_10: u64 = 10 * 60_000;

    #[test]
    fn the_worlds_are_played_to_their_end() {
        for plan in [idle(MINUTES_10), day(MINUTES_10)] {
            let run = crate::run(&plan).expect("it plays");
            assert!(MINUTES_10 <= run.simulated_ms, "{}", plan.scenario.name);
            assert!(run.drain.took_ms <= run.drain.bound.ms(), "{}", plan.scenario.name);
        }
    }

    #[test]
    fn turmoil_alone_lasts_as_long_as_the_play() {
        let plan = idle(MINUTES_10);
        let lasts_ms = bare(&plan).expect("it plays");
        assert!((MINUTES_10..=MINUTES_10 + 2 * plan.shape.tick_ms).contains(&lasts_ms), "{lasts_ms}");
        assert_eq!(hosts(&plan), 8);
    }

    #[test]
    fn a_day_has_retries_at_their_longest_backoff_and_leases_that_are_lost() {
        let day = day(24 * 3_600_000);
        assert_eq!(day.scenario.length_ms(), 24 * 3_600_000);
        let longest = day.scenario.jobs().iter().map(|job| job.attempts.len()).max();
        assert!(Some(10) < longest, "1 s, doubled nine times, is past the cap of 5 minutes");
        assert!(day.scenario.to_toml().contains("crash"));
    }
}

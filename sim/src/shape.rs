//! What a seed draws besides the scenario: how fine time is, how the network behaves, how far clocks are off.
//!
//! Every part has a stream of its own, and a part that is off draws nothing, so that one choice moves no other.

use std::collections::BTreeMap;
use std::time::Duration;

use kew_spec::scenario::Scenario;
use serde::{Deserialize, Serialize};

use crate::drain::likely_ms;
use crate::hosts::{api, broker, notifier};
use crate::random;

/// Which ticks a play may have that will likely last at most so long: each tick with its chance in a hundred. Fine time
/// costs a step per tick, so most worlds are coarse, some are fine, and few are as fine as time can be told.
const TICKS: [(u64, &[(u64, u64)]); 4] = [
    (15_000, &[(1, 5), (10, 25), (100, 70)]),
    (40_000, &[(10, 15), (100, 85)]),
    (120_000, &[(10, 6), (100, 94)]),
    (240_000, &[(100, 100)]),
];

/// An attempt's effect outside takes four messages. Where a timeout is shorter than so many ticks, no attempt would ever
/// succeed.
const TICKS_OF_TIMEOUT: u64 = 15;

/// The tick of what lasts longer. A request takes four messages, and its answer must come within 5 seconds.
const LONG_TICK_MS: u64 = 250;

/// The farthest that a host's wall clock is off from the start: a day, as after a flat battery.
const SKEW_MAX_MS: u64 = 24 * 3_600_000;

/// The most that a wall clock runs fast or slow by nature, in millionths: twice what a cheap quartz does.
const DRIFT_MAX_PPM: u64 = 200;

/// The world that a scenario is played in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// How far the simulation moves with each step, in milliseconds. Within a step each host's timers are exact;
    /// messages between hosts arrive at the next.
    pub tick_ms: u64,
    /// How long a message takes at least and at most, in milliseconds.
    pub latency_ms: (u64, u64),
    /// Whether the hosts run in another order in each step.
    pub random_order: bool,
    /// By host, how far its wall clock is off and how it drifts. Hosts that are not named have a true clock.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skews: BTreeMap<String, Skew>,
}

/// How a host's wall clock is off from the start to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skew {
    /// By so many milliseconds.
    pub by_ms: i64,
    /// And fast by so many millionths; negative is slow.
    pub ppm: i64,
}

impl Shape {
    /// The shape of a seed's world, fit for a play as long as `scenario`'s.
    pub fn draw(seed: u64, scenario: &Scenario) -> Self {
        let tick_ms = tick_ms(seed, scenario);
        Self {
            tick_ms,
            latency_ms: latency_ms(seed, tick_ms),
            random_order: random::stream(seed, "order").random().is_multiple_of(2),
            skews: skews(seed),
        }
    }

    /// One step.
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }

    /// How late anything may be that takes a few messages: a settle and its answer, a pull and its answer, each held up
    /// by ticks on the way; doubled, since one message may wait for a connection to be opened first.
    pub fn late_ms(&self) -> u64 {
        8 * (self.latency_ms.1 + 2 * self.tick_ms)
    }
}

/// Clauses whose bounds are shorter than what coarse ticks may add: a scenario that is about one of them is told finely.
const FINE_CLAUSES: &[&str] = &["rate/used"];

/// The tick of such a scenario.
const FINE_TICK_MS: u64 = 10;

/// The tick of a play of `scenario`.
fn tick_ms(seed: u64, scenario: &Scenario) -> u64 {
    if scenario.exercises.iter().any(|clause| FINE_CLAUSES.contains(&clause.as_str())) {
        return FINE_TICK_MS;
    }
    let shortest_ms = scenario.policies().iter().map(|(_, policy)| policy.timeout_ms).min().unwrap_or(u64::MAX);
    drawn_tick_ms(seed, likely_ms(scenario)).min(shortest_ms / TICKS_OF_TIMEOUT).max(1)
}

/// The tick of a play that will likely last `likely_ms`.
fn drawn_tick_ms(seed: u64, likely_ms: u64) -> u64 {
    let Some((_, ticks)) = TICKS.iter().find(|(most, _)| likely_ms <= *most) else { return LONG_TICK_MS };
    let mut drawn = random::stream(seed, "tick").random() % 100;
    for (tick_ms, chance) in *ticks {
        match drawn.checked_sub(*chance) {
            Some(rest) => drawn = rest,
            None => return *tick_ms,
        }
    }
    unreachable!("the chances add up to a hundred")
}

/// A network is near, far, or uneven.
fn latency_ms(seed: u64, tick_ms: u64) -> (u64, u64) {
    let mut draw = random::stream(seed, "latency");
    let least = 1 + draw.random() % 5;
    let spread = match draw.random() % 3 {
        0 => 1,
        1 => 1 + draw.random() % 25,
        _ => tick_ms.max(10) * (1 + draw.random() % 2),
    };
    (least, least + spread)
}

/// In every third world clocks are off.
fn skews(seed: u64) -> BTreeMap<String, Skew> {
    let mut draw = random::stream(seed, "skew");
    if !draw.random().is_multiple_of(3) {
        return BTreeMap::new();
    }
    let mut between = |most: u64| (draw.random() % (2 * most + 1)) as i64 - most as i64;
    let hosts = [api::HOST, broker::HOST, notifier::HOST];
    hosts.map(|host| (host.to_owned(), Skew { by_ms: between(SKEW_MAX_MS), ppm: between(DRIFT_MAX_PPM) })).into()
}

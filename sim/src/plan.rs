//! Everything that decides a run, as data: what is played, in which world, with which bug. A plan can be written down,
//! changed and played again; a seed is only a way to draw one.

use kew_spec::scenario::{self, Scenario, generate};
use serde::{Deserialize, Serialize};

use crate::shape::Shape;

/// What decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The seed of what is not stated here: ids, jitters, the latency of each message, what a power cut leaves of each
    /// sector.
    pub seed: u64,
    /// The world.
    pub shape: Shape,
    /// The bug that is planted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// The jobs, operations, outcomes and faults.
    pub scenario: Scenario,
}

impl Plan {
    /// What `seed` plays: in turn one scenario of the library and a random one, or the one given.
    pub fn draw(seed: u64, scenario: Option<Scenario>, planted: Option<String>) -> Self {
        let scenario = scenario.unwrap_or_else(|| scenario_of(seed));
        Self { seed, shape: Shape::draw(seed, &scenario), planted, scenario }
    }
}

fn scenario_of(seed: u64) -> Scenario {
    if seed.is_multiple_of(2) {
        return scenario::nth((seed / 2) as usize % scenario::COUNT);
    }
    generate::sample(seed)
}

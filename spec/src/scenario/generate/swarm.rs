//! The random scenario of a seed. First it is drawn what there is at all (which families of faults and how wild each is, how
//! much work, what temper the handlers have, how near their edges the policies are), then each part by itself.
//!
//! Every part has a stream of its own, and a part that is off draws nothing: switching one on or off leaves all others as
//! they were.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::assemble;
use super::draw::{self, Drawn, Fault, JOB_TABLES_MAX, Switches};
use super::family::{FAMILIES, Family};
use super::policy::{self, Kind};
use crate::scenario::{Act, Scenario};

/// The most faults of one family.
const WILDNESS_MAX: usize = 5;

/// What handlers do, from tame to hopeless.
const TEMPERS: [&[Act]; 5] = [
    &[Act::Succeed],
    &[Act::Succeed, Act::Succeed, Act::Succeed, Act::Fail, Act::Fail, Act::Crash, Act::Hang],
    &[Act::Succeed, Act::Fail, Act::Fail, Act::Fail],
    &[Act::Succeed, Act::Crash, Act::Crash],
    &[Act::Succeed, Act::Hang, Act::Fail, Act::Hang],
];

/// What there is at all.
#[derive(Clone, Debug)]
struct Swarm {
    five: bool,
    edgy: bool,
    temper: usize,
    tables_max: usize,
    /// How many faults of each family there may be at most; 0 switches it off.
    wildness: Vec<usize>,
}

fn swarm() -> impl Strategy<Value = Swarm> {
    let wildness = proptest::collection::vec(prop_oneof![2 => Just(0), 1 => 1..=WILDNESS_MAX], FAMILIES.len());
    let tables_max = prop_oneof![1 => Just(3), 1 => Just(JOB_TABLES_MAX)];
    (any::<bool>(), prop::bool::weighted(0.3), 0..TEMPERS.len(), tables_max, wildness)
        .prop_map(|(five, edgy, temper, tables_max, wildness)| Swarm { five, edgy, temper, tables_max, wildness })
}

/// The scenario of a seed, the same for ever with this version: `random-<seed>`.
pub fn sample(seed: u64) -> Scenario {
    let swarm = one(seed, "swarm", swarm());
    let (processors, slots, length_ms) = one(seed, "shape", draw::shape());
    let drawn = Drawn {
        five: swarm.five,
        queues: match swarm.edgy {
            true => one(seed, "edges", policy::smallest(Kind::ALL)),
            false => one(seed, "policies", policy::small(Kind::ALL)),
        },
        processors,
        slots,
        length_ms,
        switches: Switches { hangs: true, crashes: true },
        jobs: one(seed, "jobs", draw::jobs(TEMPERS[swarm.temper], swarm.tables_max)),
        ops: one(seed, "operations", draw::ops()),
        faults: faults(seed, &swarm),
    };
    let scenario = assemble::scenario(&format!("random-{seed}"), &drawn);
    Scenario { about: format!("The random scenario of seed {seed}."), ..scenario }
}

fn faults(seed: u64, swarm: &Swarm) -> Vec<Fault> {
    let on = FAMILIES.iter().zip(&swarm.wildness).filter(|(_, wildness)| 0 < **wildness);
    on.flat_map(|(family, wildness)| of_family(seed, *family, *wildness)).collect()
}

fn of_family(seed: u64, family: Family, count_max: usize) -> Vec<Fault> {
    one(seed, family.name(), draw::faults(family, count_max))
}

/// One value, from the stream of `part` in `seed`.
fn one<T>(seed: u64, part: &str, strategy: impl Strategy<Value = T>) -> T {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    for (byte, letter) in bytes[8..].iter_mut().zip(part.bytes()) {
        *byte = letter;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, ..Config::default() };
    let tree = strategy.new_tree(&mut TestRunner::new_with_rng(config, rng));
    tree.expect("nothing that is drawn is ever rejected").current()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_is_switched_on_or_off_leaves_the_others_as_they_were() {
        let told = |faults: Vec<Fault>| faults.iter().map(|fault| format!("{fault:?}")).collect::<Vec<_>>();
        for seed in 0..50 {
            let mut swarm = one(seed, "swarm", swarm());
            swarm.wildness.fill(2);
            let all = told(faults(seed, &swarm));
            for (n, family) in FAMILIES.iter().enumerate() {
                let mut without = swarm.clone();
                without.wildness[n] = 0;
                let own = told(of_family(seed, *family, 2));
                let rest: Vec<_> = all.iter().filter(|fault| !own.contains(fault)).cloned().collect();
                assert_eq!(told(faults(seed, &without)), rest, "{family:?} of seed {seed}");
            }
        }
    }
}

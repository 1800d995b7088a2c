//! What a sweep plays: a scenario of 200 jobs over five queues of the architecture's kinds, with times short enough that
//! a run is over within half a simulated minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use kew_spec::queues::Queues;
use kew_spec::scenario::{OpSpec, PlannedJob, Scenario};

use super::LATE_MS;
use crate::drain::Limits;
use crate::script::Script;

const SCENARIO: &str = include_str!("workload.toml");

/// The scenario and what follows from it.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) scenario: Scenario,
    pub(super) queues: Arc<Queues>,
    pub(super) script: Script,
    pub(super) users: Vec<String>,
    /// What each user does in turn, the operator last.
    pub(super) plans: Vec<Vec<Step>>,
    /// How long draining may take.
    pub(super) bound_ms: u64,
}

/// One thing that somebody does.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Its number over all plans.
    pub(super) id: usize,
    pub(super) at_ms: u64,
    pub(super) act: Act,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Enqueue(PlannedJob),
    Operate(OpSpec),
}

impl Workload {
    pub(super) fn new() -> Self {
        let scenario = Scenario::parse(SCENARIO).expect("the workload is a valid scenario");
        let jobs = scenario.jobs();
        let users = scenario.users();
        let mut plans: Vec<Vec<Step>> = users.iter().map(|_| Vec::new()).chain([Vec::new()]).collect();
        let steps = jobs.iter().cloned().map(|job| (job.at_ms, Some(job.user.clone()), Act::Enqueue(job)));
        let ops = scenario.ops.iter().cloned().map(|op| (op.at_ms, op.user.clone(), Act::Operate(op)));
        for (id, (at_ms, who, act)) in steps.chain(ops).enumerate() {
            let place = who.and_then(|who| users.iter().position(|user| *user == who)).unwrap_or(users.len());
            plans[place].push(Step { id, at_ms, act });
        }
        plans.iter_mut().for_each(|plan| plan.sort_by_key(|step| step.at_ms));
        let outstanding: Vec<_> = jobs.iter().map(|job| (job, 1)).collect();
        let bound_ms = Limits::new(&scenario, LATE_MS).bound(&outstanding).ms();
        let script: BTreeMap<_, _> = jobs.into_iter().map(|job| (job.label.clone(), job)).collect();
        Self { queues: Arc::new(scenario.policies()), script: Arc::new(script), users, plans, bound_ms, scenario }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_two_hundred_jobs_on_all_five_queues() {
        let workload = Workload::new();
        assert_eq!(workload.script.len(), 200);
        for (queue, _) in Queues::default().iter() {
            let jobs = workload.script.values().filter(|job| job.queue == queue).count();
            assert!(20 <= jobs, "{jobs} of {queue}");
        }
    }
}

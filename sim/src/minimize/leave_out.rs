//! Leaving out: families of faults as a whole, then faults, jobs and operations by halves, quarters and so on down to one,
//! then hosts and what comes after the end.

use std::collections::BTreeSet;
use std::ops::Range;

use kew_spec::scenario::Scenario;

use super::Shrinking;
use crate::Plan;

/// What a scenario has several of.
#[derive(Clone, Copy)]
enum List {
    Faults,
    Jobs,
    Ops,
}

const LISTS: [List; 3] = [List::Faults, List::Jobs, List::Ops];

impl List {
    fn len(self, plan: &Plan) -> usize {
        match self {
            Self::Faults => plan.scenario.faults.len(),
            Self::Jobs => plan.scenario.job_specs.len(),
            Self::Ops => plan.scenario.ops.len(),
        }
    }

    fn without(self, plan: &Plan, range: Range<usize>) -> Plan {
        changed(plan, |scenario| match self {
            Self::Faults => drop(scenario.faults.drain(range)),
            Self::Jobs => {
                let gone: BTreeSet<_> = scenario.job_specs.drain(range).map(|spec| spec.label).collect();
                // An operation on a job that is not there would be none.
                scenario.ops.retain(|op| op.job.as_ref().is_none_or(|job| !gone.contains(job)));
            }
            Self::Ops => drop(scenario.ops.drain(range)),
        })
    }
}

/// A plan whose scenario was changed. Its length follows from what it states.
pub(super) fn changed(plan: &Plan, change: impl FnOnce(&mut Scenario)) -> Plan {
    let mut plan = plan.clone();
    change(&mut plan.scenario);
    plan
}

/// Leaves out whatever can be.
pub(super) fn all(shrinking: &mut Shrinking<'_>) {
    families(shrinking);
    LISTS.into_iter().for_each(|list| thin(shrinking, list));
    processors(shrinking);
    tail(shrinking);
}

/// Whether no single fault, job or operation can be left out: all are tried once more.
pub(super) fn nothing_more(shrinking: &mut Shrinking<'_>) -> bool {
    let plan = shrinking.plan.clone();
    let singles = LISTS.iter().flat_map(|list| (0..list.len(&plan)).map(|n| list.without(&plan, n..n + 1)));
    let found = shrinking.first(singles.collect());
    found.is_none() && !shrinking.trial.is_over()
}

fn families(shrinking: &mut Shrinking<'_>) {
    let families: BTreeSet<_> = shrinking.plan.scenario.faults.iter().map(|fault| fault.kind.family()).collect();
    for family in families {
        let without = changed(&shrinking.plan, |it| it.faults.retain(|fault| fault.kind.family() != family));
        shrinking.take_first(vec![without]);
    }
}

/// Leaves out ever smaller pieces of a list (Zeller's ddmin, complements alone).
fn thin(shrinking: &mut Shrinking<'_>, list: List) {
    let mut size = list.len(&shrinking.plan);
    while 0 < size {
        let mut start = 0;
        while start < list.len(&shrinking.plan) {
            let len = list.len(&shrinking.plan);
            let pieces = (start..len).step_by(size).take(shrinking.trial.width());
            let without = |from: usize| list.without(&shrinking.plan, from..(from + size).min(len));
            let without: Vec<_> = pieces.map(without).collect();
            let tried = without.len();
            start += size * shrinking.take_first(without).unwrap_or(tried);
        }
        if shrinking.trial.is_over() {
            return;
        }
        size /= 2;
    }
}

/// Fewer processors, one slot on each.
fn processors(shrinking: &mut Shrinking<'_>) {
    let fewer = 1..shrinking.plan.scenario.processors;
    let fewer = fewer.map(|processors| changed(&shrinking.plan, |it| it.processors = processors)).collect();
    shrinking.take_first(fewer);
    let one_slot = changed(&shrinking.plan, |it| it.slots = 1);
    shrinking.take_first(vec![one_slot]);
}

/// Nothing after the last thing that is stated.
fn tail(shrinking: &mut Shrinking<'_>) {
    let short = changed(&shrinking.plan, |it| it.run_ms = None);
    shrinking.take_first(vec![short]);
}

//! Shrinking on made-up trials: what is left is what the trial needs, and it is called minimal only if it is.

use kew_spec::scenario::FaultKind;

use super::*;

/// Breaks for as long as `needs` holds; stops after so many runs.
struct Needs<F> {
    needs: F,
    runs_max: u64,
    runs: u64,
}

impl<F: Fn(&Plan) -> bool> Trial for Needs<F> {
    fn breaks(&mut self, plans: &[Plan]) -> Vec<bool> {
        self.runs += plans.len() as u64;
        plans.iter().map(&self.needs).collect()
    }

    fn width(&self) -> usize {
        2
    }

    fn is_over(&self) -> bool {
        self.runs_max <= self.runs
    }

    fn last_lap(&mut self) {}
}

/// The first seed from 0 whose plan `fits`.
fn drawn(fits: impl Fn(&Plan) -> bool) -> Plan {
    (0..).map(|seed| Plan::draw(seed, None, None)).find(fits).expect("some seed fits")
}

/// A queue that many scenarios use.
const QUEUE: &str = "email_notification";

fn power_cuts(plan: &Plan) -> usize {
    plan.scenario.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::Power { .. })).count()
}

#[test]
fn what_is_left_is_what_is_needed() {
    let needs = |plan: &Plan| {
        let explicit = plan.scenario.explicit().job_specs;
        2 <= power_cuts(plan) && 3 <= explicit.iter().filter(|job| job.queue == QUEUE).count()
    };
    let plan = drawn(|plan| needs(plan) && 10 < plan.scenario.jobs().len());
    let (least, shrunk) = minimize(plan, &mut Needs { needs, runs_max: u64::MAX, runs: 0 });
    assert_eq!(shrunk.to, Size { faults: 2, jobs: 3, ops: 0 });
    assert!(shrunk.is_minimal);
    assert!(least.scenario.faults.iter().all(|fault| fault.at_ms == 0 && fault.for_ms <= 100), "{least:?}");
    assert!(least.scenario.jobs().iter().all(|job| job.at_ms == 0 && job.attempts.is_empty()), "{least:?}");
}

#[test]
fn what_is_not_tried_to_the_end_is_not_called_minimal() {
    let plan = drawn(|plan| 5 < plan.scenario.faults.len());
    let (_, shrunk) = minimize(plan, &mut Needs { needs: |_: &Plan| true, runs_max: 3, runs: 0 });
    assert!(!shrunk.is_minimal);
}

#[test]
fn shrinking_gives_the_same_whatever_the_width() {
    struct Wide<F>(Needs<F>, usize);
    impl<F: Fn(&Plan) -> bool> Trial for Wide<F> {
        fn breaks(&mut self, plans: &[Plan]) -> Vec<bool> {
            self.0.breaks(plans)
        }
        fn width(&self) -> usize {
            self.1
        }
        fn is_over(&self) -> bool {
            false
        }
        fn last_lap(&mut self) {}
    }
    let plan = drawn(|plan| 3 <= power_cuts(plan));
    let least = |width| {
        let needs = |plan: &Plan| 1 <= power_cuts(plan) && !plan.scenario.job_specs.is_empty();
        minimize(plan.clone(), &mut Wide(Needs { needs, runs_max: u64::MAX, runs: 0 }, width)).0
    };
    assert_eq!(least(1), least(4));
}

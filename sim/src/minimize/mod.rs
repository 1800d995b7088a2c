//! Shrinks a run that breaks a clause: leaves out and simplifies for as long as the same clause breaks at the same kind of
//! event.
//!
//! First what is left out makes the run much smaller (whole families of faults, then faults, jobs, operations,
//! processors), then what remains is made weaker and rounder. Nothing here plays a run: a [`Trial`] does.

mod leave_out;
mod simplify;

use kew_spec::scenario::Scenario;

use crate::Plan;
use crate::capsule::{Shrunk, Size};

/// Plays plans and tells whether they still break what is looked for.
pub trait Trial {
    /// For each of `plans`, whether it still breaks. They may be played side by side. A run that comes to nothing does
    /// not break.
    fn breaks(&mut self, plans: &[Plan]) -> Vec<bool>;

    /// How many are played side by side.
    fn width(&self) -> usize;

    /// Whether it is time to stop.
    fn is_over(&self) -> bool;

    /// From now on the time counts that is kept for making sure that nothing more can be left out.
    fn last_lap(&mut self);
}

/// A plan and the way to try others.
struct Shrinking<'a> {
    plan: Plan,
    trial: &'a mut dyn Trial,
    runs: u64,
    changed: bool,
}

/// Shrinks `plan`, which breaks.
pub fn minimize(plan: Plan, trial: &mut dyn Trial) -> (Plan, Shrunk) {
    let plan = Plan { scenario: plan.scenario.explicit(), ..plan };
    let from = Size::of(&plan);
    let mut shrinking = Shrinking { plan, trial, runs: 0, changed: true };
    while shrinking.changed && !shrinking.trial.is_over() {
        shrinking.changed = false;
        leave_out::all(&mut shrinking);
        simplify::all(&mut shrinking);
    }
    shrinking.trial.last_lap();
    let is_minimal = leave_out::nothing_more(&mut shrinking);
    let Shrinking { plan, runs, .. } = shrinking;
    let shrunk = Shrunk { from, to: Size::of(&plan), is_minimal, runs };
    (plan, shrunk)
}

impl Shrinking<'_> {
    /// Takes the first of `plans` that is sound and still breaks, and says which it was; `None` if none does, or time is
    /// up.
    fn take_first(&mut self, plans: Vec<Plan>) -> Option<usize> {
        let (n, plan) = self.first(plans)?;
        self.changed = true;
        self.plan = plan;
        Some(n)
    }

    /// The first of `plans` that is sound, different, and still breaks, with its number.
    fn first(&mut self, plans: Vec<Plan>) -> Option<(usize, Plan)> {
        let differs = |plan: &Plan| *plan != self.plan && is_sound(&plan.scenario);
        let sound: Vec<_> = plans.into_iter().enumerate().filter(|(_, plan)| differs(plan)).collect();
        for some in sound.chunks(self.trial.width().max(1)) {
            if self.trial.is_over() {
                return None;
            }
            let played: Vec<_> = some.iter().map(|(_, plan)| plan.clone()).collect();
            self.runs += played.len() as u64;
            // In the order they were given in, whichever was played faster.
            if let Some(n) = self.trial.breaks(&played).iter().position(|breaks| *breaks) {
                return Some(some[n].clone());
            }
        }
        None
    }
}

/// Whether a scenario is one that could stand in a file: what was left out must not be named any more.
fn is_sound(scenario: &Scenario) -> bool {
    Scenario::parse(&scenario.to_toml()).is_ok()
}

#[cfg(test)]
mod tests;

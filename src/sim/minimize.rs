//! `--minimize`: shrinks a run that breaks a clause, each trial in a process of its own, and keeps what is left as a
//! capsule.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use kew_sim::Plan;
use kew_sim::capsule::{Broken, Capsule, Shrunk};
use kew_sim::minimize::{Trial, minimize};
use serde::Serialize;
use tempfile::TempDir;

use super::play::{Played, play_capsule};
use super::{Arguments, capsule};
use crate::outcome::Failure;
use crate::report::terminal::{self, counted};
use crate::report::{self, progress};

/// How long shrinking may take, and how much of it is kept for making sure that nothing more can be left out.
const TIME_MAX: Duration = Duration::from_secs(60);
const LAST_LAP: Duration = Duration::from_secs(10);

/// What shrinking came to.
#[derive(Debug, Serialize)]
pub(super) struct Minimized {
    /// What is still broken.
    broken: Broken,
    /// How far it was shrunk.
    shrunk: Shrunk,
    /// How long it took.
    took_ms: u64,
    /// Where it is kept.
    capsule: PathBuf,
    /// What it came to.
    #[serde(skip)]
    played: Played,
}

/// Shrinks `plan`, which breaks `broken`, and keeps the result in the file that was asked for, or in one named after it.
pub(super) fn run(arguments: &Arguments, plan: Plan, broken: Broken) -> Result<Minimized, Failure> {
    let started = now();
    let seed = plan.seed;
    let folder = tempfile::tempdir().map_err(|error| Failure::harness(format!("make a folder for trials: {error}")))?;
    let bar = progress::trials(TIME_MAX.as_secs());
    let mut trials = Trials {
        folder,
        jobs: arguments.jobs(),
        broken: broken.clone(),
        started,
        until: TIME_MAX - LAST_LAP,
        bar: bar.clone(),
        wrong: None,
    };
    let (plan, shrunk) = minimize(plan, &mut trials);
    bar.finish_and_clear();
    if let Some(failure) = trials.wrong.take() {
        return Err(failure);
    }
    let file = arguments.capsule.clone().unwrap_or_else(|| file_of(&broken.clause, seed));
    let mut kept = Capsule::new(&plan, capsule::program(), String::new(), Some(broken.clone()));
    kept.shrunk = Some(shrunk.clone());
    capsule::write(&file, &kept)?;
    let played = play_capsule(&file, None)?;
    kept.hash.clone_from(&played.hash);
    capsule::write(&file, &kept)?;
    let took_ms = u64::try_from(now().duration_since(started).as_millis()).unwrap_or(u64::MAX);
    Ok(Minimized { broken, shrunk, took_ms, capsule: file, played })
}

impl Minimized {
    /// Where it is kept.
    pub(super) fn capsule(&self) -> &Path {
        &self.capsule
    }
}

/// The result as people read it.
pub(super) fn page(it: &Minimized) -> String {
    let Minimized { broken, shrunk, capsule, played, .. } = it;
    let Shrunk { from, to, is_minimal, runs } = shrunk;
    let entry = played.verdict.get(&broken.clause).expect("the catalogue has every clause");
    let mut page = format!("\n{}", terminal::broken(entry, played.excerpts.get(&broken.clause)));
    let minimal = if *is_minimal { " · 1-minimal" } else { " · not known to be 1-minimal" };
    page.push_str(&format!(
        "      shrunk from {} to {}, {} to {}, {} to {}{minimal} · {}\n      replay: kew replay {}\n",
        counted(from.faults as u64, "fault"),
        to.faults,
        counted(from.jobs as u64, "job"),
        to.jobs,
        counted(from.ops as u64, "operation"),
        to.ops,
        counted(*runs, "run"),
        capsule.display(),
    ));
    page
}

fn file_of(clause: &str, seed: u64) -> PathBuf {
    PathBuf::from(format!("{}-{seed}.capsule", clause.replace('/', "-")))
}

/// Trials in processes.
struct Trials {
    folder: TempDir,
    jobs: NonZeroUsize,
    broken: Broken,
    started: Instant,
    until: Duration,
    bar: ProgressBar,
    /// What kept trials from being made.
    wrong: Option<Failure>,
}

impl Trials {
    /// Whether the plan still breaks the same clause at the same kind of event.
    fn breaks(&self, n: usize, plan: &Plan) -> Result<bool, Failure> {
        let file = self.folder.path().join(format!("{n}.capsule"));
        capsule::write(&file, &Capsule::new(plan, capsule::program(), String::new(), None))?;
        // A run that comes to nothing (a host that ends, users that wait for ever) is not the one that is looked for.
        Ok(play_capsule(&file, None).is_ok_and(|played| self.is_the_same(&played)))
    }

    fn is_the_same(&self, played: &Played) -> bool {
        capsule::broken(&played.excerpts, Some(&self.broken.clause)).as_ref() == Some(&self.broken)
    }
}

impl Trial for Trials {
    fn breaks(&mut self, plans: &[Plan]) -> Vec<bool> {
        self.bar.set_position(now().duration_since(self.started).as_secs());
        let this = &*self;
        let tried: Vec<_> = thread::scope(|scope| {
            let trials: Vec<_> =
                plans.iter().enumerate().map(|(n, plan)| scope.spawn(move || this.breaks(n, plan))).collect();
            trials.into_iter().map(|trial| trial.join().expect("a trial does not panic")).collect()
        });
        let mut breaks = Vec::with_capacity(tried.len());
        for it in tried {
            match it {
                Ok(it) => breaks.push(it),
                Err(failure) => {
                    self.wrong = Some(failure);
                    breaks.push(false);
                }
            }
        }
        breaks
    }

    fn width(&self) -> usize {
        self.jobs.get()
    }

    fn is_over(&self) -> bool {
        self.wrong.is_some() || self.until <= now().duration_since(self.started)
    }

    fn last_lap(&mut self) {
        self.until = TIME_MAX;
    }
}

/// Writes the run of a seed as it is, unshrunk.
pub(super) fn keep(arguments: &Arguments, file: &Path, plan: &Plan, played: &Played) -> Result<(), Failure> {
    let broken = capsule::broken(&played.excerpts, None);
    capsule::write(file, &Capsule::new(plan, capsule::program(), played.hash.clone(), broken))?;
    if !arguments.json {
        report::print(&format!("kept as {file}: `kew replay {file}` plays it again\n\n", file = file.display()));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "how long shrinking may take; no run can see it")]
fn now() -> Instant {
    Instant::now()
}

//! Simplifying what is left: weaker faults, shorter and rounder times, plainer jobs, a plainer world. Candidates are
//! listed the simplest first.

use kew_spec::scenario::{Behaviour, FaultKind, FaultSpec, JobSpec, Remains};

use super::Shrinking;
use super::leave_out::changed;
use crate::Plan;

/// Makes everything as simple as it can be.
pub(super) fn all(shrinking: &mut Shrinking<'_>) {
    world(shrinking);
    jobs(shrinking);
    for n in 0..shrinking.plan.scenario.faults.len() {
        fault(shrinking, n, |it| weaker(&it.kind).into_iter().map(|kind| FaultSpec { kind, ..it.clone() }).collect());
        fault(shrinking, n, |it| rounder(it.for_ms).map(|for_ms| FaultSpec { for_ms, ..it.clone() }).collect());
        fault(shrinking, n, |it| rounder(it.at_ms).map(|at_ms| FaultSpec { at_ms, ..it.clone() }).collect());
    }
    for n in 0..shrinking.plan.scenario.job_specs.len() {
        job(shrinking, n, |it| vec![plain(it)]);
        job(shrinking, n, plainer);
        job(shrinking, n, |it| attempts(&it.attempts).map(|attempts| JobSpec { attempts, ..it.clone() }).collect());
        job(shrinking, n, |it| rounder(it.at_ms).map(|at_ms| JobSpec { at_ms, ..it.clone() }).collect());
    }
    for n in 0..shrinking.plan.scenario.ops.len() {
        let at_ms = shrinking.plan.scenario.ops[n].at_ms;
        let plan = &shrinking.plan;
        let candidates = rounder(at_ms).map(|at_ms| changed(plan, |it| it.ops[n].at_ms = at_ms)).collect();
        shrinking.take_first(candidates);
    }
}

/// True clocks, hosts in one order, an even network.
fn world(shrinking: &mut Shrinking<'_>) {
    let plan = &shrinking.plan;
    let mut true_clocks = plan.clone();
    true_clocks.shape.skews.clear();
    let one_order = |plan: &Plan| {
        let mut plan = plan.clone();
        plan.shape.random_order = false;
        plan
    };
    let even = |plan: &Plan| {
        let mut plan = plan.clone();
        plan.shape.latency_ms = (1, 2);
        plan
    };
    shrinking.take_first(vec![true_clocks]);
    let candidates = vec![even(&one_order(&shrinking.plan)), one_order(&shrinking.plan), even(&shrinking.plan)];
    shrinking.take_first(candidates);
}

/// All jobs at once: plain, without a script, at one time. Where there are many, one by one would take too long.
fn jobs(shrinking: &mut Shrinking<'_>) {
    let all = |plan: &Plan, change: fn(&JobSpec) -> JobSpec| {
        changed(plan, |it| it.job_specs = it.job_specs.iter().map(change).collect())
    };
    let bare = |job: &JobSpec| JobSpec { attempts: Vec::new(), ..plain(job) };
    let candidates = vec![all(&shrinking.plan, bare), all(&shrinking.plan, plain)];
    shrinking.take_first(candidates);
    let first_ms = shrinking.plan.scenario.job_specs.iter().map(|job| job.at_ms).min().unwrap_or(0);
    let at_once = |at_ms| changed(&shrinking.plan, |it| it.job_specs.iter_mut().for_each(|job| job.at_ms = at_ms));
    let candidates = vec![at_once(0), at_once(first_ms)];
    shrinking.take_first(candidates);
}

fn fault(shrinking: &mut Shrinking<'_>, n: usize, candidates: impl Fn(&FaultSpec) -> Vec<FaultSpec>) {
    let plan = &shrinking.plan;
    let with = |fault| changed(plan, |it| it.faults[n] = fault);
    let candidates = candidates(&plan.scenario.faults[n]).into_iter().map(with).collect();
    shrinking.take_first(candidates);
}

fn job(shrinking: &mut Shrinking<'_>, n: usize, candidates: impl Fn(&JobSpec) -> Vec<JobSpec>) {
    let plan = &shrinking.plan;
    let with = |job| changed(plan, |it| it.job_specs[n] = job);
    let candidates = candidates(&plan.scenario.job_specs[n]).into_iter().map(with).collect();
    shrinking.take_first(candidates);
}

/// What does less harm, the least first.
fn weaker(kind: &FaultKind) -> Vec<FaultKind> {
    match kind.clone() {
        FaultKind::Power { host, remains } => {
            let kill = FaultKind::Kill { host: host.clone() };
            let strict = FaultKind::Power { host: host.clone(), remains: Remains::Nothing };
            let whole = FaultKind::Power { host, remains: Remains::Sectors };
            if remains == Remains::Nothing { vec![kill] } else { vec![kill, strict, whole] }
        }
        FaultKind::Kill { host } => vec![FaultKind::Pause { host }],
        FaultKind::CrashAfterCommit { host } => vec![FaultKind::Kill { host }],
        FaultKind::Partition { between: [one, other] } => vec![
            FaultKind::Hold { between: [one.clone(), other.clone()] },
            FaultKind::PartitionOneway { from: one.clone(), to: other.clone() },
            FaultKind::PartitionOneway { from: other, to: one },
        ],
        FaultKind::Loss { between, percent } => {
            let half = FaultKind::Loss { between: between.clone(), percent: percent / 2 };
            vec![FaultKind::Partition { between }, half]
        }
        FaultKind::DiskErrors { host, permille } if 1 < permille => {
            vec![FaultKind::DiskErrors { host, permille: permille / 2 }]
        }
        _ => Vec::new(),
    }
}

/// Smaller and rounder numbers of milliseconds, the smallest first.
fn rounder(ms: u64) -> impl Iterator<Item = u64> {
    let floor = move |unit: u64| ms / unit * unit;
    let fixed = [0, 100, 1_000, ms / 2, floor(10_000), floor(1_000), floor(100)];
    fixed.into_iter().filter(move |it| *it < ms)
}

/// Everything that a job need not have is gone.
fn plain(job: &JobSpec) -> JobSpec {
    JobSpec {
        idempotency_key: None,
        again_ms: Vec::new(),
        email: false,
        payload_bytes: 0,
        attempts: job.attempts.iter().map(|it| Behaviour { after_ms: 0, effect: false, ..it.clone() }).collect(),
        ..job.clone()
    }
}

/// One thing is gone that a job need not have.
fn plainer(job: &JobSpec) -> Vec<JobSpec> {
    vec![
        JobSpec { idempotency_key: None, again_ms: Vec::new(), ..job.clone() },
        JobSpec { again_ms: Vec::new(), ..job.clone() },
        JobSpec { email: false, ..job.clone() },
        JobSpec { payload_bytes: 0, ..job.clone() },
    ]
}

/// Fewer attempts that do something of their own, or quicker ones.
fn attempts(attempts: &[Behaviour]) -> impl Iterator<Item = Vec<Behaviour>> + '_ {
    let fewer = (0..attempts.len()).map(|count| attempts[..count].to_vec());
    let quicker = (0..attempts.len()).flat_map(move |n| {
        rounder(attempts[n].after_ms).map(move |after_ms| {
            let mut attempts = attempts.to_vec();
            attempts[n].after_ms = after_ms;
            attempts
        })
    });
    fewer.chain(quicker)
}

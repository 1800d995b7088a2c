//! Fits a scenario to a system in real time: leaves out of its policies what the system does not offer, and slows or
//! speeds it up so that its intervals are well above what the system can tell apart.
//!
//! A scenario that leans on something the system does not offer is not played, and the reason is kept.

use kew_spec::queues::{Attempts, Backoff, DURATION_MAX_MS, Policy, Queues};
use kew_spec::scenario::{Act, FaultKind, OpAct, OpSpec, PlannedJob, Scenario};

use crate::bound::{bound_ms, wait_ms};
use crate::protocol::About;
use crate::scenarios;

/// No interval of a policy is shorter than this in real time, whatever the system can tell apart: a busy machine's
/// scheduler alone takes tens of milliseconds at times.
const INTERVAL_MS_MIN: u64 = 300;

/// How many of the system's quanta an interval has at least.
const QUANTA_MIN: u64 = 5;

/// How many of the shortest intervals the window of a rate limit, or from one tick to the next, has at least.
const WINDOW_INTERVALS: u64 = 4;

/// How many of the shortest intervals a handler has beyond what it needs, where the policy's timeout is much longer.
const TIMEOUT_INTERVALS: u64 = 5;

/// The longest that a scenario may play, faults and all, before it drains.
const LENGTH_MS_MAX: u64 = 25_000;

/// The same of a scenario that states real times, and is short but for what takes long by its nature.
const REAL_LENGTH_MS_MAX: u64 = 65_000;

/// Jobs that wait for a tick which comes less often are left out.
const TICK_MS_MAX: u64 = 10_000;

/// The longest that it may then take to drain.
const BOUND_MS_MAX: u64 = 90_000;

/// The same for scenarios that state real times: nothing shorter shows what they show.
const REAL_BOUND_MS_MAX: u64 = 300_000;

/// The most jobs of one scenario: a test of promises, not of throughput.
const JOBS_MAX: usize = 600;

/// Longer than any play: the timeout where a system has none.
const NEVER_MS: u64 = 3_600_000;

/// A handler that ends so close to its timeout could end on either side of it.
const MARGIN_MS: u64 = 400;

/// How long before a redrive the job must surely have died: all that its attempts take on a busy machine comes on top of
/// what they take by the scenario. One that is put back before it is dead shows nothing.
const DEAD_MS_MIN: u64 = 2_500;

/// How long a killed worker is away by default, as in the simulator.
pub(crate) const AWAY_MS: u64 = 1_000;

/// What a target's processes can have done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Workers are processes.
    pub(crate) workers: bool,
    /// Workers reach a server over TCP.
    pub(crate) network: bool,
    /// The server can be killed and started again.
    pub(crate) server: bool,
}

/// A scenario as it is played, with the time that it runs in.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    pub(crate) scenario: Scenario,
    pub(crate) policies: Queues,
    /// It strikes processes, so it needs its own.
    pub(crate) strikes: bool,
}

/// Fits `scenario`, or says why it cannot be played.
pub(crate) fn fit(scenario: &Scenario, about: &About, reach: Reach) -> Result<Fitted, String> {
    let can = &about.capabilities;
    let used: Vec<_> = scenario.job_specs.iter().map(|job| job.queue.as_str()).collect();
    let all = scenario.policies();
    let policies: Queues = all
        .iter()
        .filter(|(name, _)| used.contains(name))
        .map(|(name, policy)| (name.to_owned(), offered(policy, about)))
        .collect();
    needs(scenario, &policies, about)?;
    let offers = |clause: &String| can.offer(clause).is_ok();
    if !scenario.exercises.is_empty() && !scenario.exercises.iter().any(offers) {
        return Err(format!("it is about {}, which is not offered", scenario.exercises.join(", ")));
    }
    if !can.timeout.is_there() && acts(scenario).any(|(_, act)| act == Act::Hang) {
        return Err("a handler hangs, and there is no timeout".into());
    }
    let crashes = acts(scenario).any(|(_, act)| act == Act::Crash);
    if crashes && !(reach.workers && can.crash.is_there()) {
        return Err("a worker dies, and that cannot be done or is not recovered from".into());
    }
    scenario.faults.iter().try_for_each(|fault| strikes(&fault.kind, reach, can.crash.is_there()))?;
    let jobs: usize = scenario.job_specs.iter().map(|job| job.count as usize).sum();
    if JOBS_MAX < jobs {
        return Err(format!("{jobs} jobs are too many for real time"));
    }
    let real = scenarios::are_real(&scenario.name);
    let strikes = crashes || !scenario.faults.is_empty();
    // What a dead worker held dies when that is noticed.
    let noticed_ms = if strikes { can.recovers_ms(&policies) } else { 0 };
    let redriven = dead_for_ms(scenario, &policies) as f64 / (DEAD_MS_MIN + noticed_ms) as f64;
    let scale = scale(scenario, &policies, about.quantum_ms).min(redriven).min(if real { 1.0 } else { f64::MAX });
    let scaled = without_far_ticks(scaled(scenario, scale), &policies, scale)?;
    let used = |name: &str| scaled.job_specs.iter().any(|job| job.queue == name);
    let policies: Queues = policies
        .iter()
        .filter(|(name, _)| used(name))
        .map(|(name, policy)| (name.to_owned(), in_time(policed(policy, scale), &scaled, name, about.quantum_ms)))
        .collect();
    if (if real { REAL_LENGTH_MS_MAX } else { LENGTH_MS_MAX }) < scaled.length_ms() {
        return Err(format!("it would take {} s", scaled.length_ms() / 1_000));
    }
    close_calls(&scaled, &policies)?;
    let fitted = Fitted { scenario: scaled, policies, strikes };
    let bound_ms = bound_ms(&fitted, about);
    if (if real { REAL_BOUND_MS_MAX } else { BOUND_MS_MAX }) < bound_ms {
        return Err(format!("it might take {} s to drain", bound_ms / 1_000));
    }
    Ok(fitted)
}

/// `scenario` without jobs that would wait for a tick for so long.
fn without_far_ticks(mut scenario: Scenario, policies: &Queues, scale: f64) -> Result<Scenario, String> {
    let every_ms = |queue: &str| policies.get(queue)?.schedule.as_ref().map(|schedule| real(schedule.every_ms, scale));
    let far = |queue: &str| every_ms(queue).is_some_and(|ms| TICK_MS_MAX < ms);
    let left_out = scenario.jobs().into_iter().filter(|job| far(&job.queue));
    let labels: Vec<_> = left_out.map(|job| job.label).collect();
    let named =
        |op: &OpSpec| op.queue.as_deref().is_some_and(far) || op.job.as_ref().is_some_and(|job| labels.contains(job));
    scenario.job_specs.retain(|job| !far(&job.queue));
    if scenario.ops.iter().any(named) || scenario.job_specs.is_empty() {
        return Err(format!("its ticks would be more than {} s apart", TICK_MS_MAX / 1_000));
    }
    Ok(scenario)
}

/// `policy` without what the system does not offer.
fn offered(policy: &Policy, about: &About) -> Policy {
    let can = &about.capabilities;
    let keeps = |there: bool| there.then_some(());
    let mut backoff = if can.exponential_backoff.is_there() { policy.backoff.clone() } else { Backoff::None };
    if let Backoff::Exponential(it) = &mut backoff
        && !can.exponential_backoff.has("jitter")
    {
        it.jitter_percent = 0;
    }
    if let Backoff::Exponential(it) = &mut backoff
        && !can.exponential_backoff.has("cap")
    {
        it.max_ms = DURATION_MAX_MS;
    }
    let schedule = keeps(can.schedule.is_there()).and(policy.schedule.clone());
    if schedule.is_none() && backoff == Backoff::NextTick {
        backoff = Backoff::None;
    }
    let mut batch = keeps(can.batch.is_there()).and(policy.batch.clone());
    if schedule.is_none()
        && let Some(batch) = &mut batch
    {
        batch.wait_ms.get_or_insert(1_000); // It waited for the tick.
    }
    Policy {
        priority: policy.priority,
        attempts: match policy.attempts {
            Attempts::Infinite(_) if !can.infinite_attempts.is_there() => Attempts::Limited(5),
            attempts => attempts,
        },
        backoff,
        timeout_ms: if can.timeout.is_there() { policy.timeout_ms } else { NEVER_MS },
        dead_letter_queue: keeps(can.dead_letters.is_there()).and(policy.dead_letter_queue.clone()),
        rate_limit: keeps(can.rate_limit.is_there()).and(policy.rate_limit.clone()),
        batch,
        deduplication: can.deduplication.is_there() && policy.deduplication,
        schedule,
    }
}

/// Whether the system offers what the scenario is made of.
fn needs(scenario: &Scenario, policies: &Queues, about: &About) -> Result<(), String> {
    let can = &about.capabilities;
    let all = scenario.policies();
    for spec in &scenario.job_specs {
        let (asked, has) = all.get(&spec.queue).zip(policies.get(&spec.queue)).ok_or("it names an unknown queue")?;
        let fails = spec.attempts.iter().any(|behaviour| behaviour.act != Act::Succeed);
        if fails && !can.attempts.is_there() {
            return Err("handlers fail, and nothing is tried again".into());
        }
        if asked.deduplication && !has.deduplication && spec.key.is_some() {
            return Err("it is about deduplication".into());
        }
        if asked.schedule.is_some() && has.schedule.is_none() {
            return Err("it is about a schedule".into());
        }
        if spec.idempotency_key.is_some() && !can.idempotency_key.is_there() {
            return Err("it repeats requests with idempotency keys".into());
        }
        if spec.email {
            return Err("it is about mails at a job's end".into());
        }
    }
    for op in &scenario.ops {
        let (what, there) = match op.act {
            OpAct::Cancel => ("cancels", can.cancel.is_there()),
            OpAct::Redrive => ("redrives", can.redrive.is_there()),
            OpAct::Pause | OpAct::Resume => ("pauses a queue", can.pause.is_there()),
            OpAct::Purge => ("purges", false),
            OpAct::Connect | OpAct::Disconnect => ("is about sessions", false),
        };
        if !there {
            return Err(format!("it {what}"));
        }
    }
    Ok(())
}

/// Whether a fault can be done to this target.
fn strikes(kind: &FaultKind, reach: Reach, recovers: bool) -> Result<(), String> {
    let worker = |host: &str| host.starts_with("processor-");
    let there = match kind {
        FaultKind::Kill { host } | FaultKind::Power { host, .. } if worker(host) => reach.workers && recovers,
        // A process that dies keeps what it wrote: less than a power cut, but what can be done to it here.
        FaultKind::Kill { host } | FaultKind::Power { host, .. } if host == "broker" => reach.server,
        FaultKind::Pause { host } if worker(host) => reach.workers && recovers,
        FaultKind::Partition { between } | FaultKind::Hold { between } => {
            reach.network
                && recovers
                && between.iter().any(|host| worker(host))
                && between.iter().any(|h| h == "broker")
        }
        _ => false,
    };
    if there {
        Ok(())
    } else {
        Err(format!("the fault {} on {} is beyond reach", kind.name(), kind.hosts().join(", ")))
    }
}

/// All that handlers do, with how long each takes.
fn acts(scenario: &Scenario) -> impl Iterator<Item = (u64, Act)> + '_ {
    scenario.job_specs.iter().flat_map(|job| job.attempts.iter().map(|behaviour| (behaviour.after_ms, behaviour.act)))
}

/// By how much to speed the scenario up: so that its shortest interval is well above the quantum.
fn scale(scenario: &Scenario, policies: &Queues, quantum_ms: u64) -> f64 {
    let lasts = acts(scenario).any(|(after_ms, act)| act != Act::Succeed || 0 < after_ms);
    let intervals = policies.iter().flat_map(|(_, policy)| {
        let backoff = match &policy.backoff {
            Backoff::Exponential(it) => Some(it.first_ms),
            Backoff::None | Backoff::NextTick => None,
        };
        let timeout = (lasts && policy.timeout_ms != NEVER_MS).then_some(policy.timeout_ms);
        let wait = policy.batch.as_ref().and_then(|batch| batch.wait_ms);
        // Several of these, since a window looks shorter from outside by all that a delivery takes.
        let rate = policy.rate_limit.as_ref().map(|limit| limit.per_ms / WINDOW_INTERVALS);
        let tick = policy.schedule.as_ref().map(|schedule| schedule.every_ms / WINDOW_INTERVALS);
        [backoff, timeout, wait, rate, tick].into_iter().flatten().filter(|ms| 0 < *ms)
    });
    let shortest = intervals.min().unwrap_or(10_000);
    // A timeout must leave room for handlers that end well before it.
    shortest as f64 / INTERVAL_MS_MIN.max(QUANTA_MIN * quantum_ms) as f64
}

/// The shortest time from a job's death to a redrive of it, by the scenario; very long if there is none.
fn dead_for_ms(scenario: &Scenario, policies: &Queues) -> u64 {
    let jobs = scenario.jobs();
    let redrives = scenario.ops.iter().filter(|op| op.act == OpAct::Redrive);
    let dead_for = redrives.filter_map(|op| {
        let job = jobs.iter().find(|job| Some(&job.label) == op.job.as_ref())?;
        let dies_ms = job.at_ms + dies_after_ms(job, policies.get(&job.queue)?);
        // A later redrive of the same job comes after another life of it.
        op.at_ms.checked_sub(dies_ms)
    });
    dead_for.min().unwrap_or(u64::MAX / 2).max(1)
}

/// How long all attempts of `job` take by the scenario, waits and all.
fn dies_after_ms(job: &PlannedJob, policy: &Policy) -> u64 {
    let attempts = 1..=policy.attempts.max().unwrap_or(1);
    let lasts = |attempt: u32| {
        let behaviour = job.behaviour(attempt);
        let hangs = behaviour.act == Act::Hang || policy.timeout_ms < behaviour.after_ms;
        if hangs { policy.timeout_ms } else { behaviour.after_ms }
    };
    attempts.map(|attempt| lasts(attempt) + if 1 < attempt { wait_ms(policy, attempt - 1) } else { 0 }).sum()
}

fn real(ms: u64, scale: f64) -> u64 {
    if ms == NEVER_MS { ms } else { (ms as f64 / scale).ceil() as u64 }
}

fn policed(policy: &Policy, scale: f64) -> Policy {
    let mut policy = policy.clone();
    policy.timeout_ms = real(policy.timeout_ms, scale);
    if let Backoff::Exponential(it) = &mut policy.backoff {
        (it.first_ms, it.max_ms) = (real(it.first_ms, scale), real(it.max_ms, scale));
    }
    if let Some(limit) = &mut policy.rate_limit {
        limit.per_ms = real(limit.per_ms, scale);
    }
    if let Some(batch) = &mut policy.batch {
        batch.wait_ms = batch.wait_ms.map(|ms| real(ms, scale));
    }
    if let Some(schedule) = &mut policy.schedule {
        schedule.every_ms = real(schedule.every_ms, scale);
    }
    policy
}

/// A timeout that is far longer than any handler of the queue needs is cut, so that what is lost comes back in time.
fn in_time(mut policy: Policy, scenario: &Scenario, queue: &str, quantum_ms: u64) -> Policy {
    let of_queue = scenario.job_specs.iter().filter(|job| job.queue == queue).flat_map(|job| &job.attempts);
    let longest = of_queue.filter(|it| it.act != Act::Hang).map(|it| it.after_ms).max().unwrap_or(0);
    let enough = 3 * longest + TIMEOUT_INTERVALS * INTERVAL_MS_MIN.max(QUANTA_MIN * quantum_ms);
    if policy.timeout_ms != NEVER_MS && longest < policy.timeout_ms {
        policy.timeout_ms = policy.timeout_ms.min(enough);
    }
    policy
}

fn scaled(scenario: &Scenario, scale: f64) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.run_ms = scenario.run_ms.map(|ms| real(ms, scale));
    for job in &mut scenario.job_specs {
        (job.at_ms, job.every_ms) = (real(job.at_ms, scale), real(job.every_ms, scale));
        job.again_ms.iter_mut().for_each(|ms| *ms = real(*ms, scale));
        job.attempts.iter_mut().for_each(|behaviour| behaviour.after_ms = real(behaviour.after_ms, scale));
    }
    scenario.ops.iter_mut().for_each(|op| op.at_ms = real(op.at_ms, scale));
    for fault in &mut scenario.faults {
        (fault.at_ms, fault.for_ms) = (real(fault.at_ms, scale), real(fault.for_ms, scale));
    }
    scenario
}

/// Whether a handler ends so close to its timeout that nobody can say which comes first.
fn close_calls(scenario: &Scenario, policies: &Queues) -> Result<(), String> {
    for spec in &scenario.job_specs {
        let Some(policy) = policies.get(&spec.queue) else { continue };
        for behaviour in spec.attempts.iter().filter(|behaviour| behaviour.act != Act::Hang) {
            if behaviour.after_ms.abs_diff(policy.timeout_ms) < MARGIN_MS.min(policy.timeout_ms / 2) {
                return Err("a handler ends too close to its timeout to tell in real time".into());
            }
        }
    }
    Ok(())
}

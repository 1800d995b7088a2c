//! Puts together what was drawn: indices become names, and what is switched off or fits nothing is left out.

use super::JOBS_MAX;
use super::draw::{Attempt, Drawn, Fault, FaultDraw, Jobs, Op, OpKind};
use super::policy::EFFECT_MS;
use crate::queues::Queues;
use crate::scenario::{Act, Behaviour, FaultKind, FaultSpec, JobSpec, OpAct, OpSpec, Scenario};

const USERS: [&str; 3] = ["ada", "bob", "eve"];

/// The longest that a host is down in a rolling restart.
const RESTART_MAX_MS: u64 = 2_000;

/// The queue that mails go through.
const MAILS: &str = "email_notification";

pub(super) fn scenario(name: &str, drawn: &Drawn) -> Scenario {
    let queues = (!drawn.five).then(|| text(drawn));
    let policies = match &queues {
        Some(text) => Queues::parse(text).expect("small queues are drawn within what a file allows"),
        None => Queues::default(),
    };
    let job_specs = jobs(drawn, &policies);
    Scenario {
        name: name.to_owned(),
        about: String::new(),
        exercises: Vec::new(),
        processors: drawn.processors,
        slots: drawn.slots,
        run_ms: Some(drawn.length_ms),
        queues,
        ops: drawn.ops.iter().flat_map(|op| ops(op, drawn, &job_specs, &policies)).collect(),
        faults: drawn.faults.iter().flat_map(|it| faults(it, drawn)).collect(),
        job_specs,
    }
}

fn text(drawn: &Drawn) -> String {
    let mut text = String::new();
    drawn.queues.iter().for_each(|queue| queue.write(&mut text));
    text
}

fn jobs(drawn: &Drawn, policies: &Queues) -> Vec<JobSpec> {
    let mut left = JOBS_MAX;
    let mut specs = Vec::new();
    for (n, it) in drawn.jobs.iter().enumerate() {
        let count = it.count.min(left);
        if count == 0 {
            break;
        }
        left -= count;
        specs.push(job(n, it, count, drawn, policies));
    }
    specs
}

fn job(n: usize, it: &Jobs, count: u32, drawn: &Drawn, policies: &Queues) -> JobSpec {
    let names: Vec<_> = policies.iter().collect();
    let (queue, policy) = names[it.queue.index(names.len())];
    let user = USERS[it.user];
    // Entities are their user's own: of a job that was enqueued by two users, one of them could not read the row.
    let key = if it.spread { format!("{user}-{}-{{n}}", it.key) } else { format!("{user}-{}", it.key) };
    let mut attempts: Vec<_> = it.attempts.iter().map(|attempt| behaviour(attempt, policy.timeout_ms, drawn)).collect();
    // Where jobs are never given up, a script that never succeeds would never end.
    if policy.attempts.max().is_none() && attempts.last().is_some_and(|last| last.act != Act::Succeed) {
        attempts.push(Behaviour::SUCCEED);
    }
    JobSpec {
        label: format!("j{n}"),
        at_ms: drawn.length_ms * it.at / 1_000,
        count,
        every_ms: it.every_ms,
        queue: queue.to_owned(),
        user: user.to_owned(),
        key: policy.deduplication.then_some(key),
        idempotency_key: it.idempotent.then(|| format!("i{n}-{{n}}")),
        again_ms: if it.idempotent { it.again_ms.clone() } else { Vec::new() },
        email: it.email && queue != MAILS && policies.get(MAILS).is_some(),
        attempts,
        payload_bytes: it.payload_bytes,
    }
}

fn behaviour(it: &Attempt, timeout_ms: u64, drawn: &Drawn) -> Behaviour {
    let act = match it.act {
        Act::Hang if !drawn.switches.hangs => Act::Fail,
        Act::Crash if !drawn.switches.crashes => Act::Fail,
        act => act,
    };
    let after_ms = it.of_timeout.map_or(it.after_ms, |of| timeout_ms * of / 1_000);
    // A success that is always too late would be tried again for ever.
    let after_ms = if act == Act::Succeed { after_ms.min(timeout_ms - EFFECT_MS) } else { after_ms };
    Behaviour { act, after_ms, effect: it.effect && matches!(act, Act::Fail | Act::Crash) }
}

fn ops(it: &Op, drawn: &Drawn, jobs: &[JobSpec], policies: &Queues) -> Vec<OpSpec> {
    let at_ms = drawn.length_ms * it.at / 1_000;
    let op = |at_ms, act| OpSpec { at_ms, act, job: None, queue: None, user: None };
    let pair = |first, then| [op(at_ms, first), op(at_ms + it.for_ms, then)];
    match it.act {
        OpKind::Cancel => {
            let user = it.stranger.then(|| "mallory".to_owned());
            let cancel = |label| OpSpec { job: Some(label), user: user.clone(), ..op(at_ms, OpAct::Cancel) };
            label(it, jobs, |_| true).map(cancel).into_iter().collect()
        }
        OpKind::Redrive | OpKind::Purge => {
            let act = if matches!(it.act, OpKind::Redrive) { OpAct::Redrive } else { OpAct::Purge };
            let has_dead_letters =
                |spec: &JobSpec| policies.get(&spec.queue).is_some_and(|policy| policy.dead_letter_queue.is_some());
            let label = label(it, jobs, has_dead_letters);
            label.map(|label| OpSpec { job: Some(label), ..op(at_ms, act) }).into_iter().collect()
        }
        OpKind::PauseAndResume => {
            let names: Vec<_> = policies.iter().map(|(name, _)| name.to_owned()).collect();
            let queue = it.of.get(&names);
            pair(OpAct::Pause, OpAct::Resume).map(|op| OpSpec { queue: Some(queue.clone()), ..op }).to_vec()
        }
        OpKind::DisconnectAndConnect => {
            let user = &it.of.get(jobs).user;
            pair(OpAct::Disconnect, OpAct::Connect).map(|op| OpSpec { user: Some(user.clone()), ..op }).to_vec()
        }
    }
}

/// One of the labels of those `jobs` that are `fit`.
fn label(it: &Op, jobs: &[JobSpec], fit: impl Fn(&JobSpec) -> bool) -> Option<String> {
    let fit: Vec<_> = jobs.iter().filter(|spec| fit(spec)).collect();
    let spec = fit.get(it.of.index(fit.len().max(1)))?;
    Some(spec.planned(it.of.index(spec.count as usize) as u32).label)
}

/// What a drawn fault becomes: one fault, or one on each host.
fn faults(it: &Fault, drawn: &Drawn) -> Vec<FaultSpec> {
    let at_ms = drawn.length_ms * it.at / 1_000;
    let one = |at_ms, kind| FaultSpec { at_ms, for_ms: it.for_ms, kind };
    let hosts = hosts(drawn);
    match it.kind {
        FaultDraw::Blackout(remains) => {
            hosts.into_iter().map(|host| one(at_ms, FaultKind::Power { host, remains })).collect()
        }
        FaultDraw::RollingRestart => {
            let down_ms = it.for_ms.min(RESTART_MAX_MS);
            let restart =
                |(n, host)| FaultSpec { for_ms: down_ms, ..one(at_ms + n * down_ms, FaultKind::Kill { host }) };
            (0..).zip(hosts).map(restart).collect()
        }
        FaultDraw::LongPause(for_ms) => {
            let host = processor(it, drawn);
            vec![FaultSpec { for_ms, ..one(at_ms, FaultKind::Pause { host }) }]
        }
        _ => vec![one(at_ms, kind(it, drawn))],
    }
}

/// What a fault does that strikes in one place.
fn kind(it: &Fault, drawn: &Drawn) -> FaultKind {
    let hosts = hosts(drawn);
    let host = it.on.get(&hosts).clone();
    let between = it.on.get(&links(processors(drawn))).clone();
    let broker = || "broker".to_owned();
    match it.kind {
        FaultDraw::Kill | FaultDraw::RollingRestart => FaultKind::Kill { host },
        FaultDraw::CrashAfterCommit => FaultKind::CrashAfterCommit { host: broker() },
        FaultDraw::Power(remains) | FaultDraw::Blackout(remains) => FaultKind::Power { host, remains },
        FaultDraw::Pause | FaultDraw::LongPause(_) => FaultKind::Pause { host },
        FaultDraw::ClockStep(by_ms) => FaultKind::ClockStep { host, by_ms },
        FaultDraw::ClockDrift(ppm) => FaultKind::ClockDrift { host, ppm },
        FaultDraw::Partition => FaultKind::Partition { between },
        FaultDraw::PartitionOneway => {
            let [one, other] = between;
            let (from, to) = if it.back { (other, one) } else { (one, other) };
            FaultKind::PartitionOneway { from, to }
        }
        FaultDraw::Hold => FaultKind::Hold { between },
        FaultDraw::Loss(percent) => FaultKind::Loss { between, percent },
        FaultDraw::Latency(min_ms, max_ms) => FaultKind::Latency { min_ms, max_ms },
        FaultDraw::Repeat if it.back => FaultKind::Repeat { host: "users".into() },
        FaultDraw::Repeat => FaultKind::Repeat { host: processor(it, drawn) },
        FaultDraw::DiskSlow(by_ms) => FaultKind::DiskSlow { host: broker(), by_ms },
        FaultDraw::DiskFull => FaultKind::DiskFull { host: broker() },
        FaultDraw::DiskErrors(permille) => FaultKind::DiskErrors { host: broker(), permille },
    }
}

/// The hosts that may die.
fn hosts(drawn: &Drawn) -> Vec<String> {
    let fixed = ["broker", "api", "notifier"].map(str::to_owned);
    fixed.into_iter().chain(processors(drawn)).collect()
}

fn processors(drawn: &Drawn) -> Vec<String> {
    (1..=drawn.processors).map(|n| format!("processor-{n}")).collect()
}

fn processor(it: &Fault, drawn: &Drawn) -> String {
    it.on.get(&processors(drawn)).clone()
}

/// The pairs of hosts that talk to each other.
fn links(processors: Vec<String>) -> Vec<[String; 2]> {
    let fixed = [("api", "broker"), ("notifier", "broker"), ("users", "api"), ("users", "notifier")];
    let fixed = fixed.map(|(one, other)| [one.to_owned(), other.to_owned()]);
    let to = |host: &'static str| processors.iter().map(move |processor| [processor.clone(), host.to_owned()]);
    fixed.into_iter().chain(to("broker")).chain(to("outside")).collect()
}

//! One run: the world that a seed makes, the step loop that drives it, and what comes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kew_spec::history::{Header, Slack};
use kew_spec::scenario::{FaultKind, Scenario};
use turmoil::Sim;

use crate::clock::{Clocks, EPOCH_MS};
use crate::disk::{Disk, Geometry};
use crate::drain::{Limits, Noted, RECOVERY_MS};
use crate::faults::{Faults, Means};
use crate::hazards::Hazards;
use crate::hosts::users::Users;
use crate::hosts::{SharedNet, api, broker, notifier, outside, processor, users};
use crate::network::SimNet;
use crate::planted::Seams;
use crate::record::Recorder;
use crate::{Error, Plan, Run, interpose, random};

/// A run that has simulated this much longer than its play and its bound has lost its way.
const OVERTIME_MS: u64 = 10 * 60_000;

/// Plays one run. It must have its thread for itself.
pub(crate) fn play(plan: &Plan) -> Result<Run, Error> {
    let (limits, drain) = (Limits::new(&plan.scenario, plan.shape.late_ms()), Noted::default());
    let jobs = plan.scenario.jobs();
    let bound = limits.bound(&jobs.iter().map(|job| (job, 1)).collect::<Vec<_>>());
    let recorder = Recorder::default();
    let mut sim = build(plan);
    let mut faults = populate(&mut sim, plan, (limits, &drain), &recorder)?;
    let end_ms = plan.scenario.length_ms() + bound.ms() + OVERTIME_MS;
    let mut done = false;
    while !done {
        let now_ms = sim.elapsed().as_millis() as u64;
        if end_ms < now_ms {
            return Err(Error::Stuck { simulated_ms: now_ms });
        }
        interpose::set_now(sim.since_epoch());
        faults.step(&mut sim, now_ms);
        done = sim.step().map_err(|error| Error::Host { reason: error.to_string() })?;
    }
    let simulated_ms = sim.elapsed().as_millis() as u64;
    drop(sim);
    let (history, hash) = recorder.finish();
    Ok(Run { header: header(plan), history, hash, simulated_ms, faults: faults.count(), drain: drain.get() })
}

/// A world of `plan`'s shape, without a host.
pub(crate) fn build(plan: &Plan) -> Sim<'static> {
    let shape = &plan.shape;
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(plan.seed)
        .epoch(std::time::UNIX_EPOCH + Duration::from_millis(EPOCH_MS))
        .tick_duration(shape.tick())
        .simulation_duration(Duration::MAX)
        .min_message_latency(Duration::from_millis(shape.latency_ms.0))
        .max_message_latency(Duration::from_millis(shape.latency_ms.1))
        .tcp_capacity(1 << 16);
    if shape.random_order {
        builder.enable_random_order();
    }
    builder.build()
}

/// Puts all hosts into the world and returns its faults.
fn populate(
    sim: &mut Sim<'static>,
    plan: &Plan,
    (limits, drain): (Limits, &Noted),
    recorder: &Recorder,
) -> Result<Faults, Error> {
    let (scenario, seed) = (&plan.scenario, plan.seed);
    let seams = Seams::of(plan.planted.as_deref())?;
    let net: SharedNet = Arc::new(SimNet::new(recorder.clone()));
    let (clocks, hazards) = (Clocks::new(&plan.shape.skews), Hazards::default());
    let disk = Disk::with_geometry(broker::HOST, random::stream(seed, "disk").random(), geometry(scenario));
    let queues = Arc::new(scenario.policies());
    let script = Arc::new(scenario.jobs().into_iter().map(|job| (job.label.clone(), job)).collect::<BTreeMap<_, _>>());
    let access = Arc::new(api::access(&scenario.users()));

    let setup = broker::Setup {
        disk: disk.clone(),
        queues: queues.clone(),
        access: access.clone(),
        clock: clocks.of(broker::HOST),
        seed: random::stream(seed, "broker ids").random(),
        recorder: recorder.clone(),
        net: net.clone(),
        hazards: hazards.clone(),
        seams: seams.clone(),
    };
    sim.host(broker::HOST, move || broker::serve(setup.clone()));
    let setup = api::Setup {
        queues: queues.clone(),
        access: access.clone(),
        clock: clocks.of(api::HOST),
        seed: random::stream(seed, "api ids").random(),
        net: net.clone(),
        seams: seams.clone(),
    };
    sim.host(api::HOST, move || api::serve(setup.clone()));
    let setup = notifier::Setup {
        queues: queues.clone(),
        access,
        clock: clocks.of(notifier::HOST),
        seed: random::stream(seed, "notifier ids").random(),
        net: net.clone(),
        seams: seams.clone(),
    };
    sim.host(notifier::HOST, move || notifier::serve(setup.clone()));
    let world_outside = outside::Outside::new(recorder.clone());
    let outside_net = net.clone();
    sim.host(outside::HOST, move || world_outside.clone().serve(outside_net.clone()));
    let mut hosts: Vec<String> =
        [broker::HOST, api::HOST, notifier::HOST, outside::HOST, users::HOST].map(str::to_owned).to_vec();
    for n in 1..=scenario.processors {
        let setup = processor::Setup {
            host: processor::host(n),
            slots: scenario.slots,
            queues: queues.clone(),
            script: script.clone(),
            recorder: recorder.clone(),
            hazards: hazards.clone(),
            net: net.clone(),
            seams: seams.clone(),
        };
        hosts.push(setup.host.clone());
        sim.host(setup.host.clone(), move || processor::serve(setup.clone()));
    }
    let users = Users {
        scenario: Arc::new(scenario.clone()),
        script,
        recorder: recorder.clone(),
        net,
        limits,
        drain: drain.clone(),
        hazards: hazards.clone(),
        late_ms: plan.shape.late_ms(),
        known: Arc::default(),
    };
    sim.client(users::HOST, users.play());
    let latency = Duration::from_millis(plan.shape.latency_ms.1);
    let means = Means { hosts, disk, clocks, hazards, recorder: recorder.clone(), latency };
    Ok(Faults::new(means, &scenario.faults))
}

/// The strictest disk; but one whose syncs fail keeps what lies around a torn write, as SQLite assumes of every disk: on
/// another, what is committed after a failed sync is lost in a power cut (docs/simulation.md).
fn geometry(scenario: &Scenario) -> Geometry {
    let syncs_fail = scenario.faults.iter().any(|fault| matches!(fault.kind, FaultKind::DiskErrors { .. }));
    Geometry { powersafe_overwrite: syncs_fail, ..Geometry::default() }
}

fn header(plan: &Plan) -> Header {
    Header {
        player: "sim".into(),
        scenario: Some(plan.scenario.name.clone()),
        seed: Some(plan.seed),
        queues: plan.scenario.policies(),
        slack: Slack { late_ms: plan.shape.late_ms(), recovery_ms: RECOVERY_MS, clock_error_ms: 0 },
        ..Header::new(concat!("kew ", env!("CARGO_PKG_VERSION")))
    }
}

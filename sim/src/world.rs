//! One run: the world that a seed makes, the step loop that drives it, and what comes out.

use std::time::Duration;

use kew_spec::history::{Header, Slack};
use turmoil::Sim;

use crate::clock::EPOCH_MS;
use crate::drain::{Limits, Noted, RECOVERY_MS};
use crate::populate::populate;
use crate::record::Recorder;
use crate::{Error, Plan, Run, interpose};

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
    // Before the world goes: handlers that go with it would end at a time that is none.
    let (history, hash) = recorder.finish();
    drop(sim);
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

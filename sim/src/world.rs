//! One run: the world that a seed makes, the step loop that drives it, and what comes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kew_spec::history::{Header, Slack};
use kew_spec::scenario::{Scenario, generate, library};
use turmoil::Sim;

use crate::clock::{Clocks, EPOCH_MS};
use crate::disk::Disk;
use crate::drain::{Bound, RECOVERY_MS};
use crate::faults::{Faults, Hazards, Means};
use crate::hosts::users::Users;
use crate::hosts::{SharedNet, api, broker, notifier, outside, processor, users};
use crate::network::SimNet;
use crate::planted::Seams;
use crate::record::Recorder;
use crate::{Error, Options, Run, random};

/// Scenarios longer than this run at a coarser tick.
const LONG_MS: u64 = 10 * 60_000;

/// A run that has simulated this much longer than its play and its bound has lost its way.
const OVERTIME_MS: u64 = 10 * 60_000;

/// What a seed draws besides the scenario.
#[derive(Clone, Debug)]
struct Shape {
    /// How far the simulation moves with each step.
    tick: Duration,
    /// How long a message takes at least and at most.
    latency: (Duration, Duration),
    /// Whether the hosts run in another order in each step.
    random_order: bool,
}

impl Shape {
    fn draw(seed: u64, scenario: &Scenario) -> Self {
        let mut draw = random::stream(seed, "shape");
        let tick = if LONG_MS < scenario.length_ms() { 50 } else { [5, 10, 20][(draw.random() % 3) as usize] };
        let least = 1 + draw.random() % 5;
        let most = least + 1 + draw.random() % 25;
        let latency = (Duration::from_millis(least), Duration::from_millis(most));
        Self { tick: Duration::from_millis(tick), latency, random_order: draw.random().is_multiple_of(2) }
    }

    /// How late anything may be that takes a few messages: a settle and its answer, a pull and its answer, each held up
    /// by ticks on the way; doubled, since one message may wait for a connection to be opened first.
    fn late_ms(&self) -> u64 {
        (8 * (self.latency.1 + 2 * self.tick)).as_millis() as u64
    }
}

/// The scenario that a seed plays: in turn one of the named library and a random one.
pub(crate) fn scenario_of(seed: u64) -> Scenario {
    let mut named = library();
    if seed.is_multiple_of(2) && !named.is_empty() {
        let index = (seed / 2) as usize % named.len();
        return named.swap_remove(index);
    }
    generate::sample(seed)
}

/// Plays one run. It must have its thread for itself.
pub(crate) fn play(options: &Options) -> Result<Run, Error> {
    let scenario = options.scenario.clone().unwrap_or_else(|| scenario_of(options.seed));
    let shape = Shape::draw(options.seed, &scenario);
    let bound = Bound::new(&scenario);
    let recorder = Recorder::default();
    let mut sim = build(options.seed, &shape);
    let mut faults = populate(&mut sim, options, &scenario, &shape, &bound, &recorder)?;
    let end_ms = scenario.length_ms() + bound.ms + OVERTIME_MS;
    let mut done = false;
    while !done {
        let now_ms = sim.elapsed().as_millis() as u64;
        if end_ms < now_ms {
            return Err(Error::Stuck { simulated_ms: now_ms });
        }
        faults.step(&mut sim, now_ms);
        done = sim.step().map_err(|error| Error::Host { reason: error.to_string() })?;
    }
    let simulated_ms = sim.elapsed().as_millis() as u64;
    drop(sim);
    let (history, hash) = recorder.finish();
    let header = header(options.seed, &scenario, &shape);
    Ok(Run { header, history, hash, simulated_ms, faults: faults.count(), scenario })
}

fn build(seed: u64, shape: &Shape) -> Sim<'static> {
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH + Duration::from_millis(EPOCH_MS))
        .tick_duration(shape.tick)
        .simulation_duration(Duration::MAX)
        .min_message_latency(shape.latency.0)
        .max_message_latency(shape.latency.1)
        .tcp_capacity(1 << 16);
    if shape.random_order {
        builder.enable_random_order();
    }
    builder.build()
}

/// Puts all hosts into the world and returns its faults.
fn populate(
    sim: &mut Sim<'static>,
    options: &Options,
    scenario: &Scenario,
    shape: &Shape,
    bound: &Bound,
    recorder: &Recorder,
) -> Result<Faults, Error> {
    let seams = Seams::of(options.planted.as_deref())?;
    let net: SharedNet = Arc::new(SimNet::new(recorder.clone()));
    let (clocks, hazards) = (Clocks::default(), Hazards::default());
    let disk = Disk::new(broker::HOST, random::stream(options.seed, "disk").random());
    let queues = Arc::new(scenario.policies());
    let script = Arc::new(scenario.jobs().into_iter().map(|job| (job.label.clone(), job)).collect::<BTreeMap<_, _>>());
    let access = Arc::new(api::access(&scenario.users()));

    let setup = broker::Setup {
        disk: disk.clone(),
        queues: queues.clone(),
        access: access.clone(),
        clock: clocks.of(broker::HOST),
        seed: random::stream(options.seed, "broker ids").random(),
        recorder: recorder.clone(),
        net: net.clone(),
        seams: seams.clone(),
    };
    sim.host(broker::HOST, move || broker::serve(setup.clone()));
    let setup = api::Setup {
        queues: queues.clone(),
        access: access.clone(),
        clock: clocks.of(api::HOST),
        seed: random::stream(options.seed, "api ids").random(),
        net: net.clone(),
        seams: seams.clone(),
    };
    sim.host(api::HOST, move || api::serve(setup.clone()));
    let setup = notifier::Setup {
        queues: queues.clone(),
        access,
        clock: clocks.of(notifier::HOST),
        seed: random::stream(options.seed, "notifier ids").random(),
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
    let users = Users::new(Arc::new(scenario.clone()), script, recorder.clone(), net, bound.clone());
    sim.client(users::HOST, users.play());
    let means = Means { hosts, disk, clocks, hazards, recorder: recorder.clone(), latency: shape.latency };
    Ok(Faults::new(means, &scenario.faults))
}

fn header(seed: u64, scenario: &Scenario, shape: &Shape) -> Header {
    Header {
        player: "sim".into(),
        scenario: Some(scenario.name.clone()),
        seed: Some(seed),
        queues: scenario.policies(),
        slack: Slack { late_ms: shape.late_ms(), recovery_ms: RECOVERY_MS, clock_error_ms: 0 },
        ..Header::new(concat!("kew ", env!("CARGO_PKG_VERSION")))
    }
}

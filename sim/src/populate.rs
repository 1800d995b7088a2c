//! Puts the hosts into a world: the roles, the users and the world outside, all from one plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kew_runtime::api::Access;
use kew_spec::queues::Queues;
use kew_spec::scenario::{FaultKind, Scenario};
use turmoil::Sim;

use crate::clock::Clocks;
use crate::disk::{Disk, Geometry};
use crate::drain::{Limits, Noted};
use crate::faults::{Faults, Means};
use crate::hazards::Hazards;
use crate::hosts::users::Users;
use crate::hosts::{SharedNet, api, broker, notifier, outside, processor, users};
use crate::network::SimNet;
use crate::planted::Seams;
use crate::record::Recorder;
use crate::script::Script;
use crate::{Error, Plan, random};

/// What hosts share.
struct Common<'a> {
    plan: &'a Plan,
    recorder: Recorder,
    net: SharedNet,
    clocks: Clocks,
    hazards: Hazards,
    disk: Disk,
    queues: Arc<Queues>,
    script: Script,
    access: Arc<Access>,
    seams: Seams,
}

/// Puts all hosts into the world and returns its faults.
pub(crate) fn populate(
    sim: &mut Sim<'static>,
    plan: &Plan,
    (limits, drain): (Limits, &Noted),
    recorder: &Recorder,
) -> Result<Faults, Error> {
    let common = Common::new(plan, recorder)?;
    common.roles(sim);
    common.outside(sim);
    let processors = common.processors(sim);
    common.users(sim, limits, drain);
    let fixed = [broker::HOST, api::HOST, notifier::HOST, outside::HOST, users::HOST].map(str::to_owned);
    let hosts = fixed.into_iter().chain(processors).collect();
    let Common { clocks, hazards, disk, .. } = common;
    let latency = Duration::from_millis(plan.shape.latency_ms.1);
    let means = Means { hosts, disk, clocks, hazards, recorder: recorder.clone(), latency };
    Ok(Faults::new(means, &plan.scenario.faults))
}

impl<'a> Common<'a> {
    fn new(plan: &'a Plan, recorder: &Recorder) -> Result<Self, Error> {
        let scenario = &plan.scenario;
        let seed = random::stream(plan.seed, "disk").random();
        Ok(Self {
            plan,
            recorder: recorder.clone(),
            net: Arc::new(SimNet::new(recorder.clone())),
            clocks: Clocks::new(&plan.shape.skews),
            hazards: Hazards::default(),
            disk: Disk::with_geometry(broker::HOST, seed, geometry(scenario)),
            queues: Arc::new(scenario.policies()),
            script: Arc::new(
                scenario.jobs().into_iter().map(|job| (job.label.clone(), job)).collect::<BTreeMap<_, _>>(),
            ),
            access: Arc::new(api::access(&scenario.users())),
            seams: Seams::of(plan.planted.as_deref())?,
        })
    }

    /// A stream of its own for the ids of a host.
    fn ids(&self, part: &str) -> u64 {
        random::stream(self.plan.seed, part).random()
    }

    fn roles(&self, sim: &mut Sim<'static>) {
        let setup = broker::Setup {
            disk: self.disk.clone(),
            queues: self.queues.clone(),
            access: self.access.clone(),
            clock: self.clocks.of(broker::HOST),
            seed: self.ids("broker ids"),
            recorder: self.recorder.clone(),
            net: self.net.clone(),
            hazards: self.hazards.clone(),
            seams: self.seams.clone(),
        };
        sim.host(broker::HOST, move || broker::serve(setup.clone()));
        let setup = api::Setup {
            queues: self.queues.clone(),
            access: self.access.clone(),
            clock: self.clocks.of(api::HOST),
            seed: self.ids("api ids"),
            net: self.net.clone(),
            seams: self.seams.clone(),
        };
        sim.host(api::HOST, move || api::serve(setup.clone()));
        let setup = notifier::Setup {
            queues: self.queues.clone(),
            access: self.access.clone(),
            clock: self.clocks.of(notifier::HOST),
            seed: self.ids("notifier ids"),
            net: self.net.clone(),
            seams: self.seams.clone(),
        };
        sim.host(notifier::HOST, move || notifier::serve(setup.clone()));
    }

    fn outside(&self, sim: &mut Sim<'static>) {
        let (world, net) = (outside::Outside::new(self.recorder.clone()), self.net.clone());
        sim.host(outside::HOST, move || world.clone().serve(net.clone()));
    }

    /// Returns their names.
    fn processors(&self, sim: &mut Sim<'static>) -> Vec<String> {
        let one = |n| {
            let setup = processor::Setup {
                host: processor::host(n),
                slots: self.plan.scenario.slots,
                queues: self.queues.clone(),
                script: self.script.clone(),
                recorder: self.recorder.clone(),
                hazards: self.hazards.clone(),
                net: self.net.clone(),
                seams: self.seams.clone(),
            };
            let host = setup.host.clone();
            sim.host(host.clone(), move || processor::serve(setup.clone()));
            host
        };
        (1..=self.plan.scenario.processors).map(one).collect()
    }

    fn users(&self, sim: &mut Sim<'static>, limits: Limits, drain: &Noted) {
        let users = Users {
            scenario: Arc::new(self.plan.scenario.clone()),
            script: self.script.clone(),
            recorder: self.recorder.clone(),
            net: self.net.clone(),
            limits: Arc::new(limits),
            drain: drain.clone(),
            hazards: self.hazards.clone(),
            late_ms: self.plan.shape.late_ms(),
            known: Arc::default(),
        };
        sim.client(users::HOST, users.play());
    }
}

/// The strictest disk; but one whose syncs fail keeps what lies around a torn write, as SQLite assumes of every disk: on
/// another, what is committed after a failed sync is lost in a power cut (docs/simulation.md).
fn geometry(scenario: &Scenario) -> Geometry {
    let syncs_fail = scenario.faults.iter().any(|fault| matches!(fault.kind, FaultKind::DiskErrors { .. }));
    Geometry { powersafe_overwrite: syncs_fail, ..Geometry::default() }
}

//! Faults: when each begins and ends, and what it does to the simulated world.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kew_spec::history::{Fault, Processor};
use kew_spec::scenario::{FaultKind, FaultSpec, Remains};
use turmoil::Sim;

use crate::clock::Clocks;
use crate::disk::{self, Disk, Loss, Slow, SyncFailure, Trigger};
use crate::hazards::Hazards;
use crate::hosts::broker;
use crate::record::Recorder;

/// How long a processor that crashed by its script stays down.
const CRASH_DOWN_MS: u64 = 1_000;

/// What a run's faults act on besides the simulator itself.
pub struct Means {
    /// Every host's name.
    pub hosts: Vec<String>,
    /// The broker's disk.
    pub disk: Disk,
    /// The hosts' clocks.
    pub clocks: Clocks,
    /// What hosts hear of it.
    pub hazards: Hazards,
    /// Where it is written down.
    pub recorder: Recorder,
    /// How long a message usually takes at most.
    pub latency: Duration,
}

/// All faults of a run and how far they have come.
pub struct Faults {
    means: Means,
    /// Begins and ends to come, the next one last.
    agenda: Vec<(u64, Turn)>,
    kinds: BTreeMap<u64, FaultKind>,
    /// Why each host is down: it comes back when no reason is left.
    down: BTreeMap<String, BTreeSet<u64>>,
    /// How many hosts have died by their scripts.
    crashes: u64,
    /// What ails the disk.
    ill: BTreeMap<u64, FaultKind>,
    /// What the disk was like before.
    healthy: disk::Faults,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    End(u64),
    Begin(u64),
    /// A host that crashed by its script comes back; the number keeps the reasons apart.
    Return(String, u64),
}

impl Faults {
    /// The agenda of `specs`.
    pub fn new(means: Means, specs: &[FaultSpec]) -> Self {
        let mut agenda = Vec::new();
        let mut kinds = BTreeMap::new();
        for (id, spec) in (1..).zip(specs) {
            agenda.push((spec.at_ms, Turn::Begin(id)));
            agenda.push((spec.at_ms + spec.for_ms, Turn::End(id)));
            kinds.insert(id, spec.kind.clone());
        }
        agenda.sort_by(|a, b| b.cmp(a));
        Self {
            means,
            agenda,
            kinds,
            down: BTreeMap::new(),
            crashes: 0,
            ill: BTreeMap::new(),
            healthy: disk::Faults::default(),
        }
    }

    /// How many faults have been stated.
    pub fn count(&self) -> usize {
        self.kinds.len()
    }

    /// Whether all are over.
    pub fn over(&self) -> bool {
        self.agenda.is_empty()
    }

    /// Does what is due at the simulated time `now_ms`, and lets die who asked for it.
    pub fn step(&mut self, sim: &mut Sim<'_>, now_ms: u64) {
        while self.agenda.last().is_some_and(|(at, _)| *at <= now_ms) {
            self.means.hazards.strike(now_ms);
            let (_, turn) = self.agenda.pop().expect("it was there a moment ago");
            match turn {
                Turn::Begin(id) => self.turn(sim, now_ms, id, true),
                Turn::End(id) => self.turn(sim, now_ms, id, false),
                Turn::Return(host, reason) => self.up(sim, &host, reason),
            }
        }
        for host in self.means.hazards.take_doomed() {
            self.crashes += 1;
            let reason = u64::MAX - self.crashes;
            self.down(sim, now_ms, &host, reason);
            self.agenda.push((now_ms + CRASH_DOWN_MS, Turn::Return(host, reason)));
            self.agenda.sort_by(|a, b| b.cmp(a));
        }
    }

    fn turn(&mut self, sim: &mut Sim<'_>, now_ms: u64, id: u64, begins: bool) {
        let kind = self.kinds.get(&id).cloned().expect("every turn has its fault");
        let on: Vec<_> = kind.hosts().into_iter().map(str::to_owned).collect();
        let event = Fault { fault: id, kind: kind.name().to_owned(), on, active: begins };
        if begins {
            self.means.recorder.see_at(now_ms, event.clone());
        }
        self.act(sim, now_ms, id, &kind, begins);
        if !begins {
            self.means.recorder.see_at(now_ms, event);
        }
    }

    fn act(&mut self, sim: &mut Sim<'_>, now_ms: u64, id: u64, kind: &FaultKind, begins: bool) {
        match (kind, begins) {
            (FaultKind::Partition { between: [a, b] }, true) => sim.partition(a.as_str(), b.as_str()),
            (FaultKind::Partition { between: [a, b] }, false) => sim.repair(a.as_str(), b.as_str()),
            (FaultKind::PartitionOneway { from, to }, true) => sim.partition_oneway(from.as_str(), to.as_str()),
            (FaultKind::PartitionOneway { from, to }, false) => sim.repair_oneway(from.as_str(), to.as_str()),
            (FaultKind::Hold { between: [a, b] }, true) => sim.hold(a.as_str(), b.as_str()),
            (FaultKind::Hold { between: [a, b] }, false) => sim.release(a.as_str(), b.as_str()),
            (FaultKind::Loss { between: [a, b], percent }, true) => {
                sim.set_link_fail_rate(a.as_str(), b.as_str(), f64::from(*percent) / 100.0);
            }
            (FaultKind::Loss { between: [a, b], .. }, false) => sim.set_link_fail_rate(a.as_str(), b.as_str(), 0.0),
            (FaultKind::Latency { max_ms, .. }, true) => sim.set_max_message_latency(Duration::from_millis(*max_ms)),
            (FaultKind::Latency { .. }, false) => sim.set_max_message_latency(self.means.latency),
            (FaultKind::Kill { host }, true) => self.down(sim, now_ms, host, id),
            (FaultKind::Power { host, remains }, true) => self.cut(sim, now_ms, host, id, *remains),
            (FaultKind::Kill { host } | FaultKind::Power { host, .. }, false) => self.up(sim, host, id),
            (FaultKind::CrashAfterCommit { host }, true) => self.means.hazards.arm(host),
            (FaultKind::CrashAfterCommit { host }, false) => self.means.hazards.disarm(host),
            (FaultKind::Repeat { host }, true) => self.means.hazards.repeat(host),
            (FaultKind::Repeat { host }, false) => self.means.hazards.relent(host),
            (FaultKind::Pause { host }, true) => {
                self.means.hazards.pause(host);
                self.others(host).iter().for_each(|other| sim.hold(host.as_str(), other.as_str()));
            }
            (FaultKind::Pause { host }, false) => {
                self.means.hazards.resume(host);
                self.others(host).iter().for_each(|other| sim.release(host.as_str(), other.as_str()));
            }
            (FaultKind::ClockStep { host, by_ms }, true) => self.means.clocks.step(host, *by_ms),
            (FaultKind::ClockStep { host, by_ms }, false) => self.means.clocks.step(host, -by_ms),
            (FaultKind::ClockDrift { host, ppm }, true) => self.means.clocks.drift(host, *ppm, now_ms),
            (FaultKind::ClockDrift { host, .. }, false) => self.means.clocks.correct(host),
            (FaultKind::DiskSlow { .. } | FaultKind::DiskFull { .. } | FaultKind::DiskErrors { .. }, begins) => {
                if self.ill.is_empty() {
                    self.healthy = self.means.disk.faults();
                }
                if begins {
                    self.ill.insert(id, kind.clone());
                } else {
                    self.ill.remove(&id);
                }
                self.means.disk.set_faults(illness(self.healthy, self.ill.values(), self.means.disk.used_bytes()));
            }
        }
    }

    fn others(&self, host: &str) -> Vec<String> {
        self.means.hosts.iter().filter(|other| *other != host).cloned().collect()
    }

    /// The process dies. Its disk keeps what was written; its peers see their connections end.
    fn down(&mut self, sim: &mut Sim<'_>, now_ms: u64, host: &str, reason: u64) {
        if self.fall(now_ms, host, reason) {
            if host == broker::HOST {
                if self.means.hazards.is_in_doubt() {
                    self.means.disk.power_cut(Loss::DropAll);
                } else {
                    self.means.disk.kill();
                }
            }
            sim.crash(host);
        }
    }

    /// The machine loses power. Its disk keeps what was synced; its peers hear nothing, not even an end.
    fn cut(&mut self, sim: &mut Sim<'_>, now_ms: u64, host: &str, reason: u64, remains: Remains) {
        if self.fall(now_ms, host, reason) {
            self.others(host).iter().for_each(|other| sim.partition(host, other.as_str()));
            if host == broker::HOST {
                let in_doubt = self.means.hazards.is_in_doubt();
                self.means.disk.power_cut(if in_doubt { Loss::DropAll } else { loss(remains) });
            }
            sim.crash(host);
            self.others(host).iter().for_each(|other| sim.repair(host, other.as_str()));
        }
    }

    /// Notes a reason to be down; true if it is the first.
    fn fall(&mut self, now_ms: u64, host: &str, reason: u64) -> bool {
        let reasons = self.down.entry(host.to_owned()).or_default();
        let first = reasons.is_empty();
        reasons.insert(reason);
        if first {
            // Before the crash: it drops the host's software, and the drops must not look like anything else.
            self.means.hazards.fall(host);
            if host.starts_with("processor") {
                self.means.recorder.see_at(now_ms, Processor { processor: host.to_owned(), up: false, slots: 0 });
            }
        }
        first
    }

    fn up(&mut self, sim: &mut Sim<'_>, host: &str, reason: u64) {
        let Some(reasons) = self.down.get_mut(host) else { return };
        if reasons.remove(&reason) && reasons.is_empty() {
            self.means.hazards.rise(host);
            sim.bounce(host);
        }
    }
}

/// What a power cut leaves, as the disk takes it.
fn loss(remains: Remains) -> Loss {
    match remains {
        Remains::Nothing => Loss::DropAll,
        Remains::Everything => Loss::KeepAll,
        Remains::SmallSectors => Loss::subset(512),
        Remains::Sectors => Loss::subset(4096),
    }
}

/// What `kinds` together do to a disk that was `healthy` before and on which `used_bytes` are taken.
fn illness<'a>(healthy: disk::Faults, kinds: impl Iterator<Item = &'a FaultKind>, used_bytes: u64) -> disk::Faults {
    let mut faults = healthy;
    for kind in kinds {
        match kind {
            FaultKind::DiskSlow { by_ms, .. } => faults.slow = Slow { sync_us: by_ms * 1_000, ..faults.slow },
            FaultKind::DiskFull { .. } => faults.capacity_bytes = Some(used_bytes),
            FaultKind::DiskErrors { permille, .. } => {
                let chance = Trigger::ChancePpm(u32::from(*permille) * 1_000);
                (faults.read_fails, faults.write_fails, faults.sync_fails) = (chance, chance, chance);
                faults.sync_failure = SyncFailure::Forgets;
            }
            _ => unreachable!("only a disk's faults ail it"),
        }
    }
    faults
}

//! Faults: when each begins and ends, and what it does to the simulated world.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kew_spec::history::{Fault, Processor};
use kew_spec::scenario::{FaultKind, FaultSpec};
use turmoil::Sim;

use crate::clock::Clocks;
use crate::disk::{Disk, Loss};
use crate::record::Recorder;

/// How long a processor that crashed by its script stays down.
const CRASH_DOWN_MS: u64 = 1_000;

/// What hosts and driver tell each other about hosts that are down, paused or about to die.
#[derive(Clone, Default)]
pub struct Hazards {
    inner: Arc<Mutex<HazardSets>>,
}

#[derive(Default)]
struct HazardSets {
    paused: BTreeMap<String, u32>,
    down: BTreeSet<String>,
    doomed: BTreeSet<String>,
}

impl Hazards {
    /// Asks for the death of `host`, by itself.
    pub fn crash(&self, host: &str) {
        self.inner().doomed.insert(host.to_owned());
    }

    /// Whether `host` is paused.
    pub fn is_paused(&self, host: &str) -> bool {
        self.inner().paused.contains_key(host)
    }

    /// Whether `host` is down, or going down this moment.
    pub fn is_down(&self, host: &str) -> bool {
        self.inner().down.contains(host)
    }

    /// Notes that `host` goes down.
    pub fn fall(&self, host: &str) {
        self.inner().down.insert(host.to_owned());
    }

    fn pause(&self, host: &str) {
        *self.inner().paused.entry(host.to_owned()).or_default() += 1;
    }

    fn resume(&self, host: &str) {
        let mut inner = self.inner();
        if let Some(count) = inner.paused.get_mut(host) {
            *count -= 1;
            if *count == 0 {
                inner.paused.remove(host);
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, HazardSets> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// The usual latency of a message.
    pub latency: (Duration, Duration),
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
        Self { means, agenda, kinds, down: BTreeMap::new(), crashes: 0 }
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
            let (_, turn) = self.agenda.pop().expect("it was there a moment ago");
            match turn {
                Turn::Begin(id) => self.turn(sim, now_ms, id, true),
                Turn::End(id) => self.turn(sim, now_ms, id, false),
                Turn::Return(host, reason) => self.up(sim, &host, reason),
            }
        }
        let doomed = std::mem::take(&mut self.means.hazards.inner().doomed);
        for host in doomed {
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
            (FaultKind::Latency { .. }, false) => sim.set_max_message_latency(self.means.latency.1),
            (FaultKind::Kill { host }, true) => self.down(sim, now_ms, host, id),
            (FaultKind::Power { host }, true) => self.cut(sim, now_ms, host, id),
            (FaultKind::Kill { host } | FaultKind::Power { host }, false) => self.up(sim, host, id),
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
        }
    }

    fn others(&self, host: &str) -> Vec<String> {
        self.means.hosts.iter().filter(|other| *other != host).cloned().collect()
    }

    /// The process dies. Its disk keeps what was written; its peers see their connections end.
    fn down(&mut self, sim: &mut Sim<'_>, now_ms: u64, host: &str, reason: u64) {
        if self.fall(now_ms, host, reason) {
            if host == "broker" {
                self.means.disk.kill();
            }
            sim.crash(host);
        }
    }

    /// The machine loses power. Its disk keeps what was synced; its peers hear nothing, not even an end.
    fn cut(&mut self, sim: &mut Sim<'_>, now_ms: u64, host: &str, reason: u64) {
        if self.fall(now_ms, host, reason) {
            self.others(host).iter().for_each(|other| sim.partition(host, other.as_str()));
            if host == "broker" {
                self.means.disk.power_cut(Loss::subset(4096));
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
            self.means.hazards.inner().down.remove(host);
            sim.bounce(host);
        }
    }
}

//! What is drawn for a scenario, each part by itself. References (to a queue, a job, a host) are drawn as indices, and
//! times as parts of the play's length, so that every combination makes a scenario.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::assemble;
use super::family::{FAMILIES, Family};
use super::policy::{Kind, Small, small};
use crate::scenario::{Act, Remains, Scenario};

/// The most tables of jobs of one scenario.
pub(super) const JOB_TABLES_MAX: usize = 16;

/// What a family of scenarios is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Focus {
    pub(super) name: &'static str,
    /// Kinds of small queues; none of them may be the five.
    pub(super) kinds: &'static [Kind],
    /// Whether the five queues may be played in place of small ones.
    pub(super) five: bool,
    /// What attempts may do, the more often named the likelier.
    pub(super) acts: &'static [Act],
    pub(super) faults_max: usize,
}

impl Focus {
    pub(super) const ANYTHING: Self = Self {
        name: "",
        kinds: Kind::ALL,
        five: true,
        acts: &[Act::Succeed, Act::Succeed, Act::Succeed, Act::Fail, Act::Fail, Act::Crash, Act::Hang],
        faults_max: 8,
    };

    pub(super) const FAILING: Self = Self {
        five: false,
        acts: &[Act::Succeed, Act::Fail, Act::Fail, Act::Crash, Act::Hang],
        faults_max: 4,
        ..Self::ANYTHING
    };
}

/// All that is drawn for one scenario.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) five: bool,
    pub(super) queues: Vec<Small>,
    pub(super) processors: u32,
    pub(super) slots: u32,
    pub(super) length_ms: u64,
    pub(super) switches: Switches,
    pub(super) jobs: Vec<Jobs>,
    pub(super) ops: Vec<Op>,
    pub(super) faults: Vec<Fault>,
}

/// Which misbehaviour of handlers is on at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Switches {
    pub(super) hangs: bool,
    pub(super) crashes: bool,
}

/// A table of jobs.
#[derive(Clone, Debug)]
pub(super) struct Jobs {
    pub(super) queue: Index,
    /// In thousandths of the play.
    pub(super) at: u64,
    pub(super) count: u32,
    pub(super) every_ms: u64,
    pub(super) user: usize,
    pub(super) key: u32,
    /// Whether each of its jobs has an entity of its own.
    pub(super) spread: bool,
    pub(super) idempotent: bool,
    pub(super) again_ms: Vec<u64>,
    pub(super) email: bool,
    pub(super) attempts: Vec<Attempt>,
    pub(super) payload_bytes: u64,
}

/// What an attempt does.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) act: Act,
    pub(super) after_ms: u64,
    /// How close to the timeout it ends, in thousandths of it, if that is what it is about.
    pub(super) of_timeout: Option<u64>,
    pub(super) effect: bool,
}

/// An operation, or a pair of opposite ones.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) at: u64,
    pub(super) for_ms: u64,
    pub(super) act: OpKind,
    pub(super) of: Index,
    /// Whether somebody else tries it.
    pub(super) stranger: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum OpKind {
    Cancel,
    Redrive,
    Purge,
    PauseAndResume,
    DisconnectAndConnect,
}

/// A fault.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) at: u64,
    pub(super) for_ms: u64,
    pub(super) kind: FaultDraw,
    /// Which host or which link.
    pub(super) on: Index,
    /// Which way, for what has one.
    pub(super) back: bool,
}

/// What a fault does, without its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum FaultDraw {
    Partition,
    PartitionOneway,
    Hold,
    Loss(u8),
    Latency(u64, u64),
    Kill,
    CrashAfterCommit,
    /// Every host but the users' and the world outside, one after the other.
    RollingRestart,
    Power(Remains),
    /// Every host but the users' and the world outside, at once.
    Blackout(Remains),
    Pause,
    /// So much longer than another pause that leases run out.
    LongPause(u64),
    ClockStep(i64),
    ClockDrift(i64),
    Repeat,
    DiskSlow(u64),
    DiskFull,
    DiskErrors(u16),
}

/// Scenarios of one family.
pub(super) fn scenario(focus: Focus) -> impl Strategy<Value = Scenario> {
    let five = if focus.five { any::<bool>().boxed() } else { Just(false).boxed() };
    let parts = (jobs(focus.acts, JOB_TABLES_MAX), ops(), vec(fault(), 0..=focus.faults_max));
    let drawn = (five, small(focus.kinds), shape(), switches(), parts);
    drawn.prop_map(move |(five, queues, (processors, slots, length_ms), switches, (jobs, ops, faults))| {
        let drawn = Drawn { five, queues, processors, slots, length_ms, switches, jobs, ops, faults };
        assemble::scenario(focus.name, &drawn)
    })
}

/// Processors, slots of each, and the play's length.
pub(super) fn shape() -> impl Strategy<Value = (u32, u32, u64)> {
    (1_u32..=4, 1_u32..=6, 5_000_u64..=80_000)
}

pub(super) fn switches() -> impl Strategy<Value = Switches> {
    any::<[bool; 2]>().prop_map(|[hangs, crashes]| Switches { hangs, crashes })
}

/// Up to `tables_max` tables of jobs whose attempts do one of `acts`.
pub(super) fn jobs(acts: &'static [Act], tables_max: usize) -> impl Strategy<Value = Vec<Jobs>> {
    vec(table(acts), 1..=tables_max)
}

pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 0..=6)
}

fn table(acts: &'static [Act]) -> impl Strategy<Value = Jobs> {
    let when = (0_u64..=900, 1_u32..=12, prop_oneof![Just(0), 1_u64..800]);
    let whose = (any::<Index>(), 0_usize..3, 0_u32..4, any::<bool>());
    let again_ms = vec(prop_oneof![Just(0), 1_u64..4_000], 0..=2);
    let asked = (any::<bool>(), again_ms, prop::bool::weighted(0.2));
    let payload_bytes = prop_oneof![9 => Just(0_u64), 1 => 100_u64..20_000];
    let work = (vec(attempt(acts), 0..=4), payload_bytes);
    (when, whose, asked, work).prop_map(|(when, whose, asked, work)| Jobs {
        queue: whose.0,
        at: when.0,
        count: when.1,
        every_ms: when.2,
        user: whose.1,
        key: whose.2,
        spread: whose.3,
        idempotent: asked.0,
        again_ms: asked.1,
        email: asked.2,
        attempts: work.0,
        payload_bytes: work.1,
    })
}

fn attempt(acts: &'static [Act]) -> impl Strategy<Value = Attempt> {
    let of_timeout = prop::option::weighted(0.15, 800_u64..1_300);
    let after_ms = prop_oneof![2 => Just(0_u64), 6 => 1_u64..800, 1 => 800_u64..4_000];
    (prop::sample::select(acts), after_ms, of_timeout, any::<bool>())
        .prop_map(|(act, after_ms, of_timeout, effect)| Attempt { act, after_ms, of_timeout, effect })
}

fn op() -> impl Strategy<Value = Op> {
    let act = prop_oneof![
        3 => Just(OpKind::Cancel),
        3 => Just(OpKind::Redrive),
        1 => Just(OpKind::Purge),
        2 => Just(OpKind::PauseAndResume),
        2 => Just(OpKind::DisconnectAndConnect),
    ];
    (0_u64..=1_000, 100_u64..10_000, act, any::<Index>(), prop::bool::weighted(0.1))
        .prop_map(|(at, for_ms, act, of, stranger)| Op { at, for_ms, act, of, stranger })
}

/// A fault of any family.
fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(FAMILIES).prop_flat_map(|family| placed(family.kinds()))
}

/// Faults of one family, at most `count_max`.
pub(super) fn faults(family: Family, count_max: usize) -> impl Strategy<Value = Vec<Fault>> {
    vec(placed(family.kinds()), 1..=count_max)
}

/// Gives a fault its time and its place.
fn placed(kind: BoxedStrategy<FaultDraw>) -> impl Strategy<Value = Fault> {
    let for_ms = prop_oneof![3 => 100_u64..2_000, 2 => 2_000_u64..15_000];
    (0_u64..=950, for_ms, kind, any::<Index>(), any::<bool>()).prop_map(|(at, for_ms, kind, on, back)| Fault {
        at,
        for_ms,
        kind,
        on,
        back,
    })
}

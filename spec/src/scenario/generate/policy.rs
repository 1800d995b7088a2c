//! Small queues: each of one kind, with its limits so low that a few jobs reach them.

use std::fmt::Write as _;

use proptest::prelude::*;

/// The shortest timeout that is drawn: an attempt that succeeds must have time for its effect outside.
const TIMEOUT_MIN_MS: u64 = 300 + EFFECT_MS;

/// What an effect outside may take where messages are slowest.
pub(super) const EFFECT_MS: u64 = 1_200;

/// What is special about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// It has a dead letter queue.
    DeadLettering,
    /// It limits its starts.
    Limited,
    /// It delivers in batches.
    Batching,
    /// It deduplicates.
    Deduplicating,
    /// It delivers at ticks.
    Scheduled,
}

impl Kind {
    pub(super) const ALL: &[Self] =
        &[Self::Plain, Self::DeadLettering, Self::Limited, Self::Batching, Self::Deduplicating, Self::Scheduled];

    /// The name of the queue of this kind. The one that batches is the one that mails go through.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::DeadLettering => "dead-lettering",
            Self::Limited => "limited",
            Self::Batching => "email_notification",
            Self::Deduplicating => "deduplicating",
            Self::Scheduled => "scheduled",
        }
    }
}

/// The numbers of one queue; which of them count depends on its kind.
#[derive(Clone, Debug)]
pub(super) struct Small {
    pub(super) kind: Kind,
    priority: &'static str,
    /// 0 is infinite, where there is no dead letter queue.
    attempts: u32,
    first_ms: u64,
    max_factor: u64,
    jitter_percent: u32,
    timeout_ms: u64,
    size: u32,
    wait_ms: u64,
    starts: u32,
    per_ms: u64,
    every_ms: u64,
}

/// One queue of each of `kinds`.
pub(super) fn small(kinds: &'static [Kind]) -> impl Strategy<Value = Vec<Small>> {
    kinds.iter().map(|&kind| one(kind)).collect::<Vec<_>>()
}

/// As [`small`], with every number at the edge of what is allowed or next to it.
pub(super) fn smallest(kinds: &'static [Kind]) -> impl Strategy<Value = Vec<Small>> {
    kinds.iter().map(|&kind| smallest_one(kind)).collect::<Vec<_>>()
}

fn smallest_one(kind: Kind) -> impl Strategy<Value = Small> {
    let edges = (1_u32..=2, prop_oneof![Just(0_u64), 1_u64..=20], 1_u32..=2, 1_u64..=50);
    (one(kind), edges).prop_map(|(small, (least, first_ms, few, short_ms))| Small {
        attempts: if small.attempts == 0 { 0 } else { least },
        first_ms,
        max_factor: 1 + u64::from(few) % 2,
        timeout_ms: TIMEOUT_MIN_MS,
        size: least,
        wait_ms: short_ms,
        starts: few,
        per_ms: 200,
        every_ms: 500,
        ..small
    })
}

fn one(kind: Kind) -> impl Strategy<Value = Small> {
    let priority = prop::sample::select(&["high", "medium", "low", "background"][..]);
    let retries = (priority, 0_u32..=5, prop_oneof![Just(0), 20_u64..600], 1_u64..=6, 0_u32..=20);
    let limits = (TIMEOUT_MIN_MS..4_000, 1_u32..=6, 50_u64..2_000, 1_u32..=6, 200_u64..2_500, 500_u64..5_000);
    (retries, limits).prop_map(move |(retries, limits)| {
        let (priority, attempts, first_ms, max_factor, jitter_percent) = retries;
        let (timeout_ms, size, wait_ms, starts, per_ms, every_ms) = limits;
        Small {
            kind,
            priority,
            attempts,
            first_ms,
            max_factor,
            jitter_percent,
            timeout_ms,
            size,
            wait_ms,
            starts,
            per_ms,
            every_ms,
        }
    })
}

impl Small {
    pub(super) fn is_infinite(&self) -> bool {
        self.attempts == 0 && self.kind != Kind::DeadLettering || self.kind == Kind::Scheduled
    }

    /// The queue as it stands in a file.
    pub(super) fn write(&self, text: &mut String) {
        let mut lines = vec![format!("[{}]", self.kind.name()), format!("priority = {:?}", self.priority)];
        lines.push(match self.is_infinite() {
            true => "attempts = \"infinite\"".into(),
            false => format!("attempts = {}", self.attempts.max(1)),
        });
        lines.push(format!("timeout_ms = {}", self.timeout_ms));
        lines.extend(self.backoff());
        lines.extend(self.speciality());
        writeln!(text, "{}\n", lines.join("\n")).expect("a string takes all");
    }

    fn backoff(&self) -> Option<String> {
        // A job that is tried for ever needs a wait, or it takes up the whole run.
        let first_ms = if self.is_infinite() { self.first_ms.max(50) } else { self.first_ms };
        let max_ms = first_ms * self.max_factor;
        let jitter = self.jitter_percent;
        match (self.kind, first_ms) {
            (Kind::Scheduled, _) => Some("backoff = \"next-tick\"".into()),
            (_, 0) => None,
            _ => Some(format!("backoff = {{ first_ms = {first_ms}, max_ms = {max_ms}, jitter_percent = {jitter} }}")),
        }
    }

    fn speciality(&self) -> Vec<String> {
        let Self { kind, size, wait_ms, starts, per_ms, every_ms, .. } = self;
        match kind {
            Kind::Plain => Vec::new(),
            Kind::DeadLettering => vec!["dead_letter_queue = \"dead\"".into()],
            Kind::Limited => vec![format!("rate_limit = {{ starts = {starts}, per_ms = {per_ms} }}")],
            Kind::Batching => vec![format!("batch = {{ size = {size}, wait_ms = {wait_ms} }}")],
            Kind::Deduplicating => vec!["deduplication = \"key\"".into()],
            Kind::Scheduled => {
                vec![format!("batch = {{ size = {} }}", 4 * size), format!("schedule = {{ every_ms = {every_ms} }}")]
            }
        }
    }
}

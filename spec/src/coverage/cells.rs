//! Cells of faults: the family of a fault × the state that some job is in when it strikes × the role that it strikes.
//!
//! A new kind of fault counts at once, as a family of its own. What a sweep must reach of it is one line in [`DECLARED`].

use super::story::Story;
use crate::history::Fault;

/// The states of a job that a fault may find. A job is delayed while its retry or its tick is not due.
pub const STATES: [&str; 5] = ["waiting", "delayed", "processing", "dead-lettered", "ended"];

/// Kinds of faults that count as one family. Any other kind is a family of its own.
const FAMILIES: &[(&str, &[&str])] = &[
    ("partition", &["partition", "partition-oneway"]),
    ("delay", &["hold", "latency"]),
    ("clock", &["clock-step", "clock-drift"]),
];

/// The families that strike links, those that strike hosts, and the clock's.
const LINKED: &[&str] = &["partition", "delay", "loss"];
const HOSTED: &[&str] = &["kill", "power", "pause"];
const CLOCKED: &[&str] = &["clock"];

const ALL: &[&str] = &STATES;
const BEFORE_THE_END: &[&str] = &["waiting", "delayed", "processing"];
const AROUND_THE_END: &[&str] = &["processing", "dead-lettered", "ended"];

/// What a sweep must reach: families, the role or the link that they strike, and the states that make a difference there.
const DECLARED: &[(&[&str], &str, &[&str])] = &[
    (LINKED, "api-broker", ALL),
    (LINKED, "api-users", ALL),
    (LINKED, "broker-notifier", AROUND_THE_END),
    (LINKED, "broker-processor", BEFORE_THE_END),
    (LINKED, "notifier-users", AROUND_THE_END),
    (LINKED, "outside-processor", &["delayed", "processing"]),
    (&["delay"], "all", ALL),
    (HOSTED, "broker", ALL),
    (HOSTED, "api", ALL),
    (HOSTED, "notifier", AROUND_THE_END),
    (HOSTED, "processor", BEFORE_THE_END),
    (CLOCKED, "broker", ALL),
    (CLOCKED, "api", ALL),
    (CLOCKED, "notifier", AROUND_THE_END),
    (CLOCKED, "processor", BEFORE_THE_END),
];

/// A family of faults at a role or a link, and the states in which it must be seen to strike there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The family.
    pub family: &'static str,
    /// The role; of a link, both in alphabetical order with a `-` between; `all` for what strikes everything.
    pub role: &'static str,
    /// Some of [`STATES`].
    pub states: &'static [&'static str],
}

impl Place {
    /// The names of its cells.
    pub fn cells(&self) -> impl Iterator<Item = String> + use<> {
        let Self { family, role, states } = *self;
        states.iter().map(move |state| cell(family, state, role))
    }

    /// The name of its cell for one of [`STATES`].
    pub fn cell(&self, state: &str) -> String {
        cell(self.family, state, self.role)
    }
}

/// Every place that is declared.
pub fn places() -> Vec<Place> {
    let of = |&(families, role, states): &(&'static [&'static str], &'static str, &'static [&'static str])| {
        families.iter().map(move |&family| Place { family, role, states })
    };
    DECLARED.iter().flat_map(of).collect()
}

fn cell(family: &str, state: &str, role: &str) -> String {
    format!("fault/{family} × {state} × {role}")
}

fn family(kind: &str) -> &str {
    let of = FAMILIES.iter().find(|(_, kinds)| kinds.contains(&kind));
    of.map_or(kind, |(family, _)| family)
}

/// The cells that `fault` reaches as it begins.
pub(super) fn struck(story: &Story, at: u64, fault: &Fault) -> Vec<String> {
    let role = role(story, &fault.on);
    let processor = fault.on.iter().find(|host| is_processor(story, host));
    let states = story.states(at, processor.map(String::as_str));
    STATES
        .into_iter()
        .zip(states)
        .filter(|(_, found)| *found)
        .map(|(state, _)| cell(family(&fault.kind), state, &role))
        .collect()
}

/// The role of one host, the link of several, or all.
fn role(story: &Story, on: &[String]) -> String {
    let role = |host: &String| if is_processor(story, host) { "processor".to_owned() } else { host.clone() };
    let mut roles: Vec<_> = on.iter().map(role).collect();
    roles.sort();
    if roles.is_empty() { "all".into() } else { roles.join("-") }
}

fn is_processor(story: &Story, host: &str) -> bool {
    story.processors.contains_key(host) || host.starts_with("processor")
}

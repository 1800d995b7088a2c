//! What a scenario may state of its faults.

use toml::Table;

use super::{TIME_MAX_MS, Wrong, check_range, check_time};
use crate::scenario::{FaultKind, FaultSpec};

/// The longest time that a message may be made to take.
const LATENCY_MAX_MS: u64 = 60_000;

/// The most that a clock may run fast or slow, in millionths.
const DRIFT_MAX_PPM: i64 = 100_000;

/// The most that a sync may be made to take longer.
const SLOW_MAX_MS: u64 = 5_000;

/// Every kind of fault with its keys; those that may be left out end with a question mark.
const KINDS: [(&str, &[&str]); 15] = [
    ("partition", &["between"]),
    ("partition-oneway", &["from", "to"]),
    ("hold", &["between"]),
    ("loss", &["between", "percent"]),
    ("latency", &["min_ms", "max_ms"]),
    ("kill", &["host"]),
    ("power", &["host", "remains?"]),
    ("crash-after-commit", &["host"]),
    ("pause", &["host"]),
    ("clock-step", &["host", "by_ms"]),
    ("clock-drift", &["host", "ppm"]),
    ("repeat", &["host"]),
    ("disk-slow", &["host", "by_ms"]),
    ("disk-full", &["host"]),
    ("disk-errors", &["host", "permille"]),
];

/// Which hosts a fault may strike.
#[derive(Clone, Copy, PartialEq)]
enum Hosts {
    /// Any: messages come and go everywhere.
    All,
    /// All but the users: they tell what they see, and must live to tell it.
    NotUsers,
    /// Those that have a clock of their own.
    WithClock,
    /// The one that has a disk.
    WithDisk,
    /// Those that ask for what can be repeated.
    Asking,
}

/// Checks that the table has the keys of its kind and no other.
pub(super) fn check_keys(table: &Table) -> Wrong {
    let kinds = || KINDS.map(|(kind, _)| kind).join(", ");
    let Some(kind) = table.get("kind") else {
        return Err(format!("it needs a kind: one of {}", kinds()));
    };
    let known = KINDS.iter().find(|(name, _)| kind.as_str() == Some(name));
    let Some((kind, keys)) = known else {
        return Err(format!("there is no kind {kind}; there are {}", kinds()));
    };
    let needed = || ["at_ms", "for_ms", "kind"].into_iter().chain(keys.iter().copied());
    if let Some(key) = needed().find(|key| !key.ends_with('?') && !table.contains_key(*key)) {
        return Err(format!("a {kind} needs {key}"));
    }
    let allowed = || needed().map(|key| key.trim_end_matches('?'));
    if let Some(key) = table.keys().find(|key| !allowed().any(|allowed| allowed == *key)) {
        let allowed: Vec<_> = allowed().collect();
        return Err(format!("a {kind} has no {key:?}; allowed: {}", allowed.join(", ")));
    }
    Ok(())
}

pub(super) fn check(fault: &FaultSpec, processors: u32) -> Wrong {
    check_time("at_ms", fault.at_ms)?;
    check_range("for_ms", fault.for_ms, 1, TIME_MAX_MS)?;
    check_kind(&fault.kind)?;
    let hosts = match &fault.kind {
        FaultKind::Kill { .. } | FaultKind::Power { .. } | FaultKind::Pause { .. } => Hosts::NotUsers,
        FaultKind::ClockStep { .. } | FaultKind::ClockDrift { .. } => Hosts::WithClock,
        FaultKind::CrashAfterCommit { .. } => Hosts::WithDisk,
        FaultKind::DiskSlow { .. } | FaultKind::DiskFull { .. } | FaultKind::DiskErrors { .. } => Hosts::WithDisk,
        FaultKind::Repeat { .. } => Hosts::Asking,
        _ => Hosts::All,
    };
    let struck = fault.kind.hosts();
    if let [one, other] = struck[..]
        && one == other
    {
        return Err(format!("{one:?} twice; it needs two hosts"));
    }
    struck.into_iter().try_for_each(|host| check_host(host, hosts, processors))
}

fn check_kind(kind: &FaultKind) -> Wrong {
    match *kind {
        FaultKind::Loss { percent, .. } => check_range("percent", percent.into(), 0, 100),
        FaultKind::Latency { min_ms, max_ms } if max_ms < min_ms => {
            Err(format!("max_ms ({max_ms}) is below min_ms ({min_ms})"))
        }
        FaultKind::Latency { max_ms, .. } => check_range("max_ms", max_ms, 0, LATENCY_MAX_MS),
        FaultKind::ClockStep { by_ms, .. } if TIME_MAX_MS < by_ms.unsigned_abs() => {
            Err(format!("by_ms is {by_ms}; allowed: -{TIME_MAX_MS} to {TIME_MAX_MS} (24 hours)"))
        }
        FaultKind::ClockDrift { ppm, .. } if DRIFT_MAX_PPM < ppm.saturating_abs() => {
            Err(format!("ppm is {ppm}; allowed: -{DRIFT_MAX_PPM} to {DRIFT_MAX_PPM} (10 %)"))
        }
        FaultKind::DiskSlow { by_ms, .. } => check_range("by_ms", by_ms, 1, SLOW_MAX_MS),
        FaultKind::DiskErrors { permille, .. } => check_range("permille", permille.into(), 1, 1_000),
        _ => Ok(()),
    }
}

fn check_host(host: &str, hosts: Hosts, processors: u32) -> Wrong {
    let fixed = match hosts {
        Hosts::All => &["api", "broker", "notifier", "outside", "users"][..],
        Hosts::NotUsers => &["api", "broker", "notifier", "outside"],
        Hosts::WithClock => &["api", "broker", "notifier"],
        Hosts::WithDisk => &["broker"],
        Hosts::Asking => &["users"],
    };
    let processors = if hosts == Hosts::WithDisk { 0 } else { processors };
    let processor = (1..=processors).any(|n| host == format!("processor-{n}"));
    if processor || fixed.contains(&host) {
        return Ok(());
    }
    let more = match processors {
        0 => String::new(),
        1 => ", processor-1".into(),
        last => format!(", processor-1 to processor-{last}"),
    };
    Err(format!("host {host:?} is not allowed here; allowed: {}{more}", fixed.join(", ")))
}

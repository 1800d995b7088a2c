//! Reading a scenario file: whatever is wrong becomes one error that says where and what is allowed.
//!
//! The file is read twice. The first pass finds the lines of its tables and checks the keys of faults, which the second
//! cannot, since each kind of fault has keys of its own.

mod faults;
mod jobs;
mod ops;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::{Spanned, Table};

use super::{JOBS_MAX, Scenario};
use crate::clause;
use crate::queues::Queues;

/// The longest time that a scenario may state: 24 hours.
const TIME_MAX_MS: u64 = 24 * 3_600_000;

/// The longest name of a scenario, a label or a user.
const NAME_CHARS_MAX: usize = 64;

/// The most processors.
const PROCESSORS_MAX: u32 = 32;

/// The most slots of one processor.
const SLOTS_MAX: u32 = 1_000;

/// What is wrong with a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read scenario: {0}")]
pub struct Error(pub String);

/// What is wrong, without the place.
type Wrong<T = ()> = Result<T, String>;

/// Where the tables of a file stand.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    job: Vec<Spanned<IgnoredAny>>,
    #[serde(default)]
    op: Vec<Spanned<IgnoredAny>>,
    #[serde(default)]
    fault: Vec<Spanned<Table>>,
}

pub(super) fn parse(text: &str) -> Result<Scenario, Error> {
    let unreadable = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Error(format!("line {line}: {}", error.message().trim_end()))
    };
    let places: Places = toml::from_str(text).map_err(unreadable)?;
    for (n, table) in places.fault.iter().enumerate() {
        let place = |message| place(text, table.span().start, &format!("fault {}", n + 1), message);
        faults::check_keys(table.get_ref()).map_err(place)?;
    }
    let scenario: Scenario = toml::from_str(text).map_err(unreadable)?;
    check(&scenario, &places, text)?;
    Ok(scenario)
}

fn line_of(text: &str, byte: usize) -> usize {
    text[..byte.min(text.len())].matches('\n').count() + 1
}

fn place(text: &str, byte: usize, what: &str, message: String) -> Error {
    Error(format!("line {}: {what}: {message}", line_of(text, byte)))
}

fn check(scenario: &Scenario, places: &Places, text: &str) -> Result<(), Error> {
    let queues = check_whole(scenario).map_err(Error)?;
    let mut labels = BTreeMap::new();
    for (spec, at) in scenario.job_specs.iter().zip(&places.job) {
        let place = |message| place(text, at.span().start, &format!("job {:?}", spec.label), message);
        jobs::check(spec, &queues, &mut labels).map_err(place)?;
    }
    for (n, (op, at)) in scenario.ops.iter().zip(&places.op).enumerate() {
        let place = |message| place(text, at.span().start, &format!("op {}", n + 1), message);
        ops::check(op, scenario, &labels, &queues).map_err(place)?;
    }
    for (n, (fault, at)) in scenario.faults.iter().zip(&places.fault).enumerate() {
        let place = |message| place(text, at.span().start, &format!("fault {}", n + 1), message);
        faults::check(fault, scenario.processors).map_err(place)?;
    }
    Ok(())
}

/// Checks what stands at the top of the file; the policies in force.
fn check_whole(scenario: &Scenario) -> Wrong<Queues> {
    check_name("name", &scenario.name, "")?;
    check_range("processors", scenario.processors.into(), 1, PROCESSORS_MAX.into())?;
    check_range("slots", scenario.slots.into(), 1, SLOTS_MAX.into())?;
    if let Some(run_ms) = scenario.run_ms {
        check_time("run_ms", run_ms)?;
    }
    for id in &scenario.exercises {
        if clause::find(id).is_none() {
            return Err(format!("exercises: there is no clause {id:?}; see the catalogue"));
        }
    }
    let requests = scenario.job_specs.iter().map(|job| u64::from(job.count) * (1 + job.again_ms.len() as u64));
    let requests = requests.fold(0_u64, u64::saturating_add);
    if requests > JOBS_MAX as u64 {
        return Err(format!("it enqueues {requests} jobs; allowed: at most {JOBS_MAX}"));
    }
    match &scenario.queues {
        Some(text) => {
            Queues::parse(text).map_err(|error| format!("queues: line {} of their text: {}", error.line, error.message))
        }
        None => Ok(Queues::default()),
    }
}

/// Names stand in file names, payloads and tokens.
fn check_name(what: &str, name: &str, more: &str) -> Wrong {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || more.contains(c);
    if name.is_empty() || NAME_CHARS_MAX < name.len() || !name.chars().all(legal) {
        let more: String = more.chars().map(|c| format!(" {c}")).collect();
        return Err(format!("{what} {name:?} is not allowed: it needs 1 to {NAME_CHARS_MAX} of a-z 0-9 -{more}"));
    }
    Ok(())
}

fn check_user(user: &str) -> Wrong {
    if user == "operator" {
        return Err("user \"operator\" is not allowed: operators are no users".into());
    }
    check_name("user", user, "_")
}

fn check_range(what: &str, n: u64, min: u64, max: u64) -> Wrong {
    if (min..=max).contains(&n) { Ok(()) } else { Err(format!("{what} is {n}; allowed: {min} to {max}")) }
}

fn check_time(what: &str, ms: u64) -> Wrong {
    if ms <= TIME_MAX_MS { Ok(()) } else { Err(format!("{what} is {ms}; allowed: 0 to {TIME_MAX_MS} (24 hours)")) }
}

/// The names of `queues`, for a message.
fn names(queues: &Queues) -> String {
    queues.iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

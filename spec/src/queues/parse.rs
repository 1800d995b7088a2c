//! Reading `queues.toml`. Whatever is wrong becomes one error with the line, the key and what is allowed.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::{
    Attempts, BATCH_SIZE_MAX, Backoff, Batch, DURATION_MAX_MS, Exponential, Policy, Priority, RateLimit, Schedule,
};

/// What is wrong with a queues file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read queues: line {line}: {message}")]
pub struct Error {
    /// The line at fault, from 1.
    pub line: usize,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// A policy as it stands in the file, each value with its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with a queue's policy")]
struct RawPolicy {
    priority: Priority,
    attempts: Spanned<Value>,
    timeout_ms: Spanned<i64>,
    backoff: Option<Spanned<Value>>,
    dead_letter_queue: Option<Spanned<String>>,
    rate_limit: Option<Spanned<RawRateLimit>>,
    batch: Option<Spanned<RawBatch>>,
    deduplication: Option<Spanned<String>>,
    schedule: Option<Spanned<RawSchedule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRateLimit {
    starts: i64,
    per_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBatch {
    size: i64,
    wait_ms: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchedule {
    every_ms: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBackoff {
    first_ms: i64,
    max_ms: i64,
    jitter_percent: Option<i64>,
}

/// A message and the bytes of the file it speaks of.
type Fault = (Range<usize>, String);

pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Policy>, Error> {
    let raw: BTreeMap<Spanned<String>, RawPolicy> = toml::from_str(text).map_err(|error| Error {
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().to_owned(),
    })?;
    let policies = interpret(raw).map_err(|(span, message)| Error { line: line_of(text, span.start), message })?;
    if policies.is_empty() {
        return Err(Error { line: 1, message: "no queue is stated; begin one with [its_name]".into() });
    }
    Ok(policies)
}

fn line_of(text: &str, byte: usize) -> usize {
    text[..byte.min(text.len())].matches('\n').count() + 1
}

fn interpret(raw: BTreeMap<Spanned<String>, RawPolicy>) -> Result<BTreeMap<String, Policy>, Fault> {
    let mut policies = BTreeMap::new();
    let mut dead_letter_queues = Vec::new();
    for (name, policy) in raw {
        check_name(name.get_ref(), "queue", name.span())?;
        if let Some(dead) = &policy.dead_letter_queue {
            dead_letter_queues.push((dead.get_ref().clone(), dead.span()));
        }
        policies.insert(name.get_ref().clone(), interpret_policy(policy)?);
    }
    check_dead_letter_queues(&policies, dead_letter_queues)?;
    Ok(policies)
}

/// Queue names stand in URLs and file names; `any` stands for all queues there.
fn check_name(name: &str, what: &str, span: Range<usize>) -> Result<(), Fault> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() || 64 < name.len() || !name.chars().all(legal) || name == "any" {
        let rule = "1 to 64 of a-z, 0-9, _ and -, and not \"any\"";
        return Err((span, format!("{what} name {name:?} is not allowed: it needs {rule}")));
    }
    Ok(())
}

fn check_dead_letter_queues(
    policies: &BTreeMap<String, Policy>,
    dead: Vec<(String, Range<usize>)>,
) -> Result<(), Fault> {
    for (i, (name, span)) in dead.iter().enumerate() {
        if policies.contains_key(name) {
            return Err((
                span.clone(),
                format!("dead_letter_queue {name:?} is also a queue; give it a name of its own"),
            ));
        }
        if dead[..i].iter().any(|(other, _)| other == name) {
            return Err((span.clone(), format!("dead_letter_queue {name:?} belongs to another queue already")));
        }
    }
    Ok(())
}

fn interpret_policy(raw: RawPolicy) -> Result<Policy, Fault> {
    let schedule = raw.schedule.map(interpret_schedule).transpose()?;
    let policy = Policy {
        priority: raw.priority,
        attempts: interpret_attempts(&raw.attempts)?,
        backoff: interpret_backoff(raw.backoff, schedule.is_some())?,
        timeout_ms: duration(*raw.timeout_ms.get_ref(), "timeout_ms", raw.timeout_ms.span())?,
        dead_letter_queue: raw.dead_letter_queue.map(interpret_dead_letter_queue).transpose()?,
        rate_limit: raw.rate_limit.map(interpret_rate_limit).transpose()?,
        batch: raw.batch.map(|batch| interpret_batch(&batch, schedule.is_some())).transpose()?,
        deduplication: raw.deduplication.map(interpret_deduplication).transpose()?.unwrap_or(false),
        schedule,
    };
    if policy.dead_letter_queue.is_some() && policy.attempts.max().is_none() {
        let message = "a dead_letter_queue is never reached with attempts = \"infinite\"; state a number of attempts";
        return Err((raw.attempts.span(), message.into()));
    }
    Ok(policy)
}

fn interpret_dead_letter_queue(raw: Spanned<String>) -> Result<String, Fault> {
    check_name(raw.get_ref(), "dead letter queue", raw.span())?;
    Ok(raw.into_inner())
}

fn interpret_attempts(raw: &Spanned<Value>) -> Result<Attempts, Fault> {
    match raw.get_ref() {
        Value::Integer(n) => count(*n, "attempts", u32::MAX, raw.span()).map(Attempts::Limited),
        Value::String(word) if word == "infinite" => Ok(Attempts::INFINITE),
        other => Err((raw.span(), format!("attempts is {other}; allowed: a whole number from 1, or \"infinite\""))),
    }
}

fn interpret_backoff(raw: Option<Spanned<Value>>, scheduled: bool) -> Result<Backoff, Fault> {
    const ALLOWED: &str = "\"none\", \"next-tick\", or { first_ms, max_ms, jitter_percent }";
    let Some(raw) = raw else { return Ok(Backoff::None) };
    let span = raw.span();
    match raw.into_inner() {
        Value::String(word) if word == "none" => Ok(Backoff::None),
        Value::String(word) if word == "next-tick" && scheduled => Ok(Backoff::NextTick),
        Value::String(word) if word == "next-tick" => {
            Err((span, "backoff = \"next-tick\" needs a schedule on the same queue".into()))
        }
        Value::Table(table) => {
            let raw = table.try_into::<RawBackoff>();
            interpret_exponential(&raw.map_err(|e| (span.clone(), format!("backoff: {}", e.message())))?, span)
        }
        other => Err((span, format!("backoff is {other}; allowed: {ALLOWED}"))),
    }
}

fn interpret_exponential(raw: &RawBackoff, span: Range<usize>) -> Result<Backoff, Fault> {
    let first_ms = duration(raw.first_ms, "first_ms", span.clone())?;
    let max_ms = duration(raw.max_ms, "max_ms", span.clone())?;
    let jitter = raw.jitter_percent.unwrap_or(0);
    if max_ms < first_ms {
        return Err((span, format!("backoff: max_ms ({max_ms}) is below first_ms ({first_ms})")));
    }
    let jitter_percent = u32::try_from(jitter).ok().filter(|&percent| percent <= 100);
    let Some(jitter_percent) = jitter_percent else {
        return Err((span, format!("backoff: jitter_percent is {jitter}; allowed: 0 to 100")));
    };
    Ok(Backoff::Exponential(Exponential { first_ms, max_ms, jitter_percent }))
}

fn interpret_rate_limit(raw: Spanned<RawRateLimit>) -> Result<RateLimit, Fault> {
    let span = raw.span();
    let starts = count(raw.get_ref().starts, "starts", 1_000_000, span.clone())?;
    Ok(RateLimit { starts, per_ms: duration(raw.get_ref().per_ms, "per_ms", span)? })
}

fn interpret_batch(raw: &Spanned<RawBatch>, scheduled: bool) -> Result<Batch, Fault> {
    let span = raw.span();
    let size = count(raw.get_ref().size, "size", BATCH_SIZE_MAX, span.clone())?;
    let wait_ms = match (raw.get_ref().wait_ms, scheduled) {
        (Some(_), true) => return Err((span, "a scheduled queue's batch waits for the tick; remove wait_ms".into())),
        (None, false) => return Err((span, "batch needs wait_ms: how long its oldest job may wait for others".into())),
        (wait_ms, _) => wait_ms.map(|ms| duration(ms, "wait_ms", span)).transpose()?,
    };
    Ok(Batch { size, wait_ms })
}

fn interpret_deduplication(raw: Spanned<String>) -> Result<bool, Fault> {
    match raw.get_ref().as_str() {
        "key" => Ok(true),
        other => Err((raw.span(), format!("deduplication is {other:?}; allowed: \"key\""))),
    }
}

fn interpret_schedule(raw: Spanned<RawSchedule>) -> Result<Schedule, Fault> {
    let span = raw.span();
    Ok(Schedule { every_ms: duration(raw.get_ref().every_ms, "every_ms", span)? })
}

fn duration(ms: i64, key: &str, span: Range<usize>) -> Result<u64, Fault> {
    let legal = u64::try_from(ms).ok().filter(|ms| (1..=DURATION_MAX_MS).contains(ms));
    legal.ok_or_else(|| (span, format!("{key} is {ms}; allowed: 1 to {DURATION_MAX_MS} (30 days)")))
}

fn count(n: i64, key: &str, max: u32, span: Range<usize>) -> Result<u32, Fault> {
    let legal = u32::try_from(n).ok().filter(|n| (1..=max).contains(n));
    legal.ok_or_else(|| (span, format!("{key} is {n}; allowed: 1 to {max}")))
}

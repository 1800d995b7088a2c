//! What a scenario may state of its jobs.

use std::collections::BTreeMap;

use super::{TIME_MAX_MS, Wrong, check_name, check_range, check_time, check_user, names};
use crate::queues::Queues;
use crate::scenario::{Act, JOBS_MAX, JobSpec};

/// The largest payload that the API takes: 128 KB.
const PAYLOAD_BYTES_MAX: u64 = 131_072;

/// The longest entity and the longest idempotency key.
const KEY_CHARS_MAX: usize = 200;

/// The queue that mails go through.
const MAILS: &str = "email_notification";

/// Checks one table of jobs and takes its labels in, each with its queue.
pub(super) fn check<'a>(spec: &'a JobSpec, queues: &Queues, labels: &mut BTreeMap<String, &'a str>) -> Wrong {
    check_name("label", &spec.label.replace("{n}", "0"), "_.")?;
    check_user(&spec.user)?;
    check_range("count", spec.count.into(), 1, JOBS_MAX as u64)?;
    check_range("payload_bytes", spec.payload_bytes, 0, PAYLOAD_BYTES_MAX)?;
    check_times(spec)?;
    check_queue(spec, queues)?;
    check_key("key", spec.key.as_deref())?;
    check_key("idempotency_key", spec.idempotency_key.as_deref())?;
    if !spec.again_ms.is_empty() && spec.idempotency_key.is_none() {
        return Err("again_ms needs an idempotency_key; without one, a further request makes a further job".into());
    }
    for behaviour in &spec.attempts {
        check_time("after_ms", behaviour.after_ms)?;
        if behaviour.effect && !matches!(behaviour.act, Act::Fail | Act::Crash) {
            return Err("effect is for attempts that fail or crash; a success has its effect always".into());
        }
    }
    for n in 0..spec.count {
        let label = spec.planned(n).label;
        if labels.contains_key(&label) {
            return Err(format!("label {label:?} is there already; each job needs one of its own"));
        }
        labels.insert(label, &spec.queue);
    }
    Ok(())
}

fn check_times(spec: &JobSpec) -> Wrong {
    check_time("at_ms", spec.at_ms)?;
    check_time("every_ms", spec.every_ms)?;
    spec.again_ms.iter().try_for_each(|&ms| check_time("again_ms", ms))?;
    let last_ms = spec.at_ms + spec.every_ms.saturating_mul(u64::from(spec.count) - 1);
    if TIME_MAX_MS < last_ms {
        return Err(format!(
            "the last of its {} jobs is at {last_ms}; allowed: 0 to {TIME_MAX_MS} (24 hours)",
            spec.count
        ));
    }
    Ok(())
}

fn check_queue(spec: &JobSpec, queues: &Queues) -> Wrong {
    let queue = &spec.queue;
    let Some(policy) = queues.get(queue) else {
        return Err(format!("there is no queue {queue:?}; there are {}", names(queues)));
    };
    match (&spec.key, policy.deduplication) {
        (None, true) => {
            return Err(format!("queue {queue} deduplicates: it needs a key, the entity's id"));
        }
        (Some(_), false) => return Err(format!("queue {queue} does not deduplicate: remove key")),
        _ => {}
    }
    if spec.email && (queue == MAILS || queues.get(MAILS).is_none()) {
        return Err(format!("email needs a queue {MAILS}, and a mail's own end is told by WebSocket alone"));
    }
    Ok(())
}

/// Keys are sent as they are, in JSON and in a header.
fn check_key(what: &str, key: Option<&str>) -> Wrong {
    let Some(key) = key else { return Ok(()) };
    let legal = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    if key.is_empty() || KEY_CHARS_MAX < key.len() || !key.chars().all(legal) {
        let rule = format!("1 to {KEY_CHARS_MAX} visible ASCII characters, no quote and no backslash");
        return Err(format!("{what} {key:?} is not allowed: it needs {rule}"));
    }
    Ok(())
}

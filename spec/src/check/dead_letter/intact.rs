//! `dead-letter/intact`: a dead letter keeps its payload, its last error, and every attempt with its error and time.

use super::spent::{Dead, Spent};
use crate::check::Seen;
use crate::clause::Place;
use crate::history::{DeadAttempt, DeadLetter, DeadLetters};
use crate::verdict::Notes;

const INTACT: Place = Place::of("dead-letter/intact");

/// Compares the entries of a read with what is known of them.
pub(super) fn see(seen: &Seen<'_>, read: &DeadLetters, spent: &mut Spent, notes: &mut Notes) {
    for (entry, &job) in read.entries.iter().zip(seen.jobs) {
        let Some(dead) = spent.get_mut(job) else {
            continue;
        };
        notes.exercised(INTACT);
        let Some(what) = difference(entry, dead, time_error_ms(seen)) else {
            continue;
        };
        if dead.told.insert(INTACT) {
            let says = format!("{} in {} {what}", entry.job, read.dead_letter_queue);
            let lines = dead.lines.iter().copied().chain([seen.line]).collect();
            notes.broken(INTACT, says, lines);
        }
    }
}

/// By how much a kept time may differ from what was seen: seen from outside, by the way to the queue and back.
fn time_error_ms(seen: &Seen<'_>) -> u64 {
    let slack = seen.ledger.slack();
    slack.clock_error_ms + if seen.ledger.header.inferred { slack.late_ms } else { 0 }
}

/// In what `entry` differs from what is known, if it does. Times may differ by `error_ms`.
fn difference(entry: &DeadLetter, dead: &Dead, error_ms: u64) -> Option<String> {
    if *entry.payload != *dead.payload {
        return Some(format!("has the payload {}, not {}", entry.payload, dead.payload));
    }
    let attempts = entry.attempts.as_ref().and_then(|kept| attempts_differ(kept, dead, error_ms));
    attempts.or_else(|| last_error_differs(entry.error.as_deref()?, dead))
}

fn attempts_differ(kept: &[DeadAttempt], dead: &Dead, error_ms: u64) -> Option<String> {
    if kept.len() != dead.attempts.len() {
        return Some(format!("tells of {} attempts, not of all {}", kept.len(), dead.attempts.len()));
    }
    for (kept, had) in kept.iter().zip(&dead.attempts) {
        if kept.attempt != had.number {
            return Some(format!("tells of attempt {} in place of {}", kept.attempt, had.number));
        }
        if had.error.as_ref().is_some_and(|error| **error != *kept.error) {
            let error = had.error.as_deref().unwrap_or_default();
            return Some(format!(
                "says that attempt {} failed with {:?}, but it was {error:?}",
                kept.attempt, kept.error,
            ));
        }
        if had.ended_clock.is_some_and(|clock| error_ms < clock.abs_diff(kept.ended_at)) {
            let clock = had.ended_clock.unwrap_or_default();
            return Some(format!(
                "says that attempt {} ended at clock {}, but it was {clock}",
                kept.attempt, kept.ended_at,
            ));
        }
    }
    None
}

fn last_error_differs(kept: &str, dead: &Dead) -> Option<String> {
    let last = dead.attempts.last().and_then(|attempt| attempt.error.as_deref())?;
    (kept != last).then(|| format!("has the error {kept:?}, but the last was {last:?}"))
}

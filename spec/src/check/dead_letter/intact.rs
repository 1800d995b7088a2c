//! `dead-letter/intact`: a dead letter keeps its payload, its last error, and every attempt with its error and time.

use super::spent::{Dead, Spent};
use crate::check::Seen;
use crate::history::{DeadAttempt, DeadLetter, DeadLetters};
use crate::verdict::Notes;

const INTACT: &str = "dead-letter/intact";

/// Compares the entries of a read with what is known of them.
pub(super) fn see(seen: &Seen<'_>, read: &DeadLetters, spent: &mut Spent, notes: &mut Notes) {
    for entry in &read.entries {
        let Some(dead) = spent.get_mut(&entry.job) else {
            continue;
        };
        notes.exercised(INTACT);
        let Some(what) = difference(entry, dead, seen.ledger.slack().clock_error_ms) else {
            continue;
        };
        if dead.told.insert(INTACT) {
            let says = format!("{} in {} {what}", entry.job, read.dead_letter_queue);
            let lines = dead.lines.iter().copied().chain([seen.line]).collect();
            notes.broken(INTACT, says, lines);
        }
    }
}

/// In what `entry` differs from what is known, if it does. Times may differ by `clock_error_ms`.
fn difference(entry: &DeadLetter, dead: &Dead, clock_error_ms: u64) -> Option<String> {
    if entry.payload != dead.payload {
        return Some(format!("has the payload {}, not {}", entry.payload, dead.payload));
    }
    let attempts = entry.attempts.as_ref().and_then(|kept| attempts_differ(kept, dead, clock_error_ms));
    attempts.or_else(|| last_error_differs(entry.error.as_deref()?, dead))
}

fn attempts_differ(kept: &[DeadAttempt], dead: &Dead, clock_error_ms: u64) -> Option<String> {
    if kept.len() != dead.attempts.len() {
        return Some(format!("tells of {} attempts, not of all {}", kept.len(), dead.attempts.len()));
    }
    for (kept, had) in kept.iter().zip(&dead.attempts) {
        if kept.attempt != had.number {
            return Some(format!("tells of attempt {} in place of {}", kept.attempt, had.number));
        }
        if had.error.as_ref().is_some_and(|error| *error != kept.error) {
            let error = had.error.as_deref().unwrap_or_default();
            return Some(format!(
                "says that attempt {} failed with {:?}, but it was {error:?}",
                kept.attempt, kept.error,
            ));
        }
        if had.ended_clock.is_some_and(|clock| clock_error_ms < clock.abs_diff(kept.ended_at)) {
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
    let last = dead.attempts.last().and_then(|attempt| attempt.error.as_ref())?;
    (kept != last).then(|| format!("has the error {kept:?}, but the last was {last:?}"))
}

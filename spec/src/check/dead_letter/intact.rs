//! `dead-letter/intact`: a dead letter keeps its payload, its last error, and every attempt with its error and time.

use super::spent::{Dead, Spent};
use crate::check::Seen;
use crate::history::{DeadLetter, DeadLetters};
use crate::verdict::Notes;

const INTACT: &str = "dead-letter/intact";

/// Compares the entries of a read with what is known of them.
pub(super) fn see(seen: &Seen<'_>, read: &DeadLetters, spent: &mut Spent, notes: &mut Notes) {
    for entry in &read.entries {
        let Some(dead) = spent.get_mut(&entry.job) else {
            continue;
        };
        notes.exercised(INTACT);
        let Some(what) = difference(entry, dead) else {
            continue;
        };
        if dead.told.insert(INTACT) {
            let says = format!("{} in {} {what}", entry.job, read.dead_letter_queue);
            let lines = dead.lines.iter().copied().chain([seen.line]).collect();
            notes.broken(INTACT, says, lines);
        }
    }
}

/// In what `entry` differs from what is known, if it does.
fn difference(entry: &DeadLetter, dead: &Dead) -> Option<String> {
    if entry.payload != dead.payload {
        return Some(format!("has the payload {}, not {}", entry.payload, dead.payload));
    }
    if entry.attempts.len() != dead.attempts.len() {
        let (kept, had) = (entry.attempts.len(), dead.attempts.len());
        return Some(format!("tells of {kept} attempts, not of all {had}"));
    }
    for (kept, had) in entry.attempts.iter().zip(&dead.attempts) {
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
        if had.ended_clock.is_some_and(|clock| clock != kept.ended_at) {
            let clock = had.ended_clock.unwrap_or_default();
            return Some(format!(
                "says that attempt {} ended at clock {}, but it was {clock}",
                kept.attempt, kept.ended_at,
            ));
        }
    }
    let last = dead.attempts.last().and_then(|attempt| attempt.error.as_ref())?;
    (entry.error != *last).then(|| format!("has the error {:?}, but the last was {last:?}", entry.error))
}

//! `retry/one-owner`: no two live leases on one job, and only the holder of the live lease can settle it.
//!
//! A lease holds until its end. That the queue calls it lost before does not end it: its holder knows nothing of that.

use std::collections::BTreeSet;

use crate::check::Seen;
use crate::check::ledger::{Attempt, End, Live, word};
use crate::clause::Place;
use crate::history::{AttemptOutcome, Granted, Settled, What};
use crate::verdict::Notes;

const ONE_OWNER: Place = Place::of("retry/one-owner");

#[derive(Default)]
pub(super) struct Owner {}

impl Owner {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Granted(it) => grant(seen, it, notes),
            What::Settled(it) => settle(seen, it, notes),
            _ => {}
        }
    }
}

fn grant(seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
    let mut twice = BTreeSet::new();
    for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
        let Some(live) = seen.ledger.live(job) else {
            continue;
        };
        if 1 < it.jobs.len() && !twice.insert(job) {
            let says = format!("{} is in the delivery {} twice", lease.job, it.delivery);
            notes.broken(ONE_OWNER, says, live.lines_and(seen.line));
        }
        if !live.attempts.is_empty() {
            notes.exercised(ONE_OWNER);
        }
        let Some((holder, lost)) = holder(seen, live, it.clock) else {
            continue;
        };
        let says = format!(
            "{} ({}) was granted to {} at clock {} while attempt {} on {} held a lease until {}{lost}",
            lease.job,
            seen.ledger.queue_name(live.queue),
            it.processor,
            it.clock,
            holder.number,
            seen.ledger.known.processors.text(holder.processor),
            holder.lease_until,
        );
        notes.broken(ONE_OWNER, says, live.lines_and(seen.line));
    }
}

/// The attempt whose lease has surely not run out at `clock`, if there is one, and what the queue has said of it.
fn holder<'a>(seen: &Seen<'_>, live: &'a Live, clock: u64) -> Option<(&'a Attempt, String)> {
    let surely = clock + seen.ledger.slack().clock_error_ms;
    let holder = live.attempts.last().filter(|holder| surely < holder.lease_until)?;
    match &holder.end {
        None => Some((holder, String::new())),
        // Seen from outside, a lease is known only until its processor is struck.
        Some(end) if end.outcome == AttemptOutcome::Lost && !seen.ledger.header.inferred => {
            Some((holder, format!(", which the queue had called lost at clock {}", end.clock)))
        }
        Some(_) => None,
    }
}

fn settle(seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
    if !it.accepted {
        notes.exercised(ONE_OWNER);
        return;
    }
    let wrong = match (seen.ledger.live(seen.named.job), seen.ledger.ended(seen.named.job)) {
        (Some(live), _) => unfit(seen, live, it).map(|why| (why, live.lines_and(seen.line))),
        (None, Some(end)) => Some((over(end), vec![end.line, seen.line])),
        (None, None) => return, // A job out of nowhere is `job/no-phantom`'s.
    };
    if let Some((why, lines)) = wrong {
        let says = format!(
            "{} was settled as {} by attempt {} at clock {}, but {why}",
            it.job,
            word(it.outcome),
            it.attempt,
            it.clock
        );
        notes.exercised(ONE_OWNER);
        notes.broken(ONE_OWNER, says, lines);
    }
}

/// Why the attempt that `it` settles does not hold the lease of a live job, if it does not.
fn unfit(seen: &Seen<'_>, live: &Live, it: &Settled) -> Option<String> {
    let behind = live.attempts.iter().rev().position(|attempt| attempt.number == it.attempt);
    let Some(behind) = behind else {
        return Some("no such attempt was granted".into());
    };
    let attempt = &live.attempts[live.attempts.len() - 1 - behind];
    if let Some(end) = &attempt.end {
        return Some(format!("that attempt had ended at clock {}", end.clock));
    }
    if let Some(newer) = live.attempts.last().filter(|_| 0 < behind) {
        let processor = seen.ledger.known.processors.text(newer.processor);
        return Some(format!(
            "attempt {} had been granted to {processor} at clock {}",
            newer.number, newer.granted_clock
        ));
    }
    // Whether or not somebody has said so yet. Seen from outside, a lease's end is not known so exactly.
    let surely = attempt.lease_until.saturating_add(seen.ledger.slack().clock_error_ms);
    let ran_out = it.outcome != AttemptOutcome::Lost && !seen.ledger.header.inferred && surely < it.clock;
    ran_out.then(|| format!("its lease had held until clock {} alone", attempt.lease_until))
}

fn over(end: &End) -> String {
    format!("the job had {} at clock {}", end.how.words(), end.clock)
}

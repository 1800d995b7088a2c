//! `retry/count`: retry_count is the number of deliveries begun less one, and attempts are numbered from 1.
//!
//! Where the player counts deliveries itself, what a handler was told is compared with its count.
//!
//! A read of the status races with grants: any value that held from the question to the answer is right.

use super::deliveries;
use crate::check::ledger::{End, Live};
use crate::check::number::Job;
use crate::check::print::Table;
use crate::check::{Seen, counted};
use crate::clause::Place;
use crate::history::{Granted, Started, StatusRead, What};
use crate::lifecycle::Status;
use crate::verdict::Notes;

const COUNT: Place = Place::of("retry/count");

#[derive(Default)]
pub(super) struct Count {
    /// When a job was last redriven, on the player's clock, and how many deliveries it had had until then.
    redriven: Table<Job, (u64, u32)>,
}

impl Count {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Granted(it) => self.grant(seen, it, notes),
            What::Started(it) => started(seen, it, notes),
            What::StatusRead(it) => self.read(seen, it, notes),
            What::Redriven(_) => self.redrive(seen),
            _ => {}
        }
    }

    fn redrive(&mut self, seen: &Seen<'_>) {
        let had = seen.ledger.ended(seen.named.job).map_or(0, |end| end.attempts);
        self.redriven.insert(seen.named.job, (seen.event.at, had));
    }

    /// What follows a wrong number is counted from it, so only the first is told. The first number after a redrive is
    /// `dead-letter/redrive`'s.
    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
        for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
            let Some(live) = seen.ledger.live(job) else {
                continue;
            };
            let had = deliveries(live);
            let right_so_far = match live.attempts.last() {
                Some(last) => last.number == had,
                None => !self.redriven.contains(job),
            };
            if 0 < had {
                notes.exercised(COUNT);
            }
            if right_so_far && lease.attempt != had + 1 {
                let says = format!(
                    "delivery {} of {} ({}) was given the number {}",
                    had + 1,
                    lease.job,
                    seen.ledger.queue_name(live.queue),
                    lease.attempt,
                );
                notes.broken(COUNT, says, live.lines_and(seen.line));
            }
        }
    }

    fn read(&mut self, seen: &Seen<'_>, read: &StatusRead, notes: &mut Notes) {
        let Some(row) = &read.row else { return };
        let live = seen.ledger.live(seen.named.job);
        let end = seen.ledger.ended(seen.named.job);
        let (low, high) = match (live, end) {
            (Some(live), _) => {
                // Seen from outside, the queue may be one delivery ahead of what was heard.
                let ahead = seen.ledger.header.inferred && live.leased().is_none() && row.status == Status::Processing;
                let high = deliveries(live) + u32::from(ahead);
                (begun_before(live, read.asked_at), high)
            }
            (None, Some(end)) => (least(end, read.asked_at), end.attempts),
            (None, None) => return,
        };
        notes.exercised(COUNT);
        let of = |deliveries: u32| deliveries.saturating_sub(1);
        let fits = |low: u32, high: u32| (of(low)..=of(high)).contains(&row.retry_count);
        let redriven = self.redriven.get(seen.named.job);
        let before = redriven.filter(|(at, _)| read.asked_at <= *at);
        if fits(low, high) || before.is_some_and(|(_, had)| fits(0, (*had).max(high))) {
            return;
        }
        let says = format!(
            "{} was delivered {}, so its retry_count is {}, but its status at {} says {}",
            read.job,
            counted(high, "time"),
            of(high),
            seen.event.at,
            row.retry_count,
        );
        let of_end = || end.map_or(Vec::new(), |end| vec![end.line, seen.line]);
        notes.broken(COUNT, says, live.map_or_else(of_end, |live| live.lines_and(seen.line)));
    }
}

/// The attempt that handlers were told it is, where they were.
fn started(seen: &Seen<'_>, it: &Started, notes: &mut Notes) {
    for (given, &job) in it.jobs.iter().zip(seen.jobs) {
        let Some(told) = given.told else { continue };
        notes.exercised(COUNT);
        if told == given.attempt {
            continue;
        }
        let says = format!(
            "delivery {} of {} ({}) was given to its handler as attempt {told}",
            given.attempt, given.job, it.queue,
        );
        let live = seen.ledger.live(job);
        notes.broken(COUNT, says, live.map_or(vec![seen.line], |live| live.lines_and(seen.line)));
    }
}

/// Deliveries that had surely begun when the question was sent.
fn begun_before(live: &Live, asked_at: u64) -> u32 {
    live.attempts.partition_point(|attempt| attempt.granted_at < asked_at) as u32
}

/// The same of an ended job. When its last deliveries began is not kept, only that they were over at its end.
fn least(end: &End, asked_at: u64) -> u32 {
    if end.at < asked_at { end.attempts } else { 0 }
}

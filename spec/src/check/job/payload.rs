//! `job/payload`: what a handler gets is what was enqueued.
//!
//! Compared twice: with the newest payload that the queue had accepted when it granted the delivery, and, on a queue that
//! does not coalesce, with what the client asked for that was told of this job. The second works without the queue's word.

use std::rc::Rc;

use super::made::Made;
use super::{ends, enqueue_of};
use crate::check::Seen;
use crate::check::number::Job;
use crate::check::print::Table;
use crate::clause::Place;
use crate::history::{Given, Granted, Reply, Told, What};
use crate::verdict::Notes;

const PAYLOAD: Place = Place::of("job/payload");

/// How many deliveries of a job are remembered for handlers that start late.
const GRANTS_MAX: usize = 4;

#[derive(Default)]
pub(super) struct Payload {
    jobs: Table<Job, Payloads>,
}

/// A payload and the line that shows it.
#[derive(Clone, Debug)]
struct Shown {
    payload: Rc<str>,
    line: u64,
}

/// The payloads of one live job.
#[derive(Default)]
struct Payloads {
    /// What the client asked for.
    asked: Option<Shown>,
    /// Per attempt, the newest accepted at its grant.
    granted: Vec<(u32, Shown)>,
    /// The first that a handler got before the client was told of the job.
    started: Option<Shown>,
}

impl Payload {
    pub(super) fn see(&mut self, seen: &Seen<'_>, made: &Made, notes: &mut Notes) {
        match &seen.event.what {
            What::Reply(it) => self.answer(seen, it, made, notes),
            What::Granted(it) => self.grant(seen, it),
            What::Started(it) => {
                for (given, &job) in it.jobs.iter().zip(seen.jobs) {
                    self.start(seen, given, job, notes);
                }
            }
            _ => {
                if let Some(job) = ends(seen) {
                    self.jobs.remove(job);
                }
            }
        }
    }

    /// Of a repeated idempotency key only the first request says what the job holds.
    fn answer(&mut self, seen: &Seen<'_>, reply: &Reply, made: &Made, notes: &mut Notes) {
        let Some((opened, enqueue)) = enqueue_of(seen) else {
            return;
        };
        let (Told::Ok, Some(name)) = (reply.outcome, &reply.job) else {
            return;
        };
        let job = seen.named.job;
        let coalesces = seen.ledger.policy(opened.named.queue).is_none_or(|policy| policy.deduplication);
        if coalesces || seen.ledger.ended(job).is_some() || !made.is_first(opened, enqueue) {
            return;
        }
        let payloads = self.jobs.at(job);
        let asked = Shown { payload: enqueue.payload.clone(), line: opened.line };
        if let Some(started) = payloads.started.take() {
            notes.exercised(PAYLOAD);
            compare(name, "enqueued", &asked, (&started.payload, started.line), seen.line, notes);
        }
        payloads.asked.get_or_insert(asked);
    }

    fn grant(&mut self, seen: &Seen<'_>, it: &Granted) {
        for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
            let Some(live) = seen.ledger.live(job) else {
                continue;
            };
            let payloads = self.jobs.at(job);
            if payloads.granted.len() == GRANTS_MAX {
                payloads.granted.remove(0);
            }
            let shown = Shown { payload: live.payload.clone(), line: accepted_line(&live.lines) };
            payloads.granted.reserve_exact(1);
            payloads.granted.push((lease.attempt, shown));
        }
    }

    fn start(&mut self, seen: &Seen<'_>, given: &Given, job: Job, notes: &mut Notes) {
        if seen.ledger.ended(job).is_some() {
            return; // A handler that starts after its job's end: what it holds matters no more.
        }
        let payloads = self.jobs.at(job);
        let started = (given.payload.as_str(), seen.line);
        let granted = payloads.granted.iter().rev().find(|(attempt, _)| *attempt == given.attempt);
        if granted.is_some() || payloads.asked.is_some() {
            notes.exercised(PAYLOAD);
        }
        let told = granted
            .is_some_and(|(_, newest)| compare(&given.job, "newest at its grant", newest, started, seen.line, notes));
        match &payloads.asked {
            Some(asked) if !told => drop(compare(&given.job, "enqueued", asked, started, seen.line, notes)),
            Some(_) => {}
            None if told => {}
            None if payloads.started.is_some() => {}
            None => payloads.started = Some(Shown { payload: kept(seen, job, &given.payload), line: seen.line }),
        }
    }
}

/// `payload`, shared with the ledger where it is what the job holds.
fn kept(seen: &Seen<'_>, job: Job, payload: &str) -> Rc<str> {
    let same = seen.ledger.live(job).map(|live| &live.payload).filter(|held| ***held == *payload);
    same.map_or_else(|| payload.into(), Rc::clone)
}

/// The line of the newest acceptance is not kept; the first line tells where the job came from.
fn accepted_line(lines: &[u64]) -> u64 {
    lines.first().copied().unwrap_or(0)
}

/// Answers whether they differ.
fn compare(job: &str, what: &str, wanted: &Shown, started: (&str, u64), line: u64, notes: &mut Notes) -> bool {
    let differs = *wanted.payload != *started.0;
    if differs {
        let says =
            format!("{job} was handed to its handler with payload {}, but {} was {what}", started.0, wanted.payload,);
        let mut lines: Vec<u64> = [wanted.line, started.1, line].into();
        lines.retain(|&line| line != 0);
        lines.sort_unstable();
        lines.dedup();
        notes.broken(PAYLOAD, says, lines);
    }
    differs
}

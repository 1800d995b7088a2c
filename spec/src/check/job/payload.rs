//! `job/payload`: what a handler gets is what was enqueued.
//!
//! Compared twice: with the newest payload that the queue had accepted when it granted the delivery, and, on a queue that
//! does not coalesce, with what the client asked for that was told of this job. The second works without the queue's word.

use std::collections::BTreeMap;

use super::made::Made;
use super::{ends, enqueue_of};
use crate::check::Seen;
use crate::history::{Given, Granted, Reply, Told, What};
use crate::verdict::Notes;

const PAYLOAD: &str = "job/payload";

/// How many deliveries of a job are remembered for handlers that start late.
const GRANTS_MAX: usize = 4;

#[derive(Default)]
pub(super) struct Payload {
    jobs: BTreeMap<String, Payloads>,
}

/// A payload and the line that shows it.
#[derive(Clone, Debug)]
struct Shown {
    payload: String,
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
                for given in &it.jobs {
                    self.start(seen, given, notes);
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
        let Some((line, enqueue)) = enqueue_of(seen, reply) else {
            return;
        };
        let (Told::Ok, Some(job)) = (reply.outcome, &reply.job) else {
            return;
        };
        let coalesces = seen.ledger.policy(&enqueue.queue).is_none_or(|policy| policy.deduplication);
        if coalesces || seen.ledger.ended.contains_key(job) || !made.is_first(enqueue) {
            return;
        }
        let payloads = self.jobs.entry(job.clone()).or_default();
        let asked = Shown { payload: enqueue.payload.clone(), line };
        if let Some(started) = payloads.started.take() {
            notes.exercised(PAYLOAD);
            compare(job, "enqueued", &asked, &started, seen.line, notes);
        }
        payloads.asked.get_or_insert(asked);
    }

    fn grant(&mut self, seen: &Seen<'_>, it: &Granted) {
        for lease in &it.jobs {
            let Some(live) = seen.ledger.live.get(&lease.job) else {
                continue;
            };
            let payloads = self.jobs.entry(lease.job.clone()).or_default();
            if payloads.granted.len() == GRANTS_MAX {
                payloads.granted.remove(0);
            }
            let shown = Shown { payload: live.payload.clone(), line: accepted_line(&live.lines) };
            payloads.granted.push((lease.attempt, shown));
        }
    }

    fn start(&mut self, seen: &Seen<'_>, given: &Given, notes: &mut Notes) {
        if seen.ledger.ended.contains_key(&given.job) {
            return; // A handler that starts after its job's end: what it holds matters no more.
        }
        let payloads = self.jobs.entry(given.job.clone()).or_default();
        let started = Shown { payload: given.payload.clone(), line: seen.line };
        let granted = payloads.granted.iter().rev().find(|(attempt, _)| *attempt == given.attempt);
        if granted.is_some() || payloads.asked.is_some() {
            notes.exercised(PAYLOAD);
        }
        let told = granted
            .is_some_and(|(_, newest)| compare(&given.job, "newest at its grant", newest, &started, seen.line, notes));
        match &payloads.asked {
            Some(asked) if !told => drop(compare(&given.job, "enqueued", asked, &started, seen.line, notes)),
            Some(_) => {}
            None if told => {}
            None => drop(payloads.started.get_or_insert(started)),
        }
    }
}

/// The line of the newest acceptance is not kept; the first line tells where the job came from.
fn accepted_line(lines: &[u64]) -> u64 {
    lines.first().copied().unwrap_or(0)
}

/// Answers whether they differ.
fn compare(job: &str, what: &str, wanted: &Shown, started: &Shown, line: u64, notes: &mut Notes) -> bool {
    let differs = wanted.payload != started.payload;
    if differs {
        let says = format!(
            "{job} was handed to its handler with payload {}, but {} was {what}",
            started.payload, wanted.payload,
        );
        let mut lines: Vec<u64> = [wanted.line, started.line, line].into();
        lines.retain(|&line| line != 0);
        lines.sort_unstable();
        lines.dedup();
        notes.broken(PAYLOAD, says, lines);
    }
    differs
}

//! `batch/size`, `batch/not-empty` and `batch/one-queue`: what a delivery holds.
//!
//! On a queue without batching a delivery holds one job. What a handler was handed is held against this as well as what
//! the queue says it granted.

use super::super::Seen;
use crate::clause::Place;
use crate::history::{Granted, What};
use crate::queues::Policy;
use crate::verdict::Notes;

const SIZE: Place = Place::of("batch/size");
const NOT_EMPTY: Place = Place::of("batch/not-empty");
const ONE_QUEUE: Place = Place::of("batch/one-queue");

pub(super) fn see(seen: &Seen<'_>, notes: &mut Notes) {
    match &seen.event.what {
        What::Granted(it) => {
            if let Some(policy) = seen.ledger.policy(seen.named.queue) {
                judge_grant(seen.line, it, policy, notes);
            }
            judge_one_queue(seen, &it.queue, || format!("delivery {}", it.delivery), notes);
        }
        What::Started(it) => {
            let what = || format!("what a handler was handed by {}", it.processor);
            if it.jobs.is_empty() {
                notes.broken(NOT_EMPTY, format!("{} of {} holds no job at all", what(), it.queue), vec![seen.line]);
            }
            // What is inferred is granted as it was handed out, so it is judged there.
            let policy = seen.ledger.policy(seen.named.queue).filter(|_| !seen.ledger.header.inferred);
            if let Some(policy) = policy {
                judge_size(seen.line, what, it.jobs.len(), policy, notes);
            }
            judge_one_queue(seen, &it.queue, what, notes);
        }
        _ => {}
    }
}

fn judge_grant(line: u64, it: &Granted, policy: &Policy, notes: &mut Notes) {
    if policy.batch.is_some() {
        notes.exercised(SIZE);
        notes.exercised(NOT_EMPTY);
    }
    if it.jobs.is_empty() {
        let says = format!("delivery {} of {} holds no job at all", it.delivery, it.queue);
        notes.broken(NOT_EMPTY, says, vec![line]);
    }
    judge_size(line, || format!("{} of {}", it.delivery, it.queue), it.jobs.len(), policy, notes);
}

/// `what` holds so many jobs.
fn judge_size(line: u64, what: impl Fn() -> String, jobs: usize, policy: &Policy, notes: &mut Notes) {
    let size = policy.batch_size_max();
    if (size as usize) < jobs {
        let says = format!("{} holds {jobs} jobs, and a delivery of that queue at most {size}", what());
        notes.broken(SIZE, says, vec![line]);
    }
}

/// `what` holds the jobs of the event and is of `queue`.
fn judge_one_queue(seen: &Seen<'_>, queue: &str, what: impl Fn() -> String, notes: &mut Notes) {
    if 1 < seen.jobs.len() {
        notes.exercised(ONE_QUEUE);
    }
    let mut strangers = seen.jobs.iter().filter_map(|&job| {
        let live = seen.ledger.live(job)?;
        (live.queue != seen.named.queue).then_some((job, live))
    });
    if let Some((job, live)) = strangers.next() {
        let (job, theirs) = (seen.ledger.job_name(job), seen.ledger.queue_name(live.queue));
        let says = format!("{} of {queue} holds {job}, a job of {theirs}", what());
        notes.exercised(ONE_QUEUE);
        notes.broken(ONE_QUEUE, says, live.lines_and(seen.line));
    }
}

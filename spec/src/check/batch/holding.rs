//! `batch/size`, `batch/not-empty` and `batch/one-queue`: what a delivery holds.
//!
//! On a queue without batching a delivery holds one job. What a handler was handed is held against this as well as what
//! the queue says it granted.

use super::super::Seen;
use crate::history::{Granted, What};
use crate::queues::Policy;
use crate::verdict::Notes;

const SIZE: &str = "batch/size";
const NOT_EMPTY: &str = "batch/not-empty";
const ONE_QUEUE: &str = "batch/one-queue";

pub(super) fn see(seen: &Seen<'_>, notes: &mut Notes) {
    match &seen.event.what {
        What::Granted(it) => {
            if let Some(policy) = seen.ledger.policy(&it.queue) {
                judge_size(seen.line, it, policy, notes);
            }
            let jobs = it.jobs.iter().map(|lease| lease.job.as_str()).collect();
            judge_one_queue(seen, &it.queue, &format!("delivery {}", it.delivery), jobs, notes);
        }
        What::Started(it) => {
            let what = format!("what a handler was handed by {}", it.processor);
            if it.jobs.is_empty() {
                notes.broken(NOT_EMPTY, format!("{what} of {} holds no job at all", it.queue), vec![seen.line]);
            }
            let jobs = it.jobs.iter().map(|given| given.job.as_str()).collect();
            judge_one_queue(seen, &it.queue, &what, jobs, notes);
        }
        _ => {}
    }
}

fn judge_size(line: u64, it: &Granted, policy: &Policy, notes: &mut Notes) {
    let size = policy.batch_size_max();
    if policy.batch.is_some() {
        notes.exercised(SIZE);
        notes.exercised(NOT_EMPTY);
    }
    if it.jobs.is_empty() {
        let says = format!("delivery {} of {} holds no job at all", it.delivery, it.queue);
        notes.broken(NOT_EMPTY, says, vec![line]);
    }
    if (size as usize) < it.jobs.len() {
        let says = format!(
            "a delivery of {} holds at most {size} jobs, but {} holds {}",
            it.queue,
            it.delivery,
            it.jobs.len()
        );
        notes.broken(SIZE, says, vec![line]);
    }
}

/// `what` holds `jobs` and is of `queue`.
fn judge_one_queue(seen: &Seen<'_>, queue: &str, what: &str, jobs: Vec<&str>, notes: &mut Notes) {
    if 1 < jobs.len() {
        notes.exercised(ONE_QUEUE);
    }
    let mut strangers = jobs.into_iter().filter_map(|job| {
        let live = seen.ledger.live.get(job)?;
        (live.queue != queue).then_some((job, live))
    });
    if let Some((job, live)) = strangers.next() {
        let says = format!("{what} of {queue} holds {job}, a job of {}", live.queue);
        notes.exercised(ONE_QUEUE);
        notes.broken(ONE_QUEUE, says, live.lines_and(seen.line));
    }
}

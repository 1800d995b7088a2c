//! `batch/size`, `batch/not-empty` and `batch/one-queue`: what a delivery holds.
//!
//! On a queue without batching a delivery holds one job.

use super::super::Seen;
use crate::history::{Granted, What};
use crate::queues::Policy;
use crate::verdict::Notes;

const SIZE: &str = "batch/size";
const NOT_EMPTY: &str = "batch/not-empty";
const ONE_QUEUE: &str = "batch/one-queue";

pub(super) fn see(seen: &Seen<'_>, notes: &mut Notes) {
    let What::Granted(it) = &seen.event.what else {
        return;
    };
    if let Some(policy) = seen.ledger.policy(&it.queue) {
        judge_size(seen.line, it, policy, notes);
    }
    judge_one_queue(seen, it, notes);
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

fn judge_one_queue(seen: &Seen<'_>, it: &Granted, notes: &mut Notes) {
    if 1 < it.jobs.len() {
        notes.exercised(ONE_QUEUE);
    }
    let strangers = it.jobs.iter().filter_map(|lease| {
        let live = seen.ledger.live.get(&lease.job)?;
        (live.queue != it.queue).then_some((lease, live))
    });
    for (lease, live) in strangers.take(1) {
        let says = format!("delivery {} of {} holds {}, a job of {}", it.delivery, it.queue, lease.job, live.queue);
        notes.broken(ONE_QUEUE, says, live.lines_and(seen.line));
    }
}

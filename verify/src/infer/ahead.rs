//! What comes later in the history: the answer to a question, the next start of a job, the reads at the end.

use std::collections::{BTreeMap, BTreeSet};

use kew_spec::history::{AttemptOutcome, Event, Told, What};
use kew_spec::lifecycle::Status;

/// What comes later in the history, by job.
#[derive(Default)]
pub(super) struct Ahead {
    /// The reply of each operation: where, what was told, and the job.
    pub(super) replies: BTreeMap<u64, (usize, Told, Option<String>)>,
    /// Where each job starts.
    pub(super) starts: BTreeMap<String, Vec<usize>>,
    /// What a job's handler was told of the attempt, where it starts.
    pub(super) told: BTreeMap<(usize, String), u32>,
    /// Jobs whose handler succeeded.
    pub(super) completed: BTreeSet<String>,
    /// Where the handlers of each delivery end.
    pub(super) ends: BTreeMap<String, (usize, u64)>,
    /// When each fault heals.
    pub(super) heals: BTreeMap<u64, u64>,
    /// When hosts are struck.
    pub(super) strikes: Vec<(u64, Vec<String>)>,
    /// Where each job is put back.
    pub(super) redrives: BTreeMap<String, Vec<Redrive>>,
    /// Where it is heard that a job was cancelled.
    pub(super) cancels: BTreeMap<String, usize>,
    /// Where the status of each job is read.
    pub(super) reads: BTreeMap<String, Vec<usize>>,
    /// Where each job is read as failed for good.
    pub(super) failed: BTreeMap<String, Vec<usize>>,
    /// Jobs read in each dead letter queue.
    pub(super) dead: BTreeMap<String, Vec<usize>>,
    /// Where the play drained, and whether nothing was left to do.
    pub(super) drained: Option<(usize, bool)>,
    /// Which queues are under a pause when it drains.
    pub(super) paused_at_drain: BTreeSet<String>,
    pub(super) reads_dead: bool,
}

/// A redrive that was acknowledged. When between its question and its answer the job went back, nobody was told.
#[derive(Clone, Copy)]
pub(super) struct Redrive {
    pub(super) op: u64,
    /// Where it is asked for.
    pub(super) asked: usize,
    /// Where the answer is heard.
    pub(super) answered: usize,
}

impl Ahead {
    pub(super) fn read(events: &[Event]) -> Self {
        let mut ahead = Self::default();
        for (index, event) in events.iter().enumerate() {
            if let What::Reply(it) = &event.what {
                ahead.replies.insert(it.op, (index, it.outcome, it.job.clone()));
            }
        }
        for (index, event) in events.iter().enumerate() {
            if let What::StatusRead(it) = &event.what {
                ahead.reads.entry(it.job.clone()).or_default().push(index);
            }
            match &event.what {
                What::Processor(it) if !it.up => ahead.strikes.push((event.at, vec![it.processor.clone()])),
                What::Fault(it) if it.active => ahead.strikes.push((event.at, it.on.clone())),
                What::Started(it) => {
                    for given in &it.jobs {
                        ahead.starts.entry(given.job.clone()).or_default().push(index);
                        if let Some(told) = given.told {
                            ahead.told.insert((index, given.job.clone()), told);
                        }
                    }
                }
                What::Finished(it) => {
                    let delivery = it.delivery.clone().unwrap_or_default();
                    if ahead.ends.contains_key(&delivery) {
                        continue; // It was stopped, and answers late.
                    }
                    ahead.ends.insert(delivery, (index, event.at));
                    let done = it.jobs.iter().filter(|ended| ended.outcome == AttemptOutcome::Completed);
                    ahead.completed.extend(done.map(|ended| ended.job.clone()));
                }
                What::Fault(it) if !it.active => drop(ahead.heals.insert(it.fault, event.at)),
                What::Redrive(it) if ahead.told_ok(it.op) => {
                    let redrive = Redrive { op: it.op, asked: index, answered: ahead.replies[&it.op].0 };
                    ahead.redrives.entry(it.job.clone()).or_default().push(redrive);
                }
                What::Cancel(it) if ahead.told_ok(it.op) => {
                    let answered = ahead.replies[&it.op].0;
                    ahead.cancels.insert(it.job.clone(), answered);
                }
                What::Pause(it) if ahead.told_ok(it.op) && ahead.drained.is_none() => {
                    ahead.paused_at_drain.insert(it.queue.clone());
                }
                What::Resume(it) if ahead.drained.is_none() => drop(ahead.paused_at_drain.remove(&it.queue)),
                What::StatusRead(it)
                    if it.row.as_ref().is_some_and(|row| row.is_final && row.status == Status::Failed) =>
                {
                    ahead.failed.entry(it.job.clone()).or_default().push(index);
                }
                What::DeadLetters(it) => {
                    ahead.reads_dead = true;
                    for entry in &it.entries {
                        ahead.dead.entry(entry.job.clone()).or_default().push(index);
                    }
                }
                What::Drained(it) => ahead.drained = Some((index, it.ok)),
                _ => {}
            }
        }
        ahead
    }

    pub(super) fn told_ok(&self, op: u64) -> bool {
        self.replies.get(&op).is_some_and(|(_, told, _)| *told == Told::Ok)
    }

    /// The first of `places` after `index`.
    pub(super) fn next(places: Option<&Vec<usize>>, index: usize) -> Option<usize> {
        places?.iter().copied().find(|place| index < *place)
    }
}

//! `timeout/enforced`: a handler still running at its timeout is stopped, and that attempt ends as timed out.
//!
//! A run is timed by the player, from the handler's start; a wall clock that is off changes nothing about that. While its
//! host is paused a handler does not run, so it gets its whole timeout anew afterwards.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Seen;
use crate::check::ledger::{Ledger, word};
use crate::history::{AttemptOutcome, Ended, Fault, Finished, Processor, Settled, Started, What};
use crate::verdict::Notes;

const ENFORCED: &str = "timeout/enforced";

/// The kind of fault during which a host stands still.
const PAUSE: &str = "pause";

/// A handler's work on one job: the processor, the job and the attempt.
type Key = (String, String, u32);

#[derive(Default)]
pub(super) struct Enforced {
    running: BTreeMap<Key, Run>,
    /// The runs by when they must have ended at the latest.
    deadlines: BTreeSet<(u64, Key)>,
    /// Attempts whose handler was stopped at its timeout, with the line; kept until the queue has settled them.
    stopped: BTreeMap<(String, u32), u64>,
    /// Faults of the kind [`PAUSE`] in force, with the hosts they strike.
    pauses: BTreeMap<u64, Vec<String>>,
    /// When a pause last ended, by host.
    resumed: BTreeMap<String, u64>,
    /// The start of the last run that was told of: a batch is told of once.
    told: Option<u64>,
}

struct Run {
    queue: String,
    timeout_ms: u64,
    at: u64,
    line: u64,
    deadline: u64,
}

impl Enforced {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.expire(seen, notes);
        match &seen.event.what {
            What::Started(it) => self.start(seen, it),
            What::Finished(it) => self.finish(seen, it, notes),
            What::Processor(it) => self.processor(it),
            What::Fault(it) if it.kind == PAUSE => self.pause(seen, it),
            What::Settled(it) if it.accepted => self.settle(seen, it, notes),
            What::Cancelled(it) => self.stopped.retain(|(job, _), _| *job != it.job),
            _ => {}
        }
    }

    fn start(&mut self, seen: &Seen<'_>, it: &Started) {
        let Some(policy) = seen.ledger.policy(&it.queue) else {
            return;
        };
        let deadline = seen.event.at + policy.timeout_ms + seen.ledger.slack().late_ms;
        for given in &it.jobs {
            let key = (it.processor.clone(), given.job.clone(), given.attempt);
            self.stop(&key);
            self.deadlines.insert((deadline, key.clone()));
            let run = Run {
                queue: it.queue.clone(),
                timeout_ms: policy.timeout_ms,
                at: seen.event.at,
                line: seen.line,
                deadline,
            };
            self.running.insert(key, run);
        }
    }

    fn stop(&mut self, key: &Key) -> Option<Run> {
        let run = self.running.remove(key)?;
        self.deadlines.remove(&(run.deadline, key.clone()));
        Some(run)
    }

    /// Judges the runs whose deadline has passed.
    fn expire(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        while self.deadlines.first().is_some_and(|(deadline, _)| *deadline < seen.event.at) {
            let Some((_, key)) = self.deadlines.pop_first() else {
                return;
            };
            let Some(mut run) = self.running.remove(&key) else {
                continue;
            };
            let excused = self.excused_until(seen.ledger, &run, &key.0, seen.event.at);
            if seen.event.at <= excused {
                run.deadline = excused;
                self.deadlines.insert((excused, key.clone()));
                self.running.insert(key, run);
                continue;
            }
            if self.told.replace(run.line) == Some(run.line) {
                continue;
            }
            notes.exercised(ENFORCED);
            let (processor, job, attempt) = &key;
            let says = format!(
                "the handler of {job} ({}, timeout {} ms), attempt {attempt} on {processor}, ran from {} and had neither \
                 finished nor been stopped by {}",
                run.queue, run.timeout_ms, run.at, excused,
            );
            notes.broken(ENFORCED, says, vec![run.line, seen.line]);
        }
    }

    /// Until when a run may last, its host's pauses considered.
    fn excused_until(&self, ledger: &Ledger, run: &Run, processor: &str, now: u64) -> u64 {
        let slack = ledger.slack();
        let allowed = run.timeout_ms + slack.late_ms;
        let strikes = |hosts: &Vec<String>| hosts.is_empty() || hosts.iter().any(|host| host == processor);
        if self.pauses.values().any(strikes) {
            return now + allowed;
        }
        let resumed = self.resumed.get(processor).copied();
        let anew = resumed.map_or(0, |resumed| resumed + slack.recovery_ms + allowed);
        run.deadline.max(anew)
    }

    fn pause(&mut self, seen: &Seen<'_>, it: &Fault) {
        if it.active {
            self.pauses.insert(it.fault, it.on.clone());
        } else if let Some(hosts) = self.pauses.remove(&it.fault) {
            self.resumed.extend(hosts.into_iter().map(|host| (host, seen.event.at)));
        }
    }

    /// Down, a processor's handlers are gone; up, it starts with none.
    fn processor(&mut self, it: &Processor) {
        let from = (it.processor.clone(), String::new(), 0);
        let of_it = self.running.range(from..).take_while(|((processor, ..), _)| *processor == it.processor);
        let keys: Vec<Key> = of_it.map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| drop(self.stop(key)));
    }

    fn finish(&mut self, seen: &Seen<'_>, it: &Finished, notes: &mut Notes) {
        for ended in &it.jobs {
            let key = (it.processor.clone(), ended.job.clone(), ended.attempt);
            self.stop(&key);
            if ended.outcome == AttemptOutcome::TimedOut {
                notes.exercised(ENFORCED);
                self.await_settle(seen, ended);
            }
        }
    }

    /// Only of an attempt that holds its lease will the queue still say how it ended.
    fn await_settle(&mut self, seen: &Seen<'_>, ended: &Ended) {
        let leased = seen.ledger.live.get(&ended.job).and_then(|live| live.leased());
        if leased.is_some_and(|attempt| attempt.number == ended.attempt) {
            self.stopped.insert((ended.job.clone(), ended.attempt), seen.line);
        }
    }

    fn settle(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        let Some(stopped) = self.stopped.remove(&(it.job.clone(), it.attempt)) else {
            return;
        };
        if matches!(it.outcome, AttemptOutcome::Completed | AttemptOutcome::Failed) {
            let says = format!(
                "the handler of {} was stopped at its timeout, but attempt {} was settled as {}, not as timed out",
                it.job,
                it.attempt,
                word(it.outcome),
            );
            notes.broken(ENFORCED, says, vec![stopped, seen.line]);
        }
    }
}

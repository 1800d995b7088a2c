//! `timeout/enforced`: a handler still running at its timeout is stopped, and that attempt ends as timed out.
//!
//! A run is timed by the player, from the handler's start; a wall clock that is off changes nothing about that. While its
//! host is paused a handler does not run, so it gets its whole timeout anew afterwards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::check::Seen;
use crate::check::ledger::{Ledger, word};
use crate::check::number::{Job, Processor, Queue};
use crate::check::print::Table;
use crate::clause::Place;
use crate::history::{AttemptOutcome, Ended, Fault, Finished, Settled, Started, What};
use crate::verdict::Notes;

const ENFORCED: Place = Place::of("timeout/enforced");

/// The kind of fault during which a host stands still.
const PAUSE: &str = "pause";

/// A handler's work on one job: the processor, the job and the attempt.
type Key = (Processor, Job, u32);

#[derive(Default)]
pub(super) struct Enforced {
    /// What runs, by processor.
    running: Table<Processor, Table<(Job, u32), Run>>,
    deadlines: Deadlines,
    /// Attempts whose handler was stopped at its timeout, with the line; kept until the queue has settled them.
    stopped: Table<Job, Vec<(u32, u64)>>,
    /// Faults of the kind [`PAUSE`] in force, with the hosts they strike.
    pauses: BTreeMap<u64, Vec<String>>,
    /// When a pause last ended, by host.
    resumed: BTreeMap<String, u64>,
    /// When a pause of all hosts last ended.
    all_resumed: Option<u64>,
    /// The start of the last run that was told of: a batch is told of once.
    told: Option<u64>,
}

struct Run {
    queue: Queue,
    timeout_ms: u64,
    at: u64,
    line: u64,
    deadline: u64,
}

/// When runs must have ended at the latest. Those of one queue come in the order of their deadlines, so that they stand in
/// a line; one that has ended is passed over when it comes to the front.
#[derive(Default)]
struct Deadlines {
    queues: BTreeMap<Queue, VecDeque<(u64, Key)>>,
    /// Deadlines that were put off.
    later: BTreeSet<(u64, Key)>,
    /// No deadline is earlier.
    first: u64,
}

impl Deadlines {
    fn add(&mut self, queue: Queue, deadline: u64, key: Key) {
        let line = self.queues.entry(queue).or_default();
        if line.back().is_none_or(|(last, _)| *last <= deadline) {
            line.push_back((deadline, key));
        } else {
            self.later.insert((deadline, key));
        }
        self.first = self.first.min(deadline);
    }

    /// Takes all that lie before `at`.
    fn take_before(&mut self, at: u64) -> Vec<(u64, Key)> {
        if at <= self.first {
            return Vec::new();
        }
        let mut over: Vec<(u64, Key)> = Vec::new();
        while let Some(entry) = self.later.first().filter(|(deadline, _)| *deadline < at).copied() {
            self.later.remove(&entry);
            over.push(entry);
        }
        for line in self.queues.values_mut() {
            while let Some(entry) = line.pop_front_if(|(deadline, _)| *deadline < at) {
                over.push(entry);
            }
        }
        let fronts = self.queues.values().filter_map(VecDeque::front).chain(self.later.first());
        self.first = fronts.map(|(deadline, _)| *deadline).min().unwrap_or(u64::MAX);
        over
    }

    /// Lets go of what stands in front of the line of `queue` and has ended.
    fn tidy(&mut self, queue: Queue, is_running: impl Fn(&(u64, Key)) -> bool) {
        let Some(line) = self.queues.get_mut(&queue) else { return };
        while line.pop_front_if(|entry| !is_running(entry)).is_some() {}
    }
}

impl Enforced {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.expire(seen, notes);
        match &seen.event.what {
            What::Started(it) => self.start(seen, it),
            What::Finished(it) => self.finish(seen, it, notes),
            What::Processor(_) => drop(self.running.remove(seen.named.processor)),
            What::Fault(it) if it.kind == PAUSE => self.pause(seen, it),
            What::Settled(it) if it.accepted => self.settle(seen, it, notes),
            What::Cancelled(_) => drop(self.stopped.remove(seen.named.job)),
            _ => {}
        }
    }

    fn start(&mut self, seen: &Seen<'_>, it: &Started) {
        let (processor, queue) = (seen.named.processor, seen.named.queue);
        let Some(policy) = seen.ledger.policy(queue) else {
            return;
        };
        let deadline = seen.event.at + policy.timeout_ms + seen.ledger.slack().late_ms;
        let running = self.running.at(processor);
        for (given, &job) in it.jobs.iter().zip(seen.jobs) {
            let run = Run { queue, timeout_ms: policy.timeout_ms, at: seen.event.at, line: seen.line, deadline };
            running.insert((job, given.attempt), run);
            self.deadlines.add(queue, deadline, (processor, job, given.attempt));
        }
    }

    /// Judges the runs whose deadline has passed.
    fn expire(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        let mut over = self.deadlines.take_before(seen.event.at);
        over.retain(|entry| is_running(&self.running, entry));
        let known = &seen.ledger.known;
        over.sort_unstable_by_key(|(deadline, (processor, job, attempt))| {
            (*deadline, known.processors.text(*processor), known.jobs.text(*job), *attempt)
        });
        over.dedup();
        for (_, key) in over {
            self.judge(seen, key, notes);
        }
    }

    /// A run's deadline has passed.
    fn judge(&mut self, seen: &Seen<'_>, key: Key, notes: &mut Notes) {
        let (processor, job, attempt) = key;
        let Some(mut run) = self.running.get_mut(processor).and_then(|runs| runs.remove((job, attempt))) else {
            return;
        };
        let host = seen.ledger.known.processors.text(processor);
        let excused = self.excused_until(seen.ledger, &run, host, seen.event.at);
        if seen.event.at <= excused {
            run.deadline = excused;
            self.deadlines.add(run.queue, excused, key);
            self.running.at(processor).insert((job, attempt), run);
            return;
        }
        if self.told.replace(run.line) == Some(run.line) {
            return;
        }
        notes.exercised(ENFORCED);
        let says = format!(
            "the handler of {} ({}, timeout {} ms), attempt {attempt} on {host}, ran from {} and had neither finished nor \
             been stopped by {excused}",
            seen.ledger.job_name(job),
            seen.ledger.queue_name(run.queue),
            run.timeout_ms,
            run.at,
        );
        notes.broken(ENFORCED, says, vec![run.line, seen.line]);
    }

    /// Until when a run may last, its host's pauses considered.
    fn excused_until(&self, ledger: &Ledger, run: &Run, processor: &str, now: u64) -> u64 {
        let slack = ledger.slack();
        let allowed = run.timeout_ms + slack.late_ms;
        let strikes = |hosts: &Vec<String>| hosts.is_empty() || hosts.iter().any(|host| host == processor);
        if self.pauses.values().any(strikes) {
            return now + allowed;
        }
        let resumed = self.resumed.get(processor).copied().max(self.all_resumed);
        let anew = resumed.map_or(0, |resumed| resumed + slack.recovery_ms + allowed);
        run.deadline.max(anew)
    }

    fn pause(&mut self, seen: &Seen<'_>, it: &Fault) {
        if it.active {
            self.pauses.insert(it.fault, it.on.clone());
        } else if let Some(hosts) = self.pauses.remove(&it.fault) {
            if hosts.is_empty() {
                self.all_resumed = Some(seen.event.at);
            }
            self.resumed.extend(hosts.into_iter().map(|host| (host, seen.event.at)));
        }
    }

    fn finish(&mut self, seen: &Seen<'_>, it: &Finished, notes: &mut Notes) {
        let mut queue = None;
        for (ended, &job) in it.jobs.iter().zip(seen.jobs) {
            let running = self.running.get_mut(seen.named.processor);
            let run = running.and_then(|runs| runs.remove((job, ended.attempt)));
            queue = run.map(|run| run.queue).or(queue);
            if ended.outcome == AttemptOutcome::TimedOut {
                notes.exercised(ENFORCED);
                self.await_settle(seen, ended, job);
            }
        }
        if let Some(queue) = queue {
            self.deadlines.tidy(queue, |entry| is_running(&self.running, entry));
        }
    }

    /// Only of an attempt that holds its lease will the queue still say how it ended.
    fn await_settle(&mut self, seen: &Seen<'_>, ended: &Ended, job: Job) {
        let leased = seen.ledger.live(job).and_then(|live| live.leased());
        if leased.is_some_and(|attempt| attempt.number == ended.attempt) {
            let stopped = self.stopped.at(job);
            stopped.retain(|(attempt, _)| *attempt != ended.attempt);
            stopped.push((ended.attempt, seen.line));
        }
    }

    fn settle(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        let Some(stopped) = self.stopped.get_mut(seen.named.job) else {
            return;
        };
        let Some(place) = stopped.iter().position(|(attempt, _)| *attempt == it.attempt) else {
            return;
        };
        let (_, stopped_line) = stopped.remove(place);
        if stopped.is_empty() {
            self.stopped.remove(seen.named.job);
        }
        if matches!(it.outcome, AttemptOutcome::Completed | AttemptOutcome::Failed) {
            let says = format!(
                "the handler of {} was stopped at its timeout, but attempt {} was settled as {}, not as timed out",
                it.job,
                it.attempt,
                word(it.outcome),
            );
            notes.broken(ENFORCED, says, vec![stopped_line, seen.line]);
        }
    }
}

/// Whether the run that this deadline is of goes on, and has no other by now.
fn is_running(running: &Table<Processor, Table<(Job, u32), Run>>, (deadline, key): &(u64, Key)) -> bool {
    let (processor, job, attempt) = *key;
    let run = running.get(processor).and_then(|runs| runs.get((job, attempt)));
    run.is_some_and(|run| run.deadline == *deadline)
}

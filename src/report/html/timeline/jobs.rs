//! The jobs of a history, how each ended, and which of them an event is about.

use std::collections::BTreeMap;

use kew_spec::history::{Event, Then, What};
use serde::Serialize;

use super::on_players_clock;

/// A job.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Job<'a> {
    id: &'a str,
    /// Empty where the history does not say.
    queue: &'a str,
    user: &'a str,
    /// When it was first seen, and when it ended for good.
    from: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
    end: Option<&'static str>,
    /// The waits between attempts: from when, until when.
    waits: Vec<(u64, u64)>,
}

/// All jobs in the order in which they were first seen.
pub(super) struct Jobs<'a> {
    pub(super) list: Vec<Job<'a>>,
    places: BTreeMap<&'a str, usize>,
    /// Which job an operation made.
    made: BTreeMap<u64, &'a str>,
}

impl<'a> Jobs<'a> {
    /// The jobs of a history.
    pub(super) fn of(events: &'a [(u64, Event)]) -> Self {
        let mut jobs = Self { list: Vec::new(), places: BTreeMap::new(), made: BTreeMap::new() };
        for (_, Event { at, what }) in events {
            for id in ids(what) {
                jobs.meet(id, *at);
            }
            jobs.see(*at, what);
        }
        jobs
    }

    /// A job's place in the list.
    pub(super) fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The jobs that an event is about.
    pub(super) fn of_event(&self, what: &What) -> Vec<usize> {
        let made = match what {
            What::Enqueue(asked) => self.made.get(&asked.op).copied(),
            _ => None,
        };
        ids(what).into_iter().chain(made).filter_map(|id| self.place(id)).collect()
    }

    fn meet(&mut self, id: &'a str, at: u64) -> &mut Job<'a> {
        let place = *self.places.entry(id).or_insert_with(|| {
            self.list.push(Job { id, queue: "", user: "", from: at, to: None, end: None, waits: Vec::new() });
            self.list.len() - 1
        });
        &mut self.list[place]
    }

    fn see(&mut self, at: u64, what: &'a What) {
        match what {
            What::Accepted(accepted) => {
                let job = self.meet(&accepted.job, at);
                (job.queue, job.user) = (&accepted.queue, &accepted.user);
            }
            What::Granted(granted) => {
                for lease in &granted.jobs {
                    let job = self.meet(&lease.job, at);
                    job.queue = if job.queue.is_empty() { &granted.queue } else { job.queue };
                }
            }
            What::Settled(settled) if settled.accepted => {
                let job = self.meet(&settled.job, at);
                match settled.then {
                    Some(Then::RetryAt(due)) => job.waits.push((at, on_players_clock(due, settled.clock, at))),
                    Some(Then::Completed) => job.ends(at, "completed"),
                    Some(Then::Failed) => job.ends(at, "failed"),
                    Some(Then::DeadLetter) => job.ends(at, "dead-letter"),
                    None => {}
                }
            }
            What::Cancelled(cancelled) => self.meet(&cancelled.job, at).ends(at, "cancelled"),
            What::Redriven(redriven) => {
                let job = self.meet(&redriven.job, at);
                (job.to, job.end) = (None, None);
            }
            What::Reply(reply) => self.made.extend(reply.job.as_deref().map(|job| (reply.op, job))),
            _ => {}
        }
    }
}

impl Job<'_> {
    fn ends(&mut self, at: u64, how: &'static str) {
        (self.to, self.end) = (Some(at), Some(how));
    }
}

/// The jobs that an event names.
fn ids(what: &What) -> Vec<&str> {
    match what {
        What::Cancel(asked) => vec![&asked.job],
        What::Redrive(asked) => vec![&asked.job],
        What::Purge(asked) => vec![&asked.job],
        What::Reply(reply) => reply.job.as_deref().into_iter().collect(),
        What::Accepted(accepted) => vec![&accepted.job],
        What::Granted(granted) => granted.jobs.iter().map(|lease| lease.job.as_str()).collect(),
        What::Settled(settled) => vec![&settled.job],
        What::Cancelled(cancelled) => vec![&cancelled.job],
        What::Redriven(redriven) => vec![&redriven.job],
        What::Purged(purged) => vec![&purged.job],
        What::Started(started) => started.jobs.iter().map(|given| given.job.as_str()).collect(),
        What::Finished(finished) => finished.jobs.iter().map(|ended| ended.job.as_str()).collect(),
        What::StatusRead(read) => vec![&read.job],
        What::DeadLetters(read) => read.entries.iter().map(|entry| entry.job.as_str()).collect(),
        What::Notified(told) => vec![&told.job],
        What::Stored(stored) => stored.jobs.iter().map(String::as_str).collect(),
        What::Enqueue(_) | What::Pause(_) | What::Resume(_) | What::Paused(_) => Vec::new(),
        What::Processor(_) | What::Session(_) | What::Fault(_) | What::Drained(_) => Vec::new(),
    }
}

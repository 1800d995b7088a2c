//! The messages that a history implies: which event is the answer to which. A history does not hold messages, so this is
//! for the eye alone; no checker goes by it.

use std::collections::BTreeMap;

use kew_spec::history::{Event, Notified, Reply, Settled, Then, Told, Via, What};
use serde::Serialize;

/// From one event to another.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Arrow(Message, usize, usize);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Message {
    Ask,
    Answer,
    Grant,
    Settle,
    Tell,
    Store,
}

/// The arrows, in the order of their ends.
pub(super) fn arrows(events: &[(u64, Event)]) -> Vec<Arrow> {
    let mut open = Open::default();
    for (i, (_, event)) in events.iter().enumerate() {
        open.see(i, &event.what);
    }
    open.arrows
}

/// What a client asked for, as far as the queue repeats it.
type Request<'a> = [&'a str; 4];

/// What has not met its counterpart yet.
#[derive(Default)]
struct Open<'a> {
    /// Requests that the queue has not acted on.
    asked: BTreeMap<Request<'a>, Vec<Asked>>,
    /// What the queue did on an operation.
    done: BTreeMap<u64, usize>,
    granted: BTreeMap<(&'a str, u32), usize>,
    finished: BTreeMap<(&'a str, u32), usize>,
    /// Where each job's last handler began.
    started: BTreeMap<&'a str, usize>,
    /// Where each job ended for good.
    ended: BTreeMap<&'a str, usize>,
    arrows: Vec<Arrow>,
}

struct Asked {
    op: u64,
    event: usize,
    is_answered: bool,
}

impl<'a> Open<'a> {
    fn see(&mut self, i: usize, what: &'a What) {
        match what {
            What::Enqueue(asked) => self.ask(i, asked.op, ["enqueue", &asked.user, &asked.queue, &asked.payload]),
            What::Cancel(asked) => self.ask(i, asked.op, ["cancel", &asked.job, "", ""]),
            What::Redrive(asked) => self.ask(i, asked.op, ["redrive", &asked.job, "", ""]),
            What::Purge(asked) => self.ask(i, asked.op, ["purge", &asked.job, "", ""]),
            What::Pause(asked) => self.ask(i, asked.op, ["pause", &asked.queue, "", ""]),
            What::Resume(asked) => self.ask(i, asked.op, ["resume", &asked.queue, "", ""]),
            What::Accepted(done) => self.act(i, ["enqueue", &done.user, &done.queue, &done.payload]),
            What::Cancelled(done) => {
                self.ended.insert(&done.job, i);
                self.act(i, ["cancel", &done.job, "", ""]);
            }
            What::Redriven(done) => self.act(i, ["redrive", &done.job, "", ""]),
            What::Purged(done) => self.act(i, ["purge", &done.job, "", ""]),
            What::Paused(done) => self.act(i, [if done.paused { "pause" } else { "resume" }, &done.queue, "", ""]),
            What::Reply(reply) => self.reply(i, reply),
            What::Granted(granted) => {
                self.granted.extend(granted.jobs.iter().map(|lease| ((lease.job.as_str(), lease.attempt), i)));
            }
            What::Started(started) => {
                let first = started.jobs.first().map(|given| (given.job.as_str(), given.attempt));
                self.arrow(Message::Grant, first.and_then(|first| self.granted.get(&first).copied()), i);
                self.started.extend(started.jobs.iter().map(|given| (given.job.as_str(), i)));
            }
            What::Finished(finished) => {
                self.finished.extend(finished.jobs.iter().map(|ended| ((ended.job.as_str(), ended.attempt), i)));
            }
            What::Settled(settled) => self.settle(i, settled),
            // A mail is a job of its own and comes when that job has run.
            What::Notified(Notified { job, via: Via::Websocket, .. }) => {
                self.arrow(Message::Tell, self.ended.get(job.as_str()).copied(), i);
            }
            What::Stored(stored) => {
                let started = stored.jobs.first().and_then(|job| self.started.get(job.as_str()).copied());
                self.arrow(Message::Store, started, i);
            }
            _ => {}
        }
    }

    fn arrow(&mut self, message: Message, from: Option<usize>, to: usize) {
        self.arrows.extend(from.map(|from| Arrow(message, from, to)));
    }

    fn ask(&mut self, event: usize, op: u64, request: Request<'a>) {
        self.asked.entry(request).or_default().push(Asked { op, event, is_answered: false });
    }

    /// The queue acts on the oldest request whose client still waits; else on the last one that was given up.
    fn act(&mut self, i: usize, request: Request<'a>) {
        let Some(asked) = self.asked.get_mut(&request) else { return };
        let waits = asked.iter().position(|asked| !asked.is_answered);
        let Some(which) = waits.or_else(|| asked.len().checked_sub(1)) else { return };
        let Asked { op, event, .. } = asked.remove(which);
        self.done.insert(op, i);
        self.arrow(Message::Ask, Some(event), i);
    }

    fn reply(&mut self, i: usize, reply: &Reply) {
        let done = self.done.get(&reply.op).copied().filter(|_| reply.outcome != Told::Unknown);
        self.arrow(Message::Answer, done, i);
        if done.is_none() {
            let asked = self.asked.values_mut().flatten().filter(|asked| asked.op == reply.op);
            asked.for_each(|asked| asked.is_answered = true);
        }
    }

    fn settle(&mut self, i: usize, settled: &'a Settled) {
        let finished = self.finished.remove(&(settled.job.as_str(), settled.attempt));
        self.arrow(Message::Settle, finished, i);
        if matches!(settled.then, Some(Then::Completed | Then::Failed | Then::DeadLetter)) {
            self.ended.insert(&settled.job, i);
        }
    }
}

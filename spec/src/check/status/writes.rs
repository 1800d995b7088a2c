//! `status/read-your-writes` and the part of `status/durable` that acknowledgements show: what a client was told is done
//! is there for every read that is asked afterwards.
//!
//! If the queue's host went down after the client had asked, a change that is missing was lost, and not just hidden.

use std::collections::{BTreeMap, BTreeSet};

use super::{Crashes, DURABLE, READ_YOUR_WRITES, Redrives, in_order, read_by, stage, words};
use crate::check::Seen;
use crate::check::ledger::Ledger;
use crate::history::{Accepted, Granted, How, Reply, Resume, Sight, StatusRead, Told, What};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Writes {
    jobs: BTreeMap<String, Job>,
    purges: BTreeSet<String>,
    pauses: BTreeMap<String, Write>,
    /// Jobs whose end was lost, as has been reported.
    lost: BTreeSet<String>,
    /// Resumes that may take effect at any later time.
    resumes: BTreeMap<String, BTreeSet<u64>>,
    /// By queue, the line at which a resume was asked last.
    resume_lines: BTreeMap<String, u64>,
}

/// What clients know of a job.
#[derive(Debug, Default)]
struct Job {
    /// Whose it is, as the queue says.
    owner: Option<String>,
    /// The first acknowledged enqueue.
    enqueued: Option<Enqueued>,
    /// The first acknowledged cancel.
    cancelled: Option<Write>,
}

/// An acknowledged enqueue.
#[derive(Clone, Debug)]
struct Enqueued {
    write: Write,
    user: String,
    /// Whether the queue may have answered with the job of another user, because both speak of one entity.
    shared: bool,
}

/// Something that a client was told is done.
#[derive(Clone, Copy, Debug)]
struct Write {
    asked_line: u64,
    told_line: u64,
    told_at: u64,
}

impl Writes {
    pub(super) fn see(&mut self, seen: &Seen<'_>, crashes: &Crashes, notes: &mut Notes) {
        match &seen.event.what {
            What::Accepted(it) if it.how == How::Created => self.own(it),
            What::Reply(it) => self.reply(seen, it),
            What::Purge(it) => drop(self.purges.insert(it.job.clone())),
            What::Purged(it) => drop(self.purges.insert(it.job.clone())),
            What::Resume(it) => self.resume(seen.line, it),
            What::Granted(it) => self.grant(seen, it, crashes, notes),
            _ => {}
        }
    }

    pub(super) fn is_acknowledged(&self, job: &str) -> bool {
        self.jobs.get(job).is_some_and(|job| job.enqueued.is_some())
    }

    /// Whether somebody asked to drop `job` for good: its row may go with it.
    pub(super) fn may_be_purged(&self, job: &str) -> bool {
        self.purges.contains(job)
    }

    fn own(&mut self, it: &Accepted) {
        self.jobs.entry(it.job.clone()).or_default().owner = Some(it.user.clone());
    }

    fn reply(&mut self, seen: &Seen<'_>, it: &Reply) {
        let Some((asked_line, asked)) = seen.ledger.open_ops.get(&it.op) else { return };
        if let What::Resume(resume) = asked
            && it.outcome != Told::Unknown
            && let Some(open) = self.resumes.get_mut(&resume.queue)
        {
            open.remove(&it.op);
        }
        if it.outcome != Told::Ok {
            return;
        }
        let write = Write { asked_line: *asked_line, told_line: seen.line, told_at: seen.event.at };
        match asked {
            What::Enqueue(asked) => {
                let Some(job) = &it.job else { return };
                let job = self.jobs.entry(job.clone()).or_default();
                let shared = seen.ledger.policy(&asked.queue).is_none_or(|policy| policy.deduplication);
                let user = asked.user.clone();
                job.enqueued.get_or_insert(Enqueued { write, user, shared });
            }
            What::Cancel(asked) => {
                self.jobs.entry(asked.job.clone()).or_default().cancelled.get_or_insert(write);
            }
            What::Pause(asked) => self.pause(&asked.queue, write),
            _ => {}
        }
    }

    /// Which of a pause and a resume came last is known only if the one was answered before the other was asked.
    fn pause(&mut self, queue: &str, write: Write) {
        if self.resume_lines.get(queue).is_none_or(|resume| *resume < write.asked_line) {
            self.pauses.insert(queue.to_owned(), write);
        }
    }

    fn resume(&mut self, line: u64, it: &Resume) {
        self.pauses.remove(&it.queue);
        self.resume_lines.insert(it.queue.clone(), line);
        self.resumes.entry(it.queue.clone()).or_default().insert(it.op);
    }

    /// A queue that was paused must not give deliveries again because it crashed.
    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, crashes: &Crashes, notes: &mut Notes) {
        let resumed = self.resumes.get(&it.queue).is_some_and(|open| !open.is_empty());
        let Some(pause) = self.pauses.get(&it.queue).filter(|_| !resumed) else { return };
        let Some(crash) = crashes.after_line(pause.asked_line) else { return };
        notes.exercised(DURABLE);
        let says = format!(
            "the pause of {} was acknowledged at {}, and after a crash of the queue {} was granted",
            it.queue, pause.told_at, it.delivery
        );
        notes.broken(DURABLE, says, in_order([pause.asked_line, pause.told_line, crash, seen.line]));
        self.pauses.remove(&it.queue);
    }

    pub(super) fn read(
        &mut self,
        seen: &Seen<'_>,
        it: &StatusRead,
        crashes: &Crashes,
        redrives: &Redrives,
        notes: &mut Notes,
    ) {
        if !redrives.may_lie(&it.job) {
            self.judge_end(seen, it, crashes, notes);
        }
        let purged = self.may_be_purged(&it.job);
        let Some(job) = self.jobs.get_mut(&it.job) else { return };
        if !purged && job.may_see(seen.ledger, it) {
            judge_enqueue(job, seen, it, crashes, notes);
        }
        if !redrives.may_lie(&it.job) {
            judge_cancel(job, seen, it, crashes, notes);
        }
    }
}

impl Writes {
    /// An end that the queue said is durable is an acknowledgement too: of what its processor reported.
    fn judge_end(&mut self, seen: &Seen<'_>, it: &StatusRead, crashes: &Crashes, notes: &mut Notes) {
        let (Some(end), Some(row)) = (seen.ledger.ended.get(&it.job), &it.row) else { return };
        let Some(crash) = crashes.after_line(end.line) else { return };
        if it.asked_at <= end.at || self.lost.contains(&it.job) {
            return;
        }
        notes.exercised(DURABLE);
        if !row.is_final {
            let now = words(stage(row));
            let says = format!(
                "{} ended at {}; {}, and it was {now}, after a crash of the queue",
                it.job,
                end.at,
                read_by(it)
            );
            notes.broken(DURABLE, says, in_order([end.line, crash, seen.line]));
            self.lost.insert(it.job.clone());
        }
    }
}

impl Job {
    /// Whether the reader has a right to the row. Where the queue's word on whose it is cannot be seen, nothing is
    /// concluded from an enqueue that may have been told the job of another user.
    fn may_see(&self, ledger: &Ledger, it: &StatusRead) -> bool {
        match (&self.owner, &self.enqueued) {
            (Some(owner), _) => *owner == it.user,
            (None, Some(enqueued)) => !ledger.header.sees(Sight::Queue) && !enqueued.shared && enqueued.user == it.user,
            (None, None) => false,
        }
    }
}

fn judge_enqueue(job: &mut Job, seen: &Seen<'_>, it: &StatusRead, crashes: &Crashes, notes: &mut Notes) {
    let Some(Enqueued { write, user, .. }) = job.enqueued.clone() else { return };
    // Who asks in the reply's very millisecond asks after it: the job's id comes with the reply.
    if it.asked_at < write.told_at {
        return;
    }
    let says = || {
        format!(
            "{user} was told at {} that {} is enqueued; {}, and there was no row",
            write.told_at,
            it.job,
            read_by(it)
        )
    };
    let broken = write.judge(it.row.is_some(), says, seen, crashes, notes);
    if broken {
        job.enqueued = None;
    }
}

fn judge_cancel(job: &mut Job, seen: &Seen<'_>, it: &StatusRead, crashes: &Crashes, notes: &mut Notes) {
    let (Some(write), Some(row)) = (job.cancelled, &it.row) else { return };
    if it.asked_at <= write.told_at {
        return;
    }
    let says = || {
        let now = words(stage(row));
        format!("the cancel of {} was acknowledged at {}; {}, and it was {now}", it.job, write.told_at, read_by(it))
    };
    let broken = write.judge(row.is_final, says, seen, crashes, notes);
    if broken {
        job.cancelled = None;
    }
}

impl Write {
    /// Notes whether the change is there; true if not.
    fn judge(
        self,
        is_there: bool,
        says: impl Fn() -> String,
        seen: &Seen<'_>,
        crashes: &Crashes,
        notes: &mut Notes,
    ) -> bool {
        let crash = crashes.after_line(self.asked_line);
        let clause = if crash.is_some() { DURABLE } else { READ_YOUR_WRITES };
        notes.exercised(clause);
        if !is_there {
            let suffix = crash.map_or("", |_| ", after a crash of the queue");
            let lines = [self.asked_line, self.told_line, seen.line].into_iter().chain(crash);
            notes.broken(clause, format!("{}{suffix}", says()), in_order(lines));
        }
        !is_there
    }
}

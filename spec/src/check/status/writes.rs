//! `status/read-your-writes` and the part of `status/durable` that acknowledgements show: what a client was told is done
//! is there for every read that is asked afterwards.
//!
//! If the queue's host went down after the client had asked, a change that is missing was lost, and not just hidden.

use std::collections::{BTreeMap, BTreeSet};

use super::{Crashes, DURABLE, READ_YOUR_WRITES, Redrives, in_order, read_by, stage, words};
use crate::check::Seen;
use crate::check::ledger::{Ledger, Question};
use crate::check::named::Named;
use crate::check::number::{Job, PerNumber, Queue, User};
use crate::check::print::Table;
use crate::history::{Granted, How, Reply, Resume, Sight, StatusRead, Told as Outcome, What};
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Writes {
    jobs: PerNumber<Told>,
    /// The first acknowledged cancel of each job.
    cancelled: Table<Job, Write>,
    /// Jobs that the queue says it has dropped.
    purged: Table<Job, ()>,
    pauses: BTreeMap<Queue, Write>,
    /// Jobs whose end was lost, as has been reported.
    lost: Table<Job, ()>,
    /// Resumes that may take effect at any later time.
    resumes: BTreeMap<Queue, BTreeSet<u64>>,
    /// By queue, the line at which a resume was asked last.
    resume_lines: BTreeMap<Queue, u64>,
}

/// What clients know of a job's enqueue.
#[derive(Debug, Default)]
struct Told {
    /// The first acknowledged enqueue.
    enqueued: Option<Enqueued>,
    /// Whose it is, as the queue says; none if it did not.
    owner: User,
}

/// An acknowledged enqueue.
#[derive(Clone, Copy, Debug)]
struct Enqueued {
    write: Write,
    user: User,
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
            What::Accepted(it) if it.how == How::Created => self.jobs.at(seen.named.job).owner = seen.named.user,
            What::Reply(it) => self.reply(seen, it),
            What::Purged(_) => drop(self.purged.insert(seen.named.job, ())),
            What::Resume(it) => self.resume(seen, it),
            What::Granted(it) => self.grant(seen, it, crashes, notes),
            _ => {}
        }
    }

    /// Whether somebody asked to drop `job` for good and was not refused, or the queue did: its row may go with it.
    pub(super) fn may_be_purged(&self, ledger: &Ledger, job: Job) -> bool {
        self.purged.contains(job) || 0 < ledger.purges_asked(job)
    }

    fn reply(&mut self, seen: &Seen<'_>, it: &Reply) {
        let Some(asked) = seen.asked else { return };
        let Named { job, queue, user, .. } = asked.named;
        if let Question::Resume = asked.what
            && it.outcome != Outcome::Unknown
            && let Some(open) = self.resumes.get_mut(&queue)
        {
            open.remove(&it.op);
        }
        if it.outcome != Outcome::Ok {
            return;
        }
        let write = Write { asked_line: asked.line, told_line: seen.line, told_at: seen.event.at };
        match asked.what {
            Question::Enqueue(_) if it.job.is_some() => {
                let shared = seen.ledger.policy(queue).is_none_or(|policy| policy.deduplication);
                self.jobs.at(seen.named.job).enqueued.get_or_insert(Enqueued { write, user, shared });
            }
            Question::Cancel => drop(self.cancelled.entry(job).or_insert(write)),
            Question::Pause => self.pause(queue, write),
            _ => {}
        }
    }

    /// Which of a pause and a resume came last is known only if the one was answered before the other was asked.
    fn pause(&mut self, queue: Queue, write: Write) {
        if self.resume_lines.get(&queue).is_none_or(|resume| *resume < write.asked_line) {
            self.pauses.insert(queue, write);
        }
    }

    fn resume(&mut self, seen: &Seen<'_>, it: &Resume) {
        let queue = seen.named.queue;
        self.pauses.remove(&queue);
        self.resume_lines.insert(queue, seen.line);
        self.resumes.entry(queue).or_default().insert(it.op);
    }

    /// A queue that was paused must not give deliveries again because it crashed.
    fn grant(&mut self, seen: &Seen<'_>, it: &Granted, crashes: &Crashes, notes: &mut Notes) {
        let queue = seen.named.queue;
        let resumed = self.resumes.get(&queue).is_some_and(|open| !open.is_empty());
        let Some(pause) = self.pauses.get(&queue).filter(|_| !resumed) else { return };
        let Some(crash) = crashes.after_line(pause.asked_line) else { return };
        notes.exercised(DURABLE);
        let says = format!(
            "the pause of {} was acknowledged at {}, and after a crash of the queue {} was granted",
            it.queue, pause.told_at, it.delivery
        );
        notes.broken(DURABLE, says, in_order([pause.asked_line, pause.told_line, crash, seen.line]));
        self.pauses.remove(&queue);
    }

    pub(super) fn read(
        &mut self,
        seen: &Seen<'_>,
        it: &StatusRead,
        crashes: &Crashes,
        redrives: &Redrives,
        notes: &mut Notes,
    ) {
        let job = seen.named.job;
        if !redrives.may_lie(job) {
            self.judge_end(seen, it, crashes, notes);
        }
        let purged = self.may_be_purged(seen.ledger, job);
        let told = self.jobs.get_mut(job).filter(|told| !purged && told.may_see(seen));
        if let Some(told) = told {
            judge_enqueue(told, seen, it, crashes, notes);
        }
        if !redrives.may_lie(job) {
            self.judge_cancel(seen, it, crashes, notes);
        }
    }
}

impl Writes {
    /// An end that the queue said is durable is an acknowledgement too: of what its processor reported.
    fn judge_end(&mut self, seen: &Seen<'_>, it: &StatusRead, crashes: &Crashes, notes: &mut Notes) {
        let (Some(end), Some(row)) = (seen.ledger.ended(seen.named.job), &it.row) else { return };
        let Some(crash) = crashes.after_line(end.line) else { return };
        if it.asked_at <= end.at || self.lost.contains(seen.named.job) {
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
            self.lost.insert(seen.named.job, ());
        }
    }

    fn judge_cancel(&mut self, seen: &Seen<'_>, it: &StatusRead, crashes: &Crashes, notes: &mut Notes) {
        let (Some(&write), Some(row)) = (self.cancelled.get(seen.named.job), &it.row) else { return };
        if it.asked_at <= write.told_at {
            return;
        }
        let says = || {
            let now = words(stage(row));
            format!("the cancel of {} was acknowledged at {}; {}, and it was {now}", it.job, write.told_at, read_by(it))
        };
        let broken = write.judge(row.is_final, says, seen, crashes, notes);
        if broken {
            self.cancelled.remove(seen.named.job);
        }
    }
}

impl Told {
    /// Whether the reader has a right to the row. Where the queue's word on whose it is cannot be seen, nothing is
    /// concluded from an enqueue that may have been told the job of another user.
    fn may_see(&self, seen: &Seen<'_>) -> bool {
        let reader = seen.named.user;
        if self.owner != User::default() {
            return self.owner == reader;
        }
        let Some(enqueued) = &self.enqueued else { return false };
        !seen.ledger.header.sees(Sight::Queue) && !enqueued.shared && enqueued.user == reader
    }
}

fn judge_enqueue(job: &mut Told, seen: &Seen<'_>, it: &StatusRead, crashes: &Crashes, notes: &mut Notes) {
    let Some(Enqueued { write, user, .. }) = job.enqueued else { return };
    // Who asks in the reply's very millisecond asks after it: the job's id comes with the reply.
    if it.asked_at < write.told_at {
        return;
    }
    let says = || {
        let user = seen.ledger.known.users.text(user);
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

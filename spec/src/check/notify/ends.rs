//! `notify/each-end` and `notify/not-before`: which ends there are, and what of them reached whom.
//!
//! A job that is redriven ends again. For each way of ending the last end counts, since a notification does not say
//! which end it tells of.

use std::collections::{BTreeMap, BTreeSet};

use super::sessions::{Now, Sessions};
use super::told::Stays;
use super::{EACH_END, MAILS, NOT_BEFORE, Owned};
use crate::check::Seen;
use crate::check::ledger::{Ledger, Live};
use crate::check::number::{Job, PerNumber, Queue, User};
use crate::check::print::Table;
use crate::history::{Drained, Notified, Settled, Sight, StatusRead, Then, Via, What};
use crate::lifecycle::Status;
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Ends {
    /// How each job completed.
    completed: PerNumber<Told>,
    /// How the others ended, and what else was told of jobs.
    other: BTreeMap<(Job, Status), Told>,
    /// How many mails of each user have failed for good: an end that asked for one need not have come by mail.
    mails_lost: Table<User, usize>,
    /// Whether there was any fault.
    faults: bool,
    drained: Option<Drain>,
}

/// An end and what told of it.
#[derive(Debug, Default)]
struct Told {
    end: Option<End>,
    /// The user's stays that heard of it.
    stays: Stays,
    /// It was told to the user without saying over which session.
    everywhere: bool,
    mailed: bool,
    /// It was told before it was there, and that has been reported.
    early: bool,
}

/// An end of a job.
#[derive(Clone, Copy, Debug)]
struct End {
    line: u64,
    at: u64,
    /// A session that was open from this line on is owed it.
    owed_from: u64,
    user: User,
    email: bool,
}

/// How it stood when the queue had drained.
#[derive(Debug)]
struct Drain {
    line: u64,
    at: u64,
    /// Until when the system was still recovering.
    recovering_until: u64,
    ok: bool,
    sessions: Sessions,
}

/// An end that did not come by mail.
struct Unmailed {
    lines: Vec<u64>,
    says: String,
}

impl Ends {
    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        match &seen.event.what {
            What::Settled(it) if it.accepted => {
                if let Some(status) = end_of(it) {
                    self.end(seen, status);
                }
            }
            What::Cancelled(_) => self.end(seen, Status::Failed),
            What::Fault(_) => self.faults = true,
            _ => {}
        }
    }

    /// What is known of the end of `job` as `status`.
    fn told(&mut self, job: Job, status: Status) -> &mut Told {
        match status {
            Status::Completed => self.completed.at(job),
            other => self.other.entry((job, other)).or_default(),
        }
    }

    fn end_of(&self, job: Job, status: Status) -> Option<End> {
        match status {
            Status::Completed => self.completed.get(job)?.end,
            other => self.other.get(&(job, other))?.end,
        }
    }

    fn end(&mut self, seen: &Seen<'_>, status: Status) {
        let job = seen.named.job;
        let Some(live) = seen.ledger.live(job) else { return };
        if status == Status::Failed && is_mails(seen.ledger, live.queue) {
            *self.mails_lost.at(live.user) += 1;
        }
        let end = End {
            line: seen.line,
            at: seen.event.at,
            owed_from: seen.line,
            user: live.user,
            email: live.email && asks_for_mail(seen.ledger, live.queue),
        };
        let told = self.told(job, status);
        if told.end.is_some() {
            *told = Told::default();
        }
        told.end = Some(end);
    }

    /// Where the queue's word cannot be seen, a read shows that there is an end. It came at some time after the enqueue
    /// was asked, so a session is owed it that was open by then.
    pub(super) fn read(&mut self, seen: &Seen<'_>, it: &StatusRead, owned: Option<Owned>) {
        let (Some(row), Some(owned)) = (it.row.as_ref().filter(|row| row.is_final), owned) else { return };
        let late = self.drained.as_ref().is_some_and(|drain| !drain.ok);
        let end = End {
            line: seen.line,
            at: seen.event.at,
            owed_from: owned.line,
            user: owned.user,
            email: owned.email && asks_for_mail(seen.ledger, owned.queue),
        };
        let told = self.told(seen.named.job, row.status);
        if !late {
            told.end.get_or_insert(end);
        }
    }

    pub(super) fn reach(&mut self, seen: &Seen<'_>, it: &Notified, sessions: &Sessions) {
        let told = self.told(seen.named.job, it.status);
        match (it.via, seen.named.session.map(|session| sessions.stay_of(session))) {
            (Via::Email, _) => told.mailed = true,
            (Via::Websocket, None) => told.everywhere = true,
            (Via::Websocket, Some(stay)) => stay.into_iter().for_each(|stay| told.stays.add(stay)),
        }
    }

    pub(super) fn judge_early(&mut self, seen: &Seen<'_>, it: &Notified, notes: &mut Notes) {
        notes.exercised(NOT_BEFORE);
        let told = self.told(seen.named.job, it.status);
        if told.end.is_some() || told.early {
            return;
        }
        told.early = true;
        let other = [Status::Completed, Status::Failed].into_iter().find(|&status| status != it.status);
        let other = other.and_then(|status| self.end_of(seen.named.job, status).zip(Some(status)));
        let told = format!("{} was told that {} is {}", it.user, it.job, it.status);
        if let Some((end, status)) = other {
            notes.broken(NOT_BEFORE, format!("{told}, but it ended {status}"), vec![end.line, seen.line]);
        } else {
            let live = seen.ledger.live(seen.named.job);
            let lines = live.map_or_else(|| vec![seen.line], |live| live.lines_and(seen.line));
            notes.broken(NOT_BEFORE, format!("{told} before it had ended"), lines);
        }
    }

    /// Remembers how it stood. What is owed is judged when all has been read, since where the queue's word cannot be
    /// seen the ends are known only then.
    pub(super) fn drain(&mut self, seen: &Seen<'_>, it: &Drained, sessions: &Sessions) {
        let sessions = sessions.clone();
        self.drained = Some(Drain {
            line: seen.line,
            at: seen.event.at,
            recovering_until: seen.ledger.calm.recovering_until(),
            ok: it.ok,
            sessions,
        });
    }

    pub(super) fn judge(&mut self, ledger: &Ledger, notes: &mut Notes) {
        let Some(drain) = &self.drained else { return };
        let completed = self.completed.iter().map(|(job, told)| (job, Status::Completed, told));
        let other = self.other.iter().map(|((job, status), told)| (*job, *status, told));
        let mut missed = Vec::new();
        for (job, status, told) in completed.chain(other) {
            let Some(end) = told.end.filter(|end| drain.judges(end, ledger)) else { continue };
            let owed = drain.owed(&end).inspect(|_| notes.exercised(EACH_END));
            let unheard = owed.filter(|(stay, ..)| !told.heard(*stay)).count();
            if end.email {
                notes.exercised(EACH_END);
            }
            if 0 < unheard || end.email && !told.mailed {
                missed.push((ledger.job_name(job), status, told, end));
            }
        }
        missed.sort_by_key(|(job, status, ..)| (*job, *status));
        self.tell(ledger, drain, &missed, notes);
    }

    /// Tells of the ends that somebody did not hear of, in the order of the jobs.
    fn tell(&self, ledger: &Ledger, drain: &Drain, missed: &[(&str, Status, &Told, End)], notes: &mut Notes) {
        let mut unmailed: BTreeMap<&str, (User, Vec<Unmailed>)> = BTreeMap::new();
        for (job, status, told, end) in missed {
            let user = ledger.known.users.text(end.user);
            for (_, opened, session) in drain.owed(end).filter(|(stay, ..)| !told.heard(*stay)) {
                let says = format!(
                    "{job} ended {status} at {}, and session {session} of {user}, which was there before, never heard of it",
                    end.at
                );
                notes.broken(EACH_END, says, in_order([opened, end.line, drain.line]));
            }
            if end.email && !told.mailed {
                let says =
                    format!("{job} asked for mail and ended {status} at {}, and no mail told {user} of it", end.at);
                let lines = in_order([end.owed_from, end.line, drain.line]);
                unmailed.entry(user).or_insert((end.user, Vec::new())).1.push(Unmailed { lines, says });
            }
        }
        for (user, missed) in unmailed.into_values() {
            for missed in missed.into_iter().skip(self.mails_excused(user, drain, ledger)) {
                notes.broken(EACH_END, missed.says, missed.lines);
            }
        }
    }

    /// How many mails to `user` may be missing: those that failed for good, and those that are still being tried.
    fn mails_excused(&self, user: User, drain: &Drain, ledger: &Ledger) -> usize {
        if !ledger.header.sees(Sight::Queue) {
            return if self.faults || !drain.ok { usize::MAX } else { 0 };
        }
        let mails = |live: &Live| live.user == user && is_mails(ledger, live.queue);
        let open = ledger.all_live().filter(|(_, live)| mails(live));
        self.mails_lost.get(user).copied().unwrap_or(0) + open.count()
    }
}

impl Drain {
    /// Whoever has to be told is told once the system has recovered from what struck last.
    fn judges(&self, end: &End, ledger: &Ledger) -> bool {
        let heard_of = ledger.header.sees(Sight::Queue);
        !heard_of || end.at.max(self.recovering_until) + ledger.slack().late_ms <= self.at
    }

    /// Every stay of the user that was there before the end and is still there: its place, its line, its session.
    fn owed(&self, end: &End) -> impl Iterator<Item = (usize, u64, &str)> {
        let stays = self.sessions.stays(end.user).iter().enumerate();
        let before = end.owed_from;
        stays.filter(move |(_, stay)| stay.line < before).filter_map(|(place, stay)| match &stay.now {
            Now::Open(session) => Some((place, stay.line, session.as_str())),
            Now::ClosedAt(_) => None,
        })
    }
}

impl Told {
    /// Whether this stay of the user has heard of it.
    fn heard(&self, stay: usize) -> bool {
        self.everywhere || self.stays.has(stay)
    }
}

/// Lines in order, each once.
fn in_order(lines: impl IntoIterator<Item = u64>) -> Vec<u64> {
    lines.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

fn end_of(it: &Settled) -> Option<Status> {
    match it.then? {
        Then::Completed => Some(Status::Completed),
        Then::Failed | Then::DeadLetter => Some(Status::Failed),
        Then::RetryAt(_) => None,
    }
}

/// Whether `queue` is the one that mails go through.
fn is_mails(ledger: &Ledger, queue: Queue) -> bool {
    ledger.queue_name(queue) == MAILS
}

/// Whether the end of a job of `queue` can be told by mail.
fn asks_for_mail(ledger: &Ledger, queue: Queue) -> bool {
    !is_mails(ledger, queue) && ledger.queues().any(|(queue, _)| is_mails(ledger, queue))
}

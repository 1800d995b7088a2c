//! `notify/each-end` and `notify/not-before`: which ends there are, and what of them reached whom.
//!
//! A job that is redriven ends again. For each way of ending the last end counts, since a notification does not say
//! which end it tells of.

use std::collections::{BTreeMap, BTreeSet};

use super::sessions::{Now, Sessions};
use super::{EACH_END, MAILS, NOT_BEFORE, Owned};
use crate::check::Seen;
use crate::check::ledger::Ledger;
use crate::history::{Drained, Notified, Settled, Sight, StatusRead, Then, Via, What};
use crate::lifecycle::Status;
use crate::verdict::Notes;

#[derive(Default)]
pub(super) struct Ends {
    jobs: BTreeMap<(String, Status), Told>,
    /// How many mails of each user have failed for good: an end that asked for one need not have come by mail.
    mails_lost: BTreeMap<String, usize>,
    /// Whether there was any fault.
    faults: bool,
    drained: Option<Drain>,
}

/// An end and what told of it.
#[derive(Debug, Default)]
struct Told {
    end: Option<End>,
    /// The user's stays that heard of it.
    stays: BTreeSet<usize>,
    /// It was told to the user without saying over which session.
    everywhere: bool,
    mailed: bool,
    /// It was told before it was there, and that has been reported.
    early: bool,
}

/// An end of a job.
#[derive(Clone, Debug)]
struct End {
    line: u64,
    at: u64,
    /// A session that was open from this line on is owed it.
    owed_from: u64,
    user: String,
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
                    self.end(seen, &it.job, status);
                }
            }
            What::Cancelled(it) => self.end(seen, &it.job, Status::Failed),
            What::Fault(_) => self.faults = true,
            _ => {}
        }
    }

    fn end(&mut self, seen: &Seen<'_>, job: &str, status: Status) {
        let Some(live) = seen.ledger.live.get(job) else { return };
        if live.queue == MAILS && status == Status::Failed {
            *self.mails_lost.entry(live.user.clone()).or_default() += 1;
        }
        let end = End {
            line: seen.line,
            at: seen.event.at,
            owed_from: seen.line,
            user: live.user.clone(),
            email: live.email && asks_for_mail(seen.ledger, &live.queue),
        };
        let told = self.jobs.entry((job.to_owned(), status)).or_default();
        if told.end.is_some() {
            *told = Told::default();
        }
        told.end = Some(end);
    }

    /// Where the queue's word cannot be seen, a read shows that there is an end. It came at some time after the enqueue
    /// was asked, so a session is owed it that was open by then.
    pub(super) fn read(&mut self, seen: &Seen<'_>, it: &StatusRead, owned: Option<&Owned>) {
        let (Some(row), Some(owned)) = (it.row.as_ref().filter(|row| row.is_final), owned) else { return };
        let late = self.drained.as_ref().is_some_and(|drain| !drain.ok);
        let end = End {
            line: seen.line,
            at: seen.event.at,
            owed_from: owned.line,
            user: owned.user.clone(),
            email: owned.email && asks_for_mail(seen.ledger, &owned.queue),
        };
        let told = self.jobs.entry((it.job.clone(), row.status)).or_default();
        if !late {
            told.end.get_or_insert(end);
        }
    }

    pub(super) fn reach(&mut self, it: &Notified, sessions: &Sessions) {
        let told = self.jobs.entry((it.job.clone(), it.status)).or_default();
        match (it.via, it.session.as_deref().map(|session| sessions.stay_of(session))) {
            (Via::Email, _) => told.mailed = true,
            (Via::Websocket, None) => told.everywhere = true,
            (Via::Websocket, Some(stay)) => told.stays.extend(stay),
        }
    }

    pub(super) fn judge_early(&mut self, seen: &Seen<'_>, it: &Notified, notes: &mut Notes) {
        notes.exercised(NOT_BEFORE);
        let other = [Status::Completed, Status::Failed].into_iter().find(|&status| status != it.status);
        let other = other.and_then(|status| self.jobs.get(&(it.job.clone(), status))?.end.clone().zip(Some(status)));
        let told = self.jobs.entry((it.job.clone(), it.status)).or_default();
        if told.end.is_some() || told.early {
            return;
        }
        told.early = true;
        let told = format!("{} was told that {} is {}", it.user, it.job, it.status);
        if let Some((end, status)) = other {
            notes.broken(NOT_BEFORE, format!("{told}, but it ended {status}"), vec![end.line, seen.line]);
        } else {
            let live = seen.ledger.live.get(&it.job);
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
        let late_ms = ledger.slack().late_ms;
        let heard_of = ledger.header.sees(Sight::Queue);
        let mut unmailed: BTreeMap<&str, Vec<Unmailed>> = BTreeMap::new();
        for ((job, status), told) in &self.jobs {
            let Some(end) = &told.end else { continue };
            // Whoever has to be told is told once the system has recovered from what struck last.
            if heard_of && drain.at < end.at.max(drain.recovering_until) + late_ms {
                continue;
            }
            told.judge_sessions(job, *status, end, drain, notes);
            if end.email {
                notes.exercised(EACH_END);
                if !told.mailed {
                    let says = format!(
                        "{job} asked for mail and ended {status} at {}, and no mail told {} of it",
                        end.at, end.user
                    );
                    let lines = in_order([end.owed_from, end.line, drain.line]);
                    unmailed.entry(&end.user).or_default().push(Unmailed { lines, says });
                }
            }
        }
        for (user, missed) in unmailed {
            for missed in missed.into_iter().skip(self.mails_excused(user, drain, ledger)) {
                notes.broken(EACH_END, missed.says, missed.lines);
            }
        }
    }

    /// How many mails to `user` may be missing: those that failed for good, and those that are still being tried.
    fn mails_excused(&self, user: &str, drain: &Drain, ledger: &Ledger) -> usize {
        if !ledger.header.sees(Sight::Queue) {
            return if self.faults || !drain.ok { usize::MAX } else { 0 };
        }
        let open = ledger.live.values().filter(|live| live.queue == MAILS && live.user == user);
        self.mails_lost.get(user).copied().unwrap_or(0) + open.count()
    }
}

impl Told {
    /// Every stay that was there before the end and is still there has heard of it.
    fn judge_sessions(&self, job: &str, status: Status, end: &End, drain: &Drain, notes: &mut Notes) {
        for (n, stay) in drain.sessions.stays(&end.user).iter().enumerate() {
            let Now::Open(session) = &stay.now else { continue };
            if end.owed_from <= stay.line {
                continue;
            }
            notes.exercised(EACH_END);
            if !self.everywhere && !self.stays.contains(&n) {
                let says = format!(
                    "{job} ended {status} at {}, and session {session} of {}, which was there before, never heard of it",
                    end.at, end.user
                );
                notes.broken(EACH_END, says, in_order([stay.line, end.line, drain.line]));
            }
        }
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

/// Whether the end of a job of `queue` can be told by mail.
fn asks_for_mail(ledger: &Ledger, queue: &str) -> bool {
    queue != MAILS && ledger.policy(MAILS).is_some()
}

//! Clauses of the family `notify`: every end reaches its user, never before it is there, and nobody else.
//!
//! `ends` keeps which ends there are and what of them has reached whom, `sessions` who was there to be reached. Both are
//! judged where the history says that the queue has drained.

mod ends;
mod sessions;

use std::collections::BTreeMap;

use super::ledger::Ledger;
use super::{Family, Seen};
use crate::history::{How, Notified, Sight, Told, What};
use crate::verdict::Notes;

const EACH_END: &str = "notify/each-end";
const NOT_BEFORE: &str = "notify/not-before";
const OWN_ONLY: &str = "notify/own-only";

/// The queue that mails go through. The ends of its own jobs are told by WebSocket alone.
const MAILS: &str = "email_notification";

#[derive(Default)]
pub(super) struct Notify {
    jobs: BTreeMap<String, Owned>,
    ends: ends::Ends,
    sessions: sessions::Sessions,
}

/// Whose job it is, and where that was said.
#[derive(Clone, Debug)]
struct Owned {
    user: String,
    line: u64,
    queue: String,
    email: bool,
}

impl Family for Notify {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.own(seen);
        match &seen.event.what {
            What::Session(it) => self.sessions.see(seen.line, it),
            What::Notified(it) => self.notified(seen, it, notes),
            What::StatusRead(it) if !seen.ledger.header.sees(Sight::Queue) => {
                self.ends.read(seen, it, self.jobs.get(&it.job));
            }
            What::Drained(it) => self.ends.drain(seen, it, &self.sessions),
            _ => self.ends.see(seen),
        }
    }

    fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        self.ends.judge(ledger, notes);
    }
}

impl Notify {
    /// Remembers whose a job is: by the queue's word, and where that cannot be seen by what clients were told.
    fn own(&mut self, seen: &Seen<'_>) {
        let ledger = seen.ledger;
        let (job, owned) = match &seen.event.what {
            What::Accepted(it) if it.how == How::Created => {
                let (user, queue) = (it.user.clone(), it.queue.clone());
                (&it.job, Owned { user, line: seen.line, queue, email: it.email })
            }
            What::Reply(it) if it.outcome == Told::Ok && !ledger.header.sees(Sight::Queue) => {
                let Some((line, What::Enqueue(asked))) = ledger.open_ops.get(&it.op) else { return };
                // The job of an entity may be another user's.
                let shared = ledger.policy(&asked.queue).is_none_or(|policy| policy.deduplication);
                let Some(job) = it.job.as_ref().filter(|_| !shared) else { return };
                let (user, queue) = (asked.user.clone(), asked.queue.clone());
                (job, Owned { user, line: *line, queue, email: asked.email })
            }
            _ => return,
        };
        self.jobs.entry(job.clone()).or_insert(owned);
    }

    fn notified(&mut self, seen: &Seen<'_>, it: &Notified, notes: &mut Notes) {
        self.judge_owner(seen, it, notes);
        if seen.ledger.header.sees(Sight::Queue) {
            self.ends.judge_early(seen, it, notes);
        }
        let stranger = self.jobs.get(&it.job).is_some_and(|owned| owned.user != it.user);
        if !stranger {
            self.ends.reach(it, &self.sessions);
        }
    }

    fn judge_owner(&self, seen: &Seen<'_>, it: &Notified, notes: &mut Notes) {
        if let Some(owned) = self.jobs.get(&it.job) {
            notes.exercised(OWN_ONLY);
            if owned.user != it.user {
                let says = format!("{} is {}'s, and its end was told to {}", it.job, owned.user, it.user);
                notes.broken(OWN_ONLY, says, vec![owned.line, seen.line]);
                return;
            }
        }
        let session = it.session.as_deref().and_then(|session| self.sessions.of(session));
        if let Some((line, user)) = session.filter(|(_, user)| *user != it.user) {
            let says = format!("the end of {}'s {} was told over a session of {user}", it.user, it.job);
            notes.broken(OWN_ONLY, says, vec![line, seen.line]);
        }
    }
}

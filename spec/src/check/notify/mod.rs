//! Clauses of the family `notify`: every end reaches its user, never before it is there, and nobody else.
//!
//! `ends` keeps which ends there are and what of them has reached whom, `sessions` who was there to be reached. Both are
//! judged where the history says that the queue has drained.

mod ends;
mod sessions;
mod told;

use super::ledger::{Ledger, Question};
use super::named::Named;
use super::number::{Job, PerNumber, Queue, User};
use super::{Family, Seen};
use crate::clause::Place;
use crate::history::{How, Notified, Sight, Told, What};
use crate::verdict::Notes;

const EACH_END: Place = Place::of("notify/each-end");
const NOT_BEFORE: Place = Place::of("notify/not-before");
const OWN_ONLY: Place = Place::of("notify/own-only");

/// The queue that mails go through. The ends of its own jobs are told by WebSocket alone.
const MAILS: &str = "email_notification";

#[derive(Default)]
pub(super) struct Notify {
    jobs: PerNumber<Option<Owned>>,
    ends: ends::Ends,
    sessions: sessions::Sessions,
}

/// Whose job it is, and where that was said.
#[derive(Clone, Copy, Debug)]
struct Owned {
    user: User,
    line: u64,
    queue: Queue,
    email: bool,
}

impl Family for Notify {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.own(seen);
        match &seen.event.what {
            What::Session(it) => self.sessions.see(seen.line, it, &seen.named),
            What::Notified(it) => self.notified(seen, it, notes),
            What::StatusRead(it) if !seen.ledger.header.sees(Sight::Queue) => {
                let owned = self.owned(seen.named.job).copied();
                self.ends.read(seen, it, owned);
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
        let owned = match &seen.event.what {
            What::Accepted(it) if it.how == How::Created => {
                let Named { user, queue, .. } = seen.named;
                Owned { user, line: seen.line, queue, email: it.email }
            }
            What::Reply(it) if it.outcome == Told::Ok && !ledger.header.sees(Sight::Queue) => {
                let Some(asked) = seen.asked else { return };
                let Question::Enqueue(enqueue) = &asked.what else { return };
                let Named { user, queue, .. } = asked.named;
                // The job of an entity may be another user's.
                let shared = ledger.policy(queue).is_none_or(|policy| policy.deduplication);
                if shared || it.job.is_none() {
                    return;
                }
                Owned { user, line: asked.line, queue, email: enqueue.email }
            }
            _ => return,
        };
        self.jobs.at(seen.named.job).get_or_insert(owned);
    }

    fn owned(&self, job: Job) -> Option<&Owned> {
        self.jobs.get(job)?.as_ref()
    }

    fn notified(&mut self, seen: &Seen<'_>, it: &Notified, notes: &mut Notes) {
        self.judge_owner(seen, it, notes);
        if seen.ledger.header.sees(Sight::Queue) {
            self.ends.judge_early(seen, it, notes);
        }
        let stranger = self.owned(seen.named.job).is_some_and(|owned| owned.user != seen.named.user);
        if !stranger {
            self.ends.reach(seen, it, &self.sessions);
        }
    }

    fn judge_owner(&self, seen: &Seen<'_>, it: &Notified, notes: &mut Notes) {
        if let Some(owned) = self.owned(seen.named.job) {
            notes.exercised(OWN_ONLY);
            if owned.user != seen.named.user {
                let owner = seen.ledger.known.users.text(owned.user);
                let says = format!("{} is {owner}'s, and its end was told to {}", it.job, it.user);
                notes.broken(OWN_ONLY, says, vec![owned.line, seen.line]);
                return;
            }
        }
        let session = seen.named.session.and_then(|session| self.sessions.of(session));
        if let Some((line, user)) = session.filter(|(_, user)| *user != seen.named.user) {
            let user = seen.ledger.known.users.text(user);
            let says = format!("the end of {}'s {} was told over a session of {user}", it.user, it.job);
            notes.broken(OWN_ONLY, says, vec![line, seen.line]);
        }
    }
}

//! Who was there to be reached: users' sessions, and which of them goes on where an earlier one ended.
//!
//! A *stay* is a session together with those that go on from it. It misses nothing from its first opening on, so it is
//! owed every end that came after that, if it is open when all is done.

use crate::check::named::Named;
use crate::check::number::User;
use crate::check::print::{Print, Table};
use crate::history::Session;

#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    users: Table<User, Vec<Stay>>,
    /// Whose each session is, and the place of its stay among those of its user.
    sessions: Table<Print, Opened>,
}

/// A session and those that go on from it.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    /// The line of its first opening.
    pub(super) line: u64,
    /// The session that is open; else when it closed.
    pub(super) now: Now,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Now {
    Open(String),
    ClosedAt(u64),
}

#[derive(Clone, Debug)]
struct Opened {
    line: u64,
    user: User,
    stay: usize,
}

impl Sessions {
    pub(super) fn see(&mut self, line: u64, it: &Session, named: &Named) {
        let Some(session) = named.session else { return };
        if it.open { self.open(line, it, session, named.user) } else { self.close(line, it, session) }
    }

    fn open(&mut self, line: u64, it: &Session, session: Print, user: User) {
        let stays = self.users.at(user);
        let mut closed = (0..stays.len()).filter(|&stay| it.resumed && matches!(stays[stay].now, Now::ClosedAt(_)));
        let now = Now::Open(it.session.clone());
        // Of several it may go on from any.
        let stay = match (closed.next(), closed.next()) {
            (Some(stay), None) => {
                stays[stay].now = now;
                stay
            }
            _ => {
                stays.push(Stay { line, now });
                stays.len() - 1
            }
        };
        self.sessions.insert(session, Opened { line, user, stay });
    }

    fn close(&mut self, line: u64, it: &Session, session: Print) {
        let Some(opened) = self.sessions.get(session) else { return };
        let stays = self.users.get_mut(opened.user);
        let Some(stay) = stays.and_then(|stays| stays.get_mut(opened.stay)) else { return };
        if stay.now == Now::Open(it.session.clone()) {
            stay.now = Now::ClosedAt(line);
        }
    }

    /// The line where `session` was opened, and whose it is.
    pub(super) fn of(&self, session: Print) -> Option<(u64, User)> {
        self.sessions.get(session).map(|opened| (opened.line, opened.user))
    }

    /// The stay that `session` belongs to, among those of its user.
    pub(super) fn stay_of(&self, session: Print) -> Option<usize> {
        self.sessions.get(session).map(|opened| opened.stay)
    }

    /// All stays of `user`.
    pub(super) fn stays(&self, user: User) -> &[Stay] {
        self.users.get(user).map_or(&[], Vec::as_slice)
    }
}

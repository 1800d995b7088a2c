//! Who was there to be reached: users' sessions, and which of them goes on where an earlier one ended.
//!
//! A *stay* is a session together with those that go on from it. It misses nothing from its first opening on, so it is
//! owed every end that came after that, if it is open when all is done.

use std::collections::BTreeMap;

use crate::history::Session;

#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    users: BTreeMap<String, Vec<Stay>>,
    /// Whose each session is, and the place of its stay among those of its user.
    sessions: BTreeMap<String, Opened>,
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
    user: String,
    stay: usize,
}

impl Sessions {
    pub(super) fn see(&mut self, line: u64, it: &Session) {
        if it.open { self.open(line, it) } else { self.close(line, it) }
    }

    fn open(&mut self, line: u64, it: &Session) {
        let stays = self.users.entry(it.user.clone()).or_default();
        let closed = |(n, stay): (usize, &Stay)| match stay.now {
            Now::ClosedAt(line) if it.resumed => Some((line, n)),
            _ => None,
        };
        let now = Now::Open(it.session.clone());
        let stay = match stays.iter().enumerate().filter_map(closed).max() {
            Some((_, stay)) => {
                stays[stay].now = now;
                stay
            }
            None => {
                stays.push(Stay { line, now });
                stays.len() - 1
            }
        };
        self.sessions.insert(it.session.clone(), Opened { line, user: it.user.clone(), stay });
    }

    fn close(&mut self, line: u64, it: &Session) {
        let Some(opened) = self.sessions.get(&it.session) else { return };
        let stays = self.users.get_mut(&opened.user);
        let Some(stay) = stays.and_then(|stays| stays.get_mut(opened.stay)) else { return };
        if stay.now == Now::Open(it.session.clone()) {
            stay.now = Now::ClosedAt(line);
        }
    }

    /// The line where `session` was opened, and whose it is.
    pub(super) fn of(&self, session: &str) -> Option<(u64, &str)> {
        self.sessions.get(session).map(|opened| (opened.line, opened.user.as_str()))
    }

    /// The stay that `session` belongs to, among those of its user.
    pub(super) fn stay_of(&self, session: &str) -> Option<usize> {
        self.sessions.get(session).map(|opened| opened.stay)
    }

    /// All stays of `user`.
    pub(super) fn stays(&self, user: &str) -> &[Stay] {
        self.users.get(user).map_or(&[], Vec::as_slice)
    }
}

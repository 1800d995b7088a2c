//! The open sessions by user: a cheap handle that the route registers sessions with and the notifier tells ends to.
//!
//! A session that does not keep up is dropped, not waited for: its client resumes from the last end that it has seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::store::End;

/// How many ends wait for a session that is busy sending.
const BUFFER: usize = 1_024;

/// How many sessions a user may have open.
pub(super) const PER_USER_MAX: usize = 64;

/// How long a new session waits for the notifier to have found its place in the ends.
const READY_WAIT: Duration = Duration::from_secs(5);

/// All open sessions.
#[derive(Clone)]
pub struct Sessions(Arc<Shared>);

struct Shared {
    open: Mutex<Open>,
    /// Whether ends are being dispatched. Before that, a session could miss some.
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct Open {
    by_user: BTreeMap<String, BTreeMap<u64, mpsc::Sender<Arc<End>>>>,
    last_id: u64,
}

impl Default for Sessions {
    fn default() -> Self {
        Self(Arc::new(Shared { open: Mutex::default(), ready: watch::Sender::new(false) }))
    }
}

/// Why a session cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The notifier has not found its place in the ends.
    NotReady,
    /// The user has as many as allowed.
    TooMany,
}

/// An open session. It is closed by dropping it.
pub(super) struct Session {
    ends: mpsc::Receiver<Arc<End>>,
    user: String,
    id: u64,
    sessions: Sessions,
}

impl Session {
    /// The next end of its user; `None` when the session did not keep up or the notifier has stopped.
    pub(super) async fn next(&mut self) -> Option<Arc<End>> {
        self.ends.recv().await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.forget(&self.user, self.id);
    }
}

impl Sessions {
    /// Opens a session: every end of `user` that comes from now on reaches it.
    pub(super) async fn open(&self, user: &str) -> Result<Session, Closed> {
        let mut ready = self.0.ready.subscribe();
        let waited = tokio::time::timeout(READY_WAIT, ready.wait_for(|ready| *ready)).await;
        if !matches!(waited, Ok(Ok(_))) {
            return Err(Closed::NotReady);
        }
        let (sender, ends) = mpsc::channel(BUFFER);
        let mut open = self.lock();
        let id = open.last_id + 1;
        let own = open.by_user.entry(user.to_owned()).or_default();
        if PER_USER_MAX <= own.len() {
            return Err(Closed::TooMany);
        }
        own.insert(id, sender);
        open.last_id = id;
        Ok(Session { ends, user: user.to_owned(), id, sessions: self.clone() })
    }

    /// From now on, ends are dispatched.
    pub(super) fn open_up(&self) {
        self.0.ready.send_replace(true);
    }

    /// Hands each end to the sessions of its user, and drops those that have no room left.
    pub(super) fn dispatch(&self, ends: Vec<End>) {
        let mut open = self.lock();
        for end in ends {
            let Some(own) = open.by_user.get_mut(&end.user) else { continue };
            let user = end.user.clone();
            let end = Arc::new(end);
            own.retain(|_, session| session.try_send(end.clone()).is_ok());
            if own.is_empty() {
                open.by_user.remove(&user);
            }
        }
    }

    fn forget(&self, user: &str, id: u64) {
        let mut open = self.lock();
        if let Some(own) = open.by_user.get_mut(user) {
            own.remove(&id);
            if own.is_empty() {
                open.by_user.remove(user);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use kew_spec::lifecycle::Status;

    use super::*;

    fn end(seq: u64, user: &str) -> End {
        End {
            seq,
            job: format!("j-{seq}"),
            queue: "q".into(),
            user: user.into(),
            status: Status::Completed,
            error: None,
            dead_letter_queue: None,
            email: None,
            ended_ms: 0,
        }
    }

    #[tokio::test]
    async fn a_session_that_does_not_keep_up_is_dropped_and_others_are_not() {
        let sessions = Sessions::default();
        sessions.open_up();
        let mut slow = sessions.open("ann").await.unwrap();
        let mut quick = sessions.open("ben").await.unwrap();
        let many = BUFFER as u64 + 1;
        sessions.dispatch((1..=many).map(|seq| end(seq, "ann")).chain([end(many + 1, "ben")]).collect());
        for seq in 1..many {
            assert_eq!(slow.next().await.map(|end| end.seq), Some(seq));
        }
        assert_eq!(slow.next().await.map(|end| end.seq), None);
        assert_eq!(quick.next().await.map(|end| end.seq), Some(many + 1));
    }

    #[tokio::test]
    async fn a_closed_session_leaves_nothing_behind() {
        let sessions = Sessions::default();
        sessions.open_up();
        drop(sessions.open("ann").await.unwrap());
        assert!(sessions.lock().by_user.is_empty());
    }

    #[tokio::test]
    async fn sessions_open_only_once_the_notifier_has_found_its_place() {
        let sessions = Sessions::default();
        let mut opening = Box::pin(sessions.open("ann"));
        assert!((&mut opening).now_or_never().is_none());
        sessions.open_up();
        assert!(opening.await.is_ok());
    }
}

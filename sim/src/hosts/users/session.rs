//! The users' WebSocket sessions. Each user has one; when it is cut, the user opens another that goes on where it ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use kew_spec::history::{Notified, Session, Via};
use kew_spec::lifecycle::Status;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Users;
use crate::hosts::{PORT, notifier};

/// A session over which nothing has come for so long, not even a ping, is given up. The notifier pings every 15 s.
pub(super) const SILENCE: Duration = Duration::from_secs(35);

/// How long a user waits before opening another session.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// How often a user's wish to be connected or not is looked at.
const WISH_LOOK: Duration = Duration::from_millis(100);

/// Which users wish to be connected.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    off: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Sessions {
    pub(super) fn set(&self, user: &str, connected: bool) {
        self.off.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned(), !connected);
    }

    fn wanted(&self, user: &str) -> bool {
        !self.off.lock().unwrap_or_else(PoisonError::into_inner).get(user).copied().unwrap_or(false)
    }
}

/// What the notifier sends.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    End { seq: u64, job: String, status: Status },
    Hello { hello: Cursor },
}

#[derive(Deserialize)]
struct Cursor {
    seq: u64,
}

/// Opens a session for every user and keeps it open.
pub(super) fn open_all(users: &Users) -> Sessions {
    let sessions = Sessions::default();
    for user in users.scenario.users() {
        tokio::task::spawn_local(keep_open(users.clone(), sessions.clone(), user));
    }
    sessions
}

async fn keep_open(users: Users, sessions: Sessions, user: String) {
    let mut seen = None;
    for number in 1_u64.. {
        while !sessions.wanted(&user) {
            tokio::time::sleep(WISH_LOOK).await;
        }
        let session = format!("{user}-{number}");
        // An error is a session that was cut or never came about: either way the next one goes on.
        let _ = one(&users, &sessions, &user, &session, &mut seen).await;
        tokio::time::sleep(REOPEN_AFTER).await;
    }
}

/// One session, from its opening until it is cut, silent for too long, or not wished for any more.
async fn one(
    users: &Users,
    sessions: &Sessions,
    user: &str,
    session: &str,
    seen: &mut Option<u64>,
) -> Result<(), Error> {
    let after = seen.map_or(String::new(), |seq| format!("?after={seq}"));
    let mut request = format!("ws://{}:{PORT}/v1/events{after}", notifier::HOST).into_client_request()?;
    let bearer = format!("Bearer {user}").parse().expect("user names are plain ASCII");
    request.headers_mut().insert("authorization", bearer);
    let connecting = async {
        let stream = users.net.connect(notifier::HOST, PORT).await?;
        tokio_tungstenite::client_async(request, stream).await
    };
    let connected = tokio::time::timeout(SILENCE, connecting).await;
    let (mut socket, _) = connected.map_err(|_| Error::ConnectionClosed)??;
    let line = |open, resumed| Session { session: session.to_owned(), user: user.to_owned(), open, resumed };
    let mut open = false;
    let mut silent = Duration::ZERO;
    while sessions.wanted(user) && silent < SILENCE {
        let message = match tokio::time::timeout(WISH_LOOK, socket.next()).await {
            Err(_) => {
                silent += WISH_LOOK;
                continue;
            }
            Ok(Some(Ok(message))) => message,
            Ok(_) => break,
        };
        silent = Duration::ZERO;
        if let Message::Text(text) = message {
            match serde_json::from_str(&text) {
                Ok(Told::Hello { hello }) => {
                    users.recorder.see(line(true, seen.is_some()));
                    seen.get_or_insert(hello.seq);
                    open = true;
                }
                Ok(Told::End { seq, job, status }) => {
                    *seen = Some(seq);
                    let (user, session) = (user.to_owned(), Some(session.to_owned()));
                    users.recorder.see(Notified { user, via: Via::Websocket, session, job, status });
                }
                Err(_) => break,
            }
        }
    }
    if open {
        users.recorder.see(line(false, false));
    }
    Ok(())
}

//! The users' WebSocket sessions. Each user has one; when it is cut, the user opens another that goes on where it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use kew_spec::history::{Notified, Session, Via};
use kew_spec::lifecycle::Status;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::{Users, read};
use crate::clock;
use crate::hosts::{PORT, notifier};

/// A session over which nothing has come for so long, not even a ping, is given up. The notifier pings every 15 s.
const SILENCE: Duration = Duration::from_secs(35);

/// How long a user waits before opening another session.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// How often a user asks whether the session still stands, once it matters.
const PING_EVERY: Duration = Duration::from_secs(1);

/// How long sessions may take to find out that they are cut, to come back and to catch up.
const SETTLE: Duration = Duration::from_secs(50);

/// What the users wish of their sessions, and when they last heard over them.
#[derive(Clone)]
pub(super) struct Sessions {
    wishes: Arc<watch::Sender<Wishes>>,
    heard: Arc<Mutex<BTreeMap<String, u64>>>,
}

#[derive(Clone, Default)]
struct Wishes {
    /// Who does not wish to be connected.
    off: BTreeSet<String>,
    /// Whether sessions are asked if they still stand.
    ping: bool,
}

impl Sessions {
    fn new() -> Self {
        Self { wishes: Arc::new(watch::Sender::new(Wishes::default())), heard: Arc::default() }
    }

    pub(super) fn set(&self, user: &str, connected: bool) {
        self.wishes.send_modify(|wishes| {
            if connected {
                wishes.off.remove(user);
            } else {
                wishes.off.insert(user.to_owned());
            }
        });
    }

    /// Waits until everybody who wishes to be connected has heard something over a session after `from_ms`, at most for
    /// [`SETTLE`].
    pub(super) async fn settle(&self, users: &[String], from_ms: u64) {
        self.wishes.send_modify(|wishes| wishes.ping = true);
        let until = Instant::now() + SETTLE;
        while Instant::now() < until && !users.iter().all(|user| !self.wanted(user) || from_ms < self.heard_ms(user)) {
            sleep(PING_EVERY / 4).await;
        }
    }

    fn wanted(&self, user: &str) -> bool {
        !self.wishes.borrow().off.contains(user)
    }

    fn hear(&self, user: &str) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned(), clock::now_ms());
    }

    fn heard_ms(&self, user: &str) -> u64 {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(user).copied().unwrap_or(0)
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
    let sessions = Sessions::new();
    for user in users.scenario.users() {
        tokio::task::spawn_local(keep_open(users.clone(), sessions.clone(), user));
    }
    sessions
}

async fn keep_open(users: Users, sessions: Sessions, user: String) {
    let mut seen = None;
    let mut wishes = sessions.wishes.subscribe();
    for number in 1_u64.. {
        // The sender lives as long as `sessions`: an error cannot come.
        let _ = wishes.wait_for(|wishes| !wishes.off.contains(&user)).await;
        let name = format!("{user}-{number}");
        let mut stay = Stay { users: &users, sessions: &sessions, user: &user, name, seen: &mut seen, open: false };
        // An error is a session that was cut or never came about: either way the next one goes on.
        let _ = stay.run().await;
        stay.close();
        sleep(REOPEN_AFTER).await;
    }
}

/// One session, from its opening until it is cut, silent for too long, or not wished for any more.
struct Stay<'a> {
    users: &'a Users,
    sessions: &'a Sessions,
    user: &'a str,
    name: String,
    seen: &'a mut Option<u64>,
    open: bool,
}

impl Stay<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        let mut socket = tokio::time::timeout(SILENCE, self.connect()).await.map_err(|_| Error::ConnectionClosed)??;
        let mut wishes = self.sessions.wishes.subscribe();
        let (mut silent_at, mut ping_at) = (Instant::now() + SILENCE, Instant::now());
        while self.sessions.wanted(self.user) {
            let ping = wishes.borrow_and_update().ping;
            tokio::select! {
                biased;
                message = socket.next() => {
                    let Some(message) = message else { break };
                    silent_at = Instant::now() + SILENCE;
                    self.sessions.hear(self.user);
                    if !self.take(message?) {
                        break;
                    }
                }
                _ = wishes.changed() => {}
                () = sleep_until(silent_at) => break,
                () = sleep_until(ping_at), if ping => {
                    ping_at = Instant::now() + PING_EVERY;
                    socket.send(Message::Ping(Bytes::new())).await?;
                }
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<tokio_tungstenite::WebSocketStream<kew_runtime::net::Stream>, Error> {
        let after = self.seen.map_or(String::new(), |seq| format!("?after={seq}"));
        let mut request = format!("ws://{}:{PORT}/v1/events{after}", notifier::HOST).into_client_request()?;
        let bearer = format!("Bearer {}", self.user).parse().expect("user names are plain ASCII");
        request.headers_mut().insert("authorization", bearer);
        let stream = self.users.net.connect(notifier::HOST, PORT).await?;
        Ok(tokio_tungstenite::client_async(request, stream).await?.0)
    }

    /// Takes what came; false if it makes no sense, and the session is given up.
    fn take(&mut self, message: Message) -> bool {
        let Message::Text(text) = message else { return true };
        match serde_json::from_str(&text) {
            Ok(Told::Hello { hello }) => {
                self.see(true, self.seen.is_some());
                self.seen.get_or_insert(hello.seq);
                self.open = true;
            }
            Ok(Told::End { seq, job, status }) => {
                *self.seen = Some(seq);
                // Whoever is told looks; a word that comes late may be about an end before a redrive.
                tokio::task::spawn_local(read::end(self.users.clone(), self.user.to_owned(), job.clone()));
                let (user, session) = (self.user.to_owned(), Some(self.name.clone()));
                self.users.recorder.see(Notified { user, via: Via::Websocket, session, job, status });
            }
            Err(_) => return false,
        }
        true
    }

    fn close(&self) {
        if self.open {
            self.see(false, false);
        }
    }

    fn see(&self, open: bool, resumed: bool) {
        let (session, user) = (self.name.clone(), self.user.to_owned());
        self.users.recorder.see(Session { session, user, open, resumed });
    }
}

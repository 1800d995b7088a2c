//! `GET /v1/events`: a WebSocket that tells a user of every final end of their jobs, one JSON text each.
//!
//! The first text is `{"hello": {"seq": N}}`: the place from which on it tells. `?after=SEQ` resumes there without a gap:
//! first from the store, then live. Every end has a `seq`; the last one seen is the next `after`. Where ends after it are
//! not kept any more, it is refused, since it would leave a gap.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::FromRef;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use kew_spec::lifecycle::Status;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use super::sessions::{Closed, PER_USER_MAX, Session, Sessions};
use crate::api::extract::Params;
use crate::api::problem::{no_method, no_route, unexpected};
use crate::api::{Access, Caller, Kind, Problem, Role, health_route};
use crate::broker::{Queue, Refusal, Request};
use crate::store::{End, Query, Rows};
use crate::timestamp::rfc3339;

/// How often a session is asked whether it is still there, and how long it has to answer.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How long one text may take to be sent.
const SEND_MAX: Duration = Duration::from_secs(10);

/// The largest text that a client may send: it has nothing to say.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// How often the store is asked again in a session that has begun, and the pause between.
const TRIES: u32 = 5;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// WebSocket's code for "try again later" (IANA's registry of close codes).
const TRY_AGAIN_LATER: u16 = 1_013;

/// What the routes share.
#[derive(Clone)]
pub struct State {
    queue: Arc<dyn Queue>,
    access: Arc<Access>,
    sessions: Sessions,
}

impl State {
    /// Routes that ask `queue` for what has ended already, and hear from `sessions` what ends from now on.
    pub fn new(queue: Arc<dyn Queue>, access: Arc<Access>, sessions: Sessions) -> Self {
        Self { queue, access, sessions }
    }
}

impl FromRef<State> for Arc<Access> {
    fn from_ref(state: &State) -> Self {
        state.access.clone()
    }
}

impl FromRef<State> for Arc<dyn Queue> {
    fn from_ref(state: &State) -> Self {
        state.queue.clone()
    }
}

/// The notifier's routes with `/health`, for a process of its own.
pub fn router(state: State) -> Router {
    let routes = Router::new().route("/v1/events", get(open)).merge(health_route()).fallback(no_route);
    routes.method_not_allowed_fallback(no_method).with_state(state)
}

/// `/v1/events` alone, to be merged into the API's router.
pub fn events(state: State) -> Router {
    Router::new().route("/v1/events", get(open)).method_not_allowed_fallback(no_method).with_state(state)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    after: Option<u64>,
}

/// An end as its user is told of it.
#[derive(Serialize)]
struct EndView<'a> {
    seq: u64,
    job: &'a str,
    r#type: &'a str,
    status: Status,
    error: Option<&'a str>,
    dead_letter_queue: Option<&'a str>,
    ended_at: String,
}

async fn open(
    axum::extract::State(state): axum::extract::State<State>,
    caller: Caller,
    Params(asked): Params<Asked>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    caller.must_be(Role::User)?;
    let upgrade = upgrade.map_err(|error| {
        Problem::invalid(format!("this path is a WebSocket: {}; connect with a WebSocket client", error.body_text()))
    })?;
    // Registered before the store is asked where it is, so that an end in between is not missed.
    let session = state.sessions.open(&caller.user).await.map_err(closed)?;
    let newest = newest(state.queue.as_ref()).await?;
    let cursor = asked.after.unwrap_or(newest);
    if newest < cursor {
        let detail = format!("after is {cursor}, but the newest end is {newest}; connect without `after`");
        return Err(Problem::invalid(detail));
    }
    check_kept(state.queue.as_ref(), cursor, newest).await?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| Telling { socket, session, state, user: caller.user, cursor }.run()))
}

fn closed(why: Closed) -> Problem {
    match why {
        Closed::NotReady => Problem::new(Kind::Unavailable, "the notifier has not reached the broker yet; try again"),
        Closed::TooMany => {
            let detail = format!("there are {PER_USER_MAX} sessions of this user already; close one first");
            Problem::new(Kind::TooMany, detail)
        }
    }
}

async fn newest(queue: &dyn Queue) -> Result<u64, Problem> {
    match queue.call(Request::Read(Query::Told)).await? {
        crate::broker::Response::Rows(Rows::Told { newest, .. }) => Ok(newest),
        _ => Err(unexpected("where the ends are")),
    }
}

/// Refuses to go on after an end if what followed it is not all kept any more. Ends are numbered one by one, and the oldest
/// are forgotten first: so the next one that is kept tells.
async fn check_kept(queue: &dyn Queue, after: u64, newest: u64) -> Result<(), Problem> {
    if after == newest {
        return Ok(());
    }
    let answer = queue.call(Request::Read(Query::Ends { after, limit: 1 })).await?;
    let crate::broker::Response::Rows(Rows::Ends(ends)) = answer else { return Err(unexpected("the next end")) };
    let forgotten = ends.first().map_or(newest, |next| next.seq.saturating_sub(1));
    if forgotten <= after {
        return Ok(());
    }
    let detail = format!(
        "after is {after}, but the ends up to {forgotten} are not kept any more; see GET /v1/jobs for what has ended, and \
         connect with ?after={forgotten} or without `after`"
    );
    Err(Problem::new(Kind::Gone, detail))
}

/// One session.
struct Telling {
    socket: WebSocket,
    session: Session,
    state: State,
    user: String,
    /// The last end that was told or passed over.
    cursor: u64,
}

/// Why a session ends: what the client is told, if it can still hear.
enum Over {
    /// The client has gone, or does not answer.
    Gone,
    /// It may come back.
    Resume(&'static str),
}

impl Telling {
    async fn run(mut self) {
        if let Err(Over::Resume(reason)) = self.tell().await {
            let close = CloseFrame { code: TRY_AGAIN_LATER, reason: reason.into() };
            // Whoever does not hear it sees the connection end.
            let _ = timeout(SEND_MAX, self.socket.send(Message::Close(Some(close)))).await;
        }
    }

    /// Tells until the session is over, which is an error by the shape of it.
    async fn tell(&mut self) -> Result<(), Over> {
        self.send(Message::text(json!({ "hello": { "seq": self.cursor } }).to_string())).await?;
        self.replay().await?;
        let mut ping_at = Instant::now() + PING_EVERY;
        let mut answered = true;
        loop {
            tokio::select! {
                biased;
                heard = self.socket.recv() => match heard {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over::Gone),
                    Some(Ok(_)) => answered = true,
                },
                () = sleep_until(ping_at) => {
                    if !answered {
                        return Err(Over::Gone);
                    }
                    answered = false;
                    ping_at = Instant::now() + PING_EVERY;
                    self.send(Message::Ping(Bytes::new())).await?;
                }
                end = self.session.next() => {
                    let end = end.ok_or(Over::Resume("this session fell behind; connect again with ?after=SEQ"))?;
                    self.end(&end).await?;
                }
            }
        }
    }

    /// Tells what has ended between the cursor and now.
    async fn replay(&mut self) -> Result<(), Over> {
        let user = self.user.clone();
        loop {
            let ends = ended(self.state.queue.as_ref(), self.cursor).await?;
            let Some(last) = ends.last().map(|end| end.seq) else { return Ok(()) };
            for end in ends.into_iter().filter(|end| end.user == user) {
                self.end(&end).await?;
            }
            self.cursor = last;
        }
    }

    /// Tells of one end, unless it has been told.
    async fn end(&mut self, end: &End) -> Result<(), Over> {
        if end.seq <= self.cursor {
            return Ok(());
        }
        let view = EndView {
            seq: end.seq,
            job: &end.job,
            r#type: &end.queue,
            status: end.status,
            error: end.error.as_deref(),
            dead_letter_queue: end.dead_letter_queue.as_deref(),
            ended_at: rfc3339(end.ended_ms),
        };
        let text = serde_json::to_string(&view).expect("an end is plain data");
        self.send(Message::text(text)).await?;
        self.cursor = end.seq;
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over::Gone),
        }
    }
}

/// What has ended after `after`.
async fn ended(queue: &dyn Queue, after: u64) -> Result<Vec<End>, Over> {
    for _ in 0..TRIES {
        match queue.call(Request::Ends { after, wait_ms: 0 }).await {
            Ok(crate::broker::Response::Rows(Rows::Ends(ends))) => return Ok(ends),
            Err(Refusal::Unavailable(_)) => tokio::time::sleep(TRY_AGAIN_AFTER).await,
            _ => break,
        }
    }
    Err(Over::Resume("the broker cannot be reached; connect again with ?after=SEQ"))
}

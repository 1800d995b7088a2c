//! `POST /broker/call`: the broker for the other roles, as [`Remote`](crate::broker::Remote) calls it. Not an API for
//! users: requests and answers are those of the broker's trait, and change with it.

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};

use super::Api;
use super::access::{Caller, Role};
use super::extract::{Text, parse};
use super::problem::Problem;
use crate::broker::{Request, Response};

/// The largest body: a settle of the largest batch with 3 KB of result each, or a full enqueue.
const BODY_BYTES_MAX: usize = 32 << 20;

/// The longest time that a call may wait for ends or for work.
const WAIT_MAX_MS: u64 = 60_000;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/broker/call", post(call)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

async fn call(State(api): State<Api>, caller: Caller, Text(body): Text) -> Result<Json<Response>, Problem> {
    caller.must_be(Role::Operator)?;
    let request = bounded(parse("the call", &body)?);
    let answer = api.queue.call(request).await;
    answer.map(Json).map_err(|refusal| Problem::from(refusal.clone()).carrying(refusal))
}

fn bounded(mut request: Request) -> Request {
    match &mut request {
        Request::Pull(pull) => pull.wait_ms = pull.wait_ms.min(WAIT_MAX_MS),
        Request::Ends { wait_ms, .. } => *wait_ms = (*wait_ms).min(WAIT_MAX_MS),
        _ => {}
    }
    request
}

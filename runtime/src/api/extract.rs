//! What a request brings: its path, its query, its body. Whatever is wrong with them becomes a problem that names the
//! place, where axum's own extractors would answer in plain text.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};

/// How long a body may take to arrive: time for the largest, 13 MB, at 1 Mbit/s. Without a bound, half a body would hold
/// its connection for ever.
const BODY_MAX: Duration = Duration::from_secs(120);

/// The variable parts of a path.
pub(crate) struct Place<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Place<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(it)| Self(it))
            .map_err(|error| Problem::invalid(format!("the path is not valid: {}", error.body_text())))
    }
}

/// The query, `?…`.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(it)| Self(it)).map_err(|error| {
            let text = error.body_text();
            let reason = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Problem::invalid(format!("the query is not valid: {reason}"))
        })
    }
}

/// The body, as text.
pub(crate) struct Text(pub(crate) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = tokio::time::timeout(BODY_MAX, Bytes::from_request(request, state)).await;
        let bytes = read.map_err(|_| late())?.map_err(|rejection| unread(&rejection))?;
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            Problem::invalid(format!("the body is not UTF-8: byte {place} is wrong; send JSON in UTF-8"))
        })
    }
}

fn late() -> Problem {
    let seconds = BODY_MAX.as_secs();
    Problem::invalid(format!("the body did not arrive within {seconds} s; send fewer or smaller items in one request"))
}

fn unread(rejection: &BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Problem::new(
            Kind::TooLarge,
            "the body is larger than this path takes; send fewer or smaller items in one request",
        ),
        _ => Problem::invalid("the body broke off; send the request again"),
    }
}

/// Reads JSON. The problem names `what` is wrong, where, and what is allowed.
pub(crate) fn parse<'a, T: Deserialize<'a>>(what: &str, json: &'a str) -> Result<T, Problem> {
    serde_json::from_str(json).map_err(|error| Problem::invalid(format!("{what}: {error}")))
}

/// Which part of a list is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// How many at most.
    pub(crate) limit: Option<u32>,
    /// Only what comes after this id.
    pub(crate) after: Option<String>,
}

/// The `limit` of a list, within 1 and `max`.
pub(crate) fn limit(asked: Option<u32>, default: u32, max: u32) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(default);
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid(format!("limit is {limit}; allowed: 1 to {max}")))
}

//! Every error of the API: a problem document (RFC 9457) whose detail is one sentence that says what to do.
//!
//! On the routes of Cloudflare's shape the same document also carries Cloudflare's members, see [`Problem::reshaped`].

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::broker::Refusal;

/// What kind of error it is: decides status, type and title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense as it is.
    Invalid,
    /// No token, or an unknown one.
    Unauthenticated,
    /// The token's role does not allow it.
    Forbidden,
    /// There is no such thing, or it is another user's.
    NotFound,
    /// There was such a thing, and it is not kept any more.
    Gone,
    /// The path is right, the method is not.
    MethodNotAllowed,
    /// Things stand in a way that forbids it.
    Conflict,
    /// The queue is paused and gives no deliveries.
    Paused,
    /// More bytes than allowed.
    TooLarge,
    /// The idempotency key belongs to another request.
    KeyReused,
    /// More sessions than allowed.
    TooMany,
    /// The broker could not be reached or could not finish.
    Unavailable,
}

impl Kind {
    /// Status, the last part of the type's URN, and title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Invalid => (StatusCode::BAD_REQUEST, "invalid", "The request is not valid"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "The caller is not known"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The caller may not do this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::Gone => (StatusCode::GONE, "gone", "It is not kept any more"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method", "The method is not allowed here"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "The present state does not allow it"),
            Self::Paused => (StatusCode::CONFLICT, "queue-paused", "The queue is paused"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large"),
            Self::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The idempotency key belongs to another request")
            }
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many at once"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The queue cannot be reached"),
        }
    }

    /// Cloudflare's code and text for it, from its list of Queues error codes where that has one; 15000 is its
    /// "unknown". Its list has none for a paused queue, of which only the text is known.
    fn cloudflare(self) -> (u32, Option<&'static str>) {
        match self {
            Self::NotFound | Self::Gone => (10_104, None),
            Self::Unauthenticated | Self::Forbidden => (10_106, None),
            Self::Invalid => (10_207, None),
            Self::TooLarge => (10_204, None),
            Self::TooMany | Self::Unavailable => (10_250, None),
            Self::Paused => (15_000, Some("queue_delivery_paused")),
            Self::MethodNotAllowed | Self::Conflict | Self::KeyReused => (15_000, None),
        }
    }
}

/// An error as the client sees it.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    refusal: Option<Refusal>,
}

/// The document.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a Refusal>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    cloudflare: Option<serde_json::Value>,
}

impl Problem {
    /// A problem whose `detail` says what is wrong and what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), refusal: None }
    }

    /// Short for a problem of kind [`Kind::Invalid`].
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, detail)
    }

    /// Short for a problem of kind [`Kind::NotFound`].
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// What a list shall go on after has gone from it since.
    pub(super) fn gone(after: &str) -> Self {
        Self::invalid(format!("after: {after:?} is not in this list (any more); leave it out to begin anew"))
    }

    /// The same problem with the broker's own refusal, for the roles that talk to it from afar.
    pub(super) fn carrying(self, refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..self }
    }

    fn respond(&self, cloudflare: Option<serde_json::Value>) -> Response {
        let (status, slug, title) = self.kind.parts();
        let document = Document {
            r#type: format!("urn:kew:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            refusal: self.refusal.as_ref(),
            cloudflare,
        };
        let body = serde_json::to_vec(&document).expect("a problem is plain data");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.kind {
            Kind::Unavailable | Kind::TooMany => {
                drop(headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1")))
            }
            Kind::Unauthenticated => {
                drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            _ => {}
        }
        response
    }

    /// Gives a response that is a problem Cloudflare's members too: `success`, `errors`, `messages`, `result`.
    pub(super) async fn reshaped(response: Response<Body>) -> Response<Body> {
        let Some(problem) = response.extensions().get::<Self>() else { return response };
        let (code, text) = problem.kind.cloudflare();
        let message = text.map_or_else(|| problem.detail.clone(), |text| format!("{text}: {}", problem.detail));
        problem.respond(Some(json!({
            "success": false,
            "errors": [{ "code": code, "message": message }],
            "messages": [],
            "result": null,
        })))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.respond(None);
        // For `reshaped`, which cannot know the problem from the bytes.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::NotFound(_) => Kind::NotFound,
            Refusal::Invalid(_) => Kind::Invalid,
            Refusal::Conflict(_) => Kind::Conflict,
            Refusal::KeyReused(_) => Kind::KeyReused,
            Refusal::Unavailable(_) => Kind::Unavailable,
        };
        Self::new(kind, refusal.to_string())
    }
}

/// An answer of another kind than the request's: the other side speaks another version.
pub(crate) fn unexpected(what: &str) -> Problem {
    let detail = format!("the broker's answer to {what} is of another kind; do all roles run the same version?");
    Problem::new(Kind::Unavailable, detail)
}

/// A path that no route has.
pub(crate) async fn no_route(uri: axum::http::Uri) -> Problem {
    Problem::not_found(format!("there is no path {}; the paths are in the documentation of the API", uri.path()))
}

/// A method that a route does not have.
pub(crate) async fn no_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    let detail = format!("{} does not take {method}; the header Allow names the methods that it takes", uri.path());
    Problem::new(Kind::MethodNotAllowed, detail)
}

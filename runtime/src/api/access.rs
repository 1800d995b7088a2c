//! Who may call: bearer tokens with a user and a role each, or, without any token, whoever is on this machine.
//!
//! Tokens are compared in constant time and never shown: not in logs, not by `Debug`.

use std::fmt;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, Version, header};
use serde::{Deserialize, Serialize};

use super::problem::{Kind, Problem};

/// The user of a request that names none, where no tokens are configured.
const LOCAL_USER: &str = "local";

/// The longest user name.
const USER_CHARS_MAX: usize = 255;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Make jobs, see and cancel its own, hear of their ends.
    User,
    /// Pull and settle deliveries.
    Processor,
    /// Everything: see and cancel anybody's, pause queues, redrive dead letters, call the broker.
    Operator,
}

impl Role {
    fn allows(self, wanted: Self) -> bool {
        self == wanted || self == Self::Operator
    }
}

/// A token and what it stands for.
#[derive(Clone)]
pub struct Grant {
    /// The token, as it stands after `Bearer`.
    pub token: String,
    /// Whose it is.
    pub user: String,
    /// What its user may do.
    pub role: Role,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("user", &self.user).field("role", &self.role).finish_non_exhaustive()
    }
}

/// All tokens. Without any, only this machine is served, as any user that it names and with every role.
#[derive(Clone, Debug, Default)]
pub struct Access {
    grants: Vec<Grant>,
}

impl Access {
    /// The given tokens; none serves this machine alone.
    pub fn new(grants: Vec<Grant>) -> Self {
        Self { grants }
    }

    /// Whether there are tokens.
    pub fn has_tokens(&self) -> bool {
        !self.grants.is_empty()
    }

    fn caller(&self, parts: &Parts) -> Result<Caller, Problem> {
        if !self.has_tokens() {
            return local_caller(parts);
        }
        let unknown = |detail: &str| Problem::new(Kind::Unauthenticated, detail);
        let Some(given) = bearer(&parts.headers) else {
            return Err(unknown("there is no token; send the header `Authorization: Bearer TOKEN`"));
        };
        // Goes through all of them, so that the time does not tell which one was close.
        let found = self.grants.iter().fold(None, |found, grant| {
            if same(given.as_bytes(), grant.token.as_bytes()) { Some(grant) } else { found }
        });
        let grant = found.ok_or_else(|| unknown("the token is not known; use one of the server's configuration"))?;
        Ok(Caller { user: grant.user.clone(), role: grant.role })
    }
}

/// Whether two tokens are the same, in a time that depends on the given one's length alone.
fn same(given: &[u8], known: &[u8]) -> bool {
    if known.is_empty() {
        return false;
    }
    let mut difference = given.len() ^ known.len();
    for (i, byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ known[i % known.len()]);
    }
    black_box(difference) == 0
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who calls, where no tokens are configured. A web page in this machine's browser calls from this machine too, and so
/// does a proxy, on behalf of others: both are told by their headers, and a proxy that sends none of these (nginx as it
/// comes) by the HTTP/1.0 that it speaks.
fn local_caller(parts: &Parts) -> Result<Caller, Problem> {
    let forbidden = |detail: &str| Err(Problem::new(Kind::Forbidden, detail));
    let loopback =
        parts.extensions.get::<ConnectInfo<Peer>>().is_some_and(|peer| peer.0.0.ip().to_canonical().is_loopback());
    if !loopback {
        return forbidden(
            "no tokens are configured, so only this machine is served; configure [[token]] to serve others",
        );
    }
    let foreign_host = parts.headers.get(header::HOST).is_some_and(|host| !names_loopback(host.to_str().ok()));
    let foreign_origin = parts.headers.get(header::ORIGIN).is_some_and(|it| !origin_is_loopback(it.to_str().ok()));
    if foreign_host || foreign_origin || is_forwarded(parts) {
        return forbidden(
            "no tokens are configured, and this request came for another host, from a web page or through a proxy (as \
             HTTP/1.0 does); call this machine's loopback address directly and by HTTP/1.1, or configure [[token]]",
        );
    }
    Ok(Caller { user: named_user(&parts.headers)?, role: Role::Operator })
}

/// Whether a proxy has sent it, as far as it tells.
fn is_forwarded(parts: &Parts) -> bool {
    let tells = |name: &str| matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-");
    parts.version < Version::HTTP_11 || parts.headers.keys().any(|name| tells(name.as_str()))
}

fn named_user(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get("kew-user") else { return Ok(LOCAL_USER.into()) };
    let legal =
        |user: &&str| !user.is_empty() && user.len() <= USER_CHARS_MAX && user.bytes().all(|b| b.is_ascii_graphic());
    let user = value.to_str().ok().filter(legal);
    let rule =
        format!("the header Kew-User is not a user's name; allowed: 1 to {USER_CHARS_MAX} visible ASCII characters");
    user.map(str::to_owned).ok_or_else(|| Problem::invalid(rule))
}

/// Whether a host, with or without a port, is this machine.
fn names_loopback(host: Option<&str>) -> bool {
    let authority = host.and_then(|host| host.parse::<axum::http::uri::Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host().trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    })
}

fn origin_is_loopback(origin: Option<&str>) -> bool {
    let uri = origin.and_then(|origin| origin.parse::<Uri>().ok());
    uri.is_some_and(|uri| names_loopback(uri.authority().map(|authority| authority.as_str())))
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user whose jobs these are.
    pub user: String,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// Whether the caller may do anything.
    pub fn is_operator(&self) -> bool {
        self.role == Role::Operator
    }

    /// Refuses a caller without the role.
    pub fn must_be(&self, role: Role) -> Result<(), Problem> {
        if self.role.allows(role) {
            return Ok(());
        }
        let name = |role| format!("{role:?}").to_lowercase();
        let detail = format!("this needs the role {}; the token has the role {}", name(role), name(self.role));
        Err(Problem::new(Kind::Forbidden, detail))
    }
}

impl<S> FromRequestParts<S> for Caller
where
    Arc<Access>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Arc::<Access>::from_ref(state).caller(parts)
    }
}

//! A router over a [`Fake`], and how to ask it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, Version};
use axum::response::Response;
use http_body_util::BodyExt;
use kew_runtime::api::{Access, Api, Grant, Peer, Role, router};
use kew_runtime::clock::Clock;
use kew_runtime::ids::Ids;
use kew_spec::queues::Queues;
use serde_json::Value;
use tower::ServiceExt;

use crate::fake::{Fake, NOW_MS};

pub(crate) const ANN: &str = "token-of-ann";
pub(crate) const BEN: &str = "token-of-ben";
pub(crate) const PROCESSOR: &str = "token-of-the-processor";
pub(crate) const OPERATOR: &str = "token-of-the-operator";

pub(crate) struct Still;

impl Clock for Still {
    fn wall_ms(&self) -> u64 {
        NOW_MS
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }
}

pub(crate) struct World {
    pub(crate) fake: Arc<Fake>,
    pub(crate) router: Router,
}

/// An answer: its status, its headers, its JSON.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The detail of a problem with this status.
    pub(crate) fn detail(&self, status: u16) -> String {
        let json = self.json();
        assert_eq!(self.status.as_u16(), status, "{json}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(json["status"], status);
        assert!(json["type"].as_str().unwrap().starts_with("urn:kew:problem:") && json["title"].is_string(), "{json}");
        json["detail"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn access() -> Arc<Access> {
    let grant = |token: &str, user: &str, role| Grant { token: token.into(), user: user.into(), role };
    Arc::new(Access::new(vec![
        grant(ANN, "ann", Role::User),
        grant(BEN, "ben", Role::User),
        grant(PROCESSOR, "worker", Role::Processor),
        grant(OPERATOR, "ops", Role::Operator),
    ]))
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(access())
    }

    pub(crate) fn with(access: Arc<Access>) -> Self {
        let fake = Arc::new(Fake::default());
        let api = Api::new(fake.clone(), Arc::new(Queues::default()), access, Ids::from_seed(7), Arc::new(Still));
        Self { fake, router: router(api) }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, token: &str, body: impl Into<Body>) -> Answer {
        self.ask_with(method, path, &[("authorization", &format!("Bearer {token}"))], None, body).await
    }

    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        peer: Option<&str>,
        body: impl Into<Body>,
    ) -> Answer {
        self.ask_by(Version::HTTP_11, method, path, headers, peer, body).await
    }

    pub(crate) async fn ask_by(
        &self,
        version: Version,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        peer: Option<&str>,
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().version(version).method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.into()).unwrap();
        if let Some(peer) = peer {
            let peer: SocketAddr = peer.parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(Peer(peer)));
        }
        answer(self.router.clone().oneshot(request).await.unwrap()).await
    }
}

async fn answer(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.into()).unwrap() }
}

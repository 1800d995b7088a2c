//! What the tests of all handlers share: deliveries, and a server that keeps what it was sent.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use kew_runtime::processor::{Delivery, Failure, Handler, Job, Outcome, Report};
use serde_json::Value;

/// A job of the given payload.
pub fn job(id: &str, payload: &Value) -> Job {
    let payload = serde_json::value::to_raw_value(payload).unwrap();
    Job { id: id.into(), user: "ada".into(), attempt: 1, version: 1, key: None, payload }
}

/// A delivery of `jobs` as the batch `b-1`.
pub fn delivery(queue: &str, jobs: Vec<Job>) -> Delivery {
    let (id, batch) = ("d-1".to_owned(), "b-1".to_owned());
    Delivery { id, queue: queue.into(), batch, timeout_ms: 30_000, jobs }
}

/// What a handler answers, and what it reports by job.
pub async fn handle(handler: &dyn Handler, delivery: &Delivery) -> (Result<(), Failure>, BTreeMap<String, Outcome>) {
    let report = Report::default();
    let answer = handler.handle(delivery, &report).await;
    (answer, report.take())
}

/// The outcome of a delivery's only job.
pub async fn handle_one(handler: &dyn Handler, queue: &str, job: Job) -> Result<Value, String> {
    let (answer, mut outcomes) = handle(handler, &delivery(queue, vec![job])).await;
    answer.map_err(|failure| failure.0)?;
    let outcome = outcomes.pop_first().expect("the job was reported").1;
    outcome.map(|result| serde_json::from_str(result.get()).unwrap()).map_err(|failure| failure.0)
}

/// A request that a `Server` got.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A server on this machine that gives one answer to everything.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers with `status`, `headers` and `body` until the test ends.
    pub async fn start(status: u16, headers: &[(&'static str, &str)], body: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&seen);
        let answer: (StatusCode, String) = (StatusCode::from_u16(status).unwrap(), body.to_owned());
        let mut extra = HeaderMap::new();
        for (name, value) in headers {
            extra.insert(*name, value.parse().unwrap());
        }
        let serve = move |method: Method, uri: Uri, headers: HeaderMap, bytes: Bytes| async move {
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            keep.lock().unwrap().push(Seen { method, path: uri.path().into(), headers, body });
            let response: Response = (answer.0, extra, answer.1).into_response();
            response
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, Router::new().fallback(serve)).into_future());
        Self { url, seen }
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

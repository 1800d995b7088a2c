//! The relay: one POST a batch, which the receiver stores once by its id and splits as its own limits demand.

use hyper::Method;
use kew_runtime::processor::Failure;
use serde_json::json;

use super::Event;
use crate::Secret;
use crate::http::{Base, Client};

/// The longest answer that is read, in bytes: only its status counts.
const ANSWER_BYTES_MAX: usize = 64 << 10;

const WHO: &str = "the analytics relay";

#[derive(Debug)]
pub(super) struct Relay {
    base: Base,
    client: Client,
}

impl Relay {
    pub(super) fn new(url: &str, token: Option<Secret>) -> Result<Self, String> {
        Ok(Self { base: Base::parse(url)?, client: Client::new(WHO, token, ANSWER_BYTES_MAX) })
    }

    pub(super) async fn store(&self, batch: &str, events: &[Event<'_>]) -> Result<(), Failure> {
        let body = json!({ "batch": batch, "points": events }).to_string().into_bytes();
        let headers = [("idempotency-key", batch)];
        let reply = self.client.send(Method::POST, self.base.as_str(), &headers, body).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        Err(self.client.failure(&reply))
    }
}

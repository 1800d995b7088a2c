//! The broker from afar: [`Queue`] over HTTP.
//!
//! Requests go as they are to `/broker/call`, which needs an operator's token. A processor pulls and settles by the
//! routes of Cloudflare's shape instead, which need a processor's token only.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Granted, Pull, Pulled, Queue, Refusal, Report, Request, Response, Settlement};
use crate::api::cloudflare::{Ack, AckBody, AckResult, Envelope, Metadata, PullBody, PullResult, PulledMessage, Retry};
use crate::net::{Client, Net, Reply};
use crate::processor::{Delivery, Job};

const CALL: &str = "/broker/call";
const PULL: &str = "/queues/any/messages/pull";
const ACK: &str = "/queues/any/messages/ack";

/// How long a reply may take that nobody keeps waiting: a second for the work, and room for a few lost segments.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A broker in another process.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    pulls_as_processor: bool,
    /// How long to wait for a reply that the broker gives at once.
    pub timeout: Duration,
    /// How much longer than it asks the broker to wait a pull, or a wait for ends, waits for its reply.
    pub timeout_beyond_wait: Duration,
}

impl Remote {
    /// The broker at `base` (`http://host:port`), for the api and the notifier: `token` has to be an operator's.
    pub fn new(net: Arc<dyn Net>, base: impl Into<String>, token: Option<String>) -> Self {
        let client = Client::new(net, base, token);
        Self { client, pulls_as_processor: false, timeout: TIMEOUT, timeout_beyond_wait: TIMEOUT }
    }

    /// The broker at `base`, for a processor: `token` may be a processor's.
    pub fn for_processor(net: Arc<dyn Net>, base: impl Into<String>, token: Option<String>) -> Self {
        Self { pulls_as_processor: true, ..Self::new(net, base, token) }
    }

    async fn ask(&self, request: Request) -> Result<Response, Refusal> {
        match request {
            Request::Pull(pull) if self.pulls_as_processor => self.pull(pull).await.map(Response::Pulled),
            Request::Settle(all) if self.pulls_as_processor => self.settle(all).await.map(Response::Settled),
            request => {
                let timeout = self.timeout_of(&request);
                self.post(CALL, &request, timeout).await
            }
        }
    }

    fn timeout_of(&self, request: &Request) -> Duration {
        match request {
            Request::Pull(Pull { wait_ms, .. }) | Request::Ends { wait_ms, .. } => self.timeout_after(*wait_ms),
            _ => self.timeout,
        }
    }

    fn timeout_after(&self, wait_ms: u64) -> Duration {
        Duration::from_millis(wait_ms) + self.timeout_beyond_wait
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, Refusal> {
        let body =
            serde_json::to_vec(body).map_err(|error| Refusal::Invalid(format!("the request is no JSON: {error}")))?;
        let reply = self.client.post(path, body, timeout).await;
        let reply = reply.map_err(|error| Refusal::Unavailable(format!("failed to {error}")))?;
        if reply.status != StatusCode::OK {
            return Err(refusal(&reply));
        }
        serde_json::from_slice(&reply.body).map_err(|error| senseless(path, &error))
    }

    async fn pull(&self, pull: Pull) -> Result<Pulled, Refusal> {
        let timeout = self.timeout_after(pull.wait_ms);
        let body = PullBody {
            batch_size: pull.batch_size_max,
            visibility_timeout_ms: pull.lease_ms,
            processor: Some(pull.processor),
            queues: pull.queues,
            slots: Some(pull.slots),
            wait_ms: pull.wait_ms,
            holding: pull.holding,
        };
        let reply: Envelope<PullResult> = self.post(PULL, &body, timeout).await?;
        let PullResult { messages, revoked, waited_ms, .. } = reply.result;
        Ok(Pulled { deliveries: deliveries(messages)?, revoked, waited_ms })
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<bool>, Refusal> {
        let leases: Vec<_> = settlements.iter().map(|it| it.lease.to_string()).collect();
        let mut body = AckBody::default();
        for it in settlements {
            let lease_id = it.lease.to_string();
            match it.outcome {
                Report::Completed { result } => body.acks.push(Ack { lease_id, result: Some(result) }),
                outcome => body.retries.push(retry(lease_id, outcome)),
            }
        }
        let reply: Envelope<AckResult> = self.post(ACK, &body, self.timeout).await?;
        Ok(leases.iter().map(|lease| !reply.result.warnings.contains_key(lease)).collect())
    }
}

impl Queue for Remote {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Refusal>> {
        self.ask(request).boxed()
    }
}

fn retry(lease_id: String, outcome: Report) -> Retry {
    let (error, delay_ms, timed_out) = match outcome {
        Report::Failed { error, delay_ms } => (Some(error), delay_ms, false),
        Report::TimedOut { error } => (Some(error), None, true),
        Report::Completed { .. } => (None, None, false),
    };
    // Rounded up: a delay is the least that the consumer wants.
    Retry { lease_id, delay_seconds: delay_ms.map(|ms| ms.div_ceil(1_000)), error, timed_out }
}

/// Puts messages back together to deliveries, by the delivery that each names.
fn deliveries(messages: Vec<PulledMessage>) -> Result<Vec<Granted>, Refusal> {
    let mut deliveries: Vec<Granted> = Vec::new();
    for message in messages {
        let lease = message.lease_id.parse().map_err(|error: String| senseless(PULL, &error))?;
        let job = job(message.id, message.attempts, &message.body, &message.metadata)?;
        if deliveries.last().is_none_or(|last| last.delivery.id != message.metadata.delivery) {
            deliveries.push(empty(message.metadata));
        }
        if let Some(last) = deliveries.last_mut() {
            last.delivery.jobs.push(job);
            last.leases.push(lease);
            last.created_ms.push(message.timestamp_ms);
        }
    }
    Ok(deliveries)
}

fn empty(of: Metadata) -> Granted {
    let Metadata { queue, delivery: id, batch, timeout_ms, lease_ms, .. } = of;
    let delivery = Delivery { id, queue, batch, timeout_ms, jobs: Vec::new() };
    Granted { delivery, leases: Vec::new(), lease_ms, created_ms: Vec::new() }
}

fn job(id: String, attempt: u32, body: &str, metadata: &Metadata) -> Result<Job, Refusal> {
    let bytes = STANDARD.decode(body).map_err(|error| senseless(PULL, &error))?;
    let text = String::from_utf8(bytes).map_err(|error| senseless(PULL, &error))?;
    let payload = RawValue::from_string(text).map_err(|error| senseless(PULL, &error))?;
    let Metadata { user, version, key, .. } = metadata;
    Ok(Job { id, user: user.clone(), attempt, version: *version, key: key.clone(), payload })
}

/// What a reply other than 200 says.
fn refusal(reply: &Reply) -> Refusal {
    #[derive(Deserialize)]
    struct Problem {
        detail: Option<String>,
        refusal: Option<serde_json::Value>,
    }
    let problem: Option<Problem> = serde_json::from_slice(&reply.body).ok();
    let (detail, refusal) = problem.map_or((None, None), |it| (it.detail, it.refusal));
    // A broker of another version may have refusals that are not known here: they go by their status too.
    let refusal = refusal.and_then(|it| serde_json::from_value(it).ok());
    let detail = detail.unwrap_or_else(|| format!("the broker answers {}", reply.status));
    refusal.unwrap_or(match reply.status {
        StatusCode::NOT_FOUND => Refusal::NotFound(detail),
        StatusCode::CONFLICT => Refusal::Conflict(detail),
        StatusCode::UNPROCESSABLE_ENTITY => Refusal::KeyReused(detail),
        // Not about the request: the token was changed, or somebody in between is overloaded.
        StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Refusal::Unavailable(detail)
        }
        status if status.is_client_error() => Refusal::Invalid(detail),
        _ => Refusal::Unavailable(detail),
    })
}

/// A reply that cannot be read: the broker has acted, but how is unknown.
fn senseless(path: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::Unavailable(format!("failed to read the broker's reply to {path}: {error}; do both run the same version?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::TokioNet;
    use crate::store::{LeaseId, Query};

    fn reply(status: StatusCode, body: &str) -> Refusal {
        refusal(&Reply { status, body: body.to_owned().into() })
    }

    #[test]
    fn a_reply_is_waited_for_as_long_as_the_broker_may_keep_the_question_and_some_more() {
        let remote = Remote::new(Arc::new(TokioNet), "http://127.0.0.1:1", None);
        let (pull, ends) = (Pull { wait_ms: 700, ..Pull::default() }, Request::Ends { after: 0, wait_ms: 900 });
        assert_eq!(remote.timeout_of(&Request::Pull(pull)), Duration::from_millis(5_700));
        assert_eq!(remote.timeout_of(&ends), Duration::from_millis(5_900));
        assert_eq!(remote.timeout_of(&Request::Read(Query::Depths)), Duration::from_secs(5));
    }

    #[test]
    fn a_refusal_that_the_broker_did_not_make_goes_by_its_status() {
        let detail = r#"{"detail": "why"}"#;
        assert_eq!(reply(StatusCode::NOT_FOUND, detail), Refusal::NotFound("why".into()));
        assert_eq!(reply(StatusCode::CONFLICT, detail), Refusal::Conflict("why".into()));
        assert_eq!(reply(StatusCode::FORBIDDEN, detail), Refusal::Invalid("why".into()));
        assert_eq!(reply(StatusCode::UNAUTHORIZED, detail), Refusal::Unavailable("why".into()));
        assert_eq!(reply(StatusCode::TOO_MANY_REQUESTS, detail), Refusal::Unavailable("why".into()));
        assert_eq!(reply(StatusCode::BAD_GATEWAY, detail), Refusal::Unavailable("why".into()));
        let newer = r#"{"detail": "why", "refusal": {"unheard_of": "why"}}"#;
        assert_eq!(reply(StatusCode::UNPROCESSABLE_ENTITY, newer), Refusal::KeyReused("why".into()));
        let bare = Refusal::Unavailable("the broker answers 502 Bad Gateway".into());
        assert_eq!(reply(StatusCode::BAD_GATEWAY, "<html>"), bare);
    }

    #[test]
    fn a_delay_is_rounded_up_to_the_seconds_that_it_travels_in() {
        let sent = |delay_ms| retry("l".into(), Report::Failed { error: "e".into(), delay_ms });
        assert_eq!(sent(Some(1_001)).delay_seconds, Some(2));
        assert_eq!(sent(Some(1_000)).delay_seconds, Some(1));
        let failed = sent(None);
        assert_eq!((failed.delay_seconds, failed.error.as_deref(), failed.timed_out), (None, Some("e"), false));
        let timed_out = retry("l".into(), Report::TimedOut { error: "slow".into() });
        assert_eq!((timed_out.error.as_deref(), timed_out.timed_out), (Some("slow"), true));
    }

    fn message(delivery: &str, id: &str) -> PulledMessage {
        let lease = LeaseId { queue: "q".into(), job: id.into(), attempt: 1, fence: 1 };
        let message = serde_json::json!({
            "body": STANDARD.encode("1"), "id": id, "timestamp_ms": 4, "attempts": 1, "lease_id": lease.to_string(),
            "metadata": {
                "CF-Content-Type": "json", "queue": "q", "delivery": delivery, "batch": "b", "timeout_ms": 1_000,
                "lease_ms": 6_000, "user": "ada", "version": 1, "key": null,
            },
        });
        serde_json::from_value(message).expect("it has the shape of a message")
    }

    #[test]
    fn messages_are_put_together_to_the_deliveries_they_name() {
        let messages = vec![message("d", "a"), message("d", "b"), message("e", "c")];
        let deliveries = deliveries(messages).expect("they can be read");
        let ids = |it: &Granted| it.delivery.jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>();
        assert_eq!(deliveries.iter().map(ids).collect::<Vec<_>>(), [vec!["a", "b"], vec!["c"]]);
        assert_eq!((deliveries[0].leases.len(), deliveries[1].created_ms.as_slice()), (2, [4].as_slice()));
    }

    #[test]
    fn a_message_that_cannot_be_read_is_said_to_be_so() {
        let unread = |change: &dyn Fn(&mut PulledMessage)| {
            let mut message = message("d", "a");
            change(&mut message);
            deliveries(vec![message]).expect_err("it cannot be read")
        };
        for refusal in [
            unread(&|message| message.lease_id = "no lease".into()),
            unread(&|message| message.body = "%".into()),
            unread(&|message| message.body = STANDARD.encode("{")),
        ] {
            let Refusal::Unavailable(text) = refusal else { panic!("{refusal:?}") };
            assert!(text.starts_with("failed to read the broker's reply to /queues/any/messages/pull"), "{text}");
        }
    }
}

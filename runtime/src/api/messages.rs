//! `/queues/{queue}/messages…`: pull, acknowledge and send in the shape of Cloudflare's queues, also under its full path
//! `/client/v4/accounts/{account}/queues/…`. `any` as a queue pulls from all, by priority.
//!
//! What differs: a lease holds by default as long as the policy's timeout asks for, not 30 s; a retry never comes before
//! the policy's backoff; a job's attempts end as its policy says; a batch that is tried again comes back whole, though fewer
//! messages be asked for.

use std::collections::BTreeMap;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::middleware::map_response;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kew_spec::queues::BATCH_SIZE_MAX;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::access::{Caller, Role};
use super::cloudflare::{
    Ack, AckBody, AckResult, ContentType, Envelope, Metadata, PullBody, PullResult, PulledMessage, Retry,
    SendBatchBody, SendBody,
};
use super::create::{self, Created, Once, Wanted};
use super::extract::{Place, Text, parse};
use super::problem::{Kind, Problem, unexpected};
use super::{Api, jobs, queues};
use crate::broker::{Granted, Pull, Pulled, Report, Request, Response, Settlement};
use crate::processor::kept_of;

/// The largest body of an acknowledgement: the largest batch with 3 KB of result each.
const ACK_BYTES_MAX: usize = 32 << 20;

/// Messages of a pull that does not say how many: Cloudflare's default.
const BATCH_SIZE_DEFAULT: u32 = 5;

/// The most messages of a pull in Cloudflare's shape; more only up to the queue's own batch size.
const PULL_MAX: u32 = 100;

/// The most deliveries of one pull, the most that it says to be working on, and its longest wait.
const SLOTS_MAX: u32 = 1_000;
const HOLDING_MAX: usize = 10_000;
const WAIT_MAX_MS: u64 = 60_000;

/// The longest lease, the longest delay: Cloudflare's.
const LEASE_MAX_MS: u64 = 12 * 3_600_000;
const DELAY_MAX_S: u64 = 12 * 3_600;

/// The queue of a path that means all of them.
const ANY: &str = "any";

/// The variable part of a path, under either prefix.
#[derive(Deserialize)]
struct At {
    queue: String,
}

pub(super) fn routes() -> Router<Api> {
    let ack = post(ack).layer(DefaultBodyLimit::max(ACK_BYTES_MAX));
    let routes = Router::new()
        .route("/queues/{queue}/messages", post(send))
        .route("/queues/{queue}/messages/batch", post(send_batch))
        .route("/queues/{queue}/messages/pull", post(pull))
        .route("/queues/{queue}/messages/ack", ack)
        .layer(DefaultBodyLimit::max(jobs::BODY_BYTES_MAX))
        .layer(map_response(Problem::reshaped));
    routes.clone().nest("/client/v4/accounts/{account}", routes)
}

/// `POST /queues/{queue}/messages/pull`
async fn pull(
    State(api): State<Api>,
    caller: Caller,
    Place(at): Place<At>,
    Text(body): Text,
) -> Result<Json<Envelope<PullResult>>, Problem> {
    caller.must_be(Role::Processor)?;
    let body: PullBody = if body.trim_ascii().is_empty() { PullBody::default() } else { parse("the pull", &body)? };
    let counted = body.slots.is_none();
    if at.queue != ANY {
        check_running(&api, &at.queue).await?;
    }
    let request = Request::Pull(question(&api, &caller, &at.queue, body)?);
    let Response::Pulled(pulled) = api.queue.call(request).await? else { return Err(unexpected("a pull")) };
    // A count that fails must not lose what was granted.
    let backlog = if counted { backlog(&api, &at.queue).await.ok() } else { None };
    Ok(Json(Envelope::new(shown(pulled, backlog))))
}

async fn check_running(api: &Api, queue: &str) -> Result<(), Problem> {
    if api.queues.get(queue).is_none() {
        return Err(api.no_queue(queue));
    }
    if queues::depths(api).await?.get(queue).is_some_and(|depth| depth.paused) {
        let detail = format!("queue {queue} is paused; an operator lets it go on by POST /v1/queues/{queue}/resume");
        return Err(Problem::new(Kind::Paused, detail));
    }
    Ok(())
}

async fn backlog(api: &Api, queue: &str) -> Result<u64, Problem> {
    let depths = queues::depths(api).await?;
    Ok(depths.values().filter(|depth| queue == ANY || depth.queue == queue).map(|depth| depth.waiting).sum())
}

/// What a pull means for the broker. Without `slots`, `batch_size` counts messages: of a queue with batches they are one
/// delivery, of one without as many deliveries.
fn question(api: &Api, caller: &Caller, queue: &str, body: PullBody) -> Result<Pull, Problem> {
    let batch_size_max = api.queues.get(queue).map_or(1, |policy| policy.batch_size_max());
    let batched = queue == ANY || 1 < batch_size_max;
    let most = if body.slots.is_some() { BATCH_SIZE_MAX } else { batch_size_max.max(PULL_MAX) };
    within("batch_size", u64::from(body.batch_size.unwrap_or(1)), 1, u64::from(most))?;
    within("slots", u64::from(body.slots.unwrap_or(1)), 0, u64::from(SLOTS_MAX))?;
    within("visibility_timeout_ms", body.visibility_timeout_ms.unwrap_or(1), 1, LEASE_MAX_MS)?;
    within("wait_ms", body.wait_ms, 0, WAIT_MAX_MS)?;
    within("the number of deliveries in holding", body.holding.len() as u64, 0, HOLDING_MAX as u64)?;
    let size = body.batch_size.unwrap_or(BATCH_SIZE_DEFAULT);
    let (slots, batch_size_max) = match body.slots {
        Some(slots) => (slots, body.batch_size),
        None if batched => (1, Some(size)),
        None => (size, Some(1)),
    };
    Ok(Pull {
        processor: body.processor.unwrap_or_else(|| caller.user.clone()),
        queues: wanted_queues(api, queue, body.queues)?,
        slots,
        batch_size_max,
        lease_ms: body.visibility_timeout_ms,
        wait_ms: body.wait_ms,
        holding: body.holding,
    })
}

fn wanted_queues(api: &Api, queue: &str, named: Vec<String>) -> Result<Vec<String>, Problem> {
    if queue != ANY && !named.is_empty() {
        return Err(Problem::invalid("queues: the path names the queue already; pull from `any` to name several"));
    }
    if let Some(unknown) = named.iter().find(|name| api.queues.get(name).is_none()) {
        let detail = format!("queues: there is no queue {unknown:?}; there are {}", api.queue_names());
        return Err(Problem::invalid(detail));
    }
    Ok(if queue == ANY { named } else { vec![queue.to_owned()] })
}

fn within(what: &str, value: u64, min: u64, max: u64) -> Result<(), Problem> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Problem::invalid(format!("{what} is {value}; allowed: {min} to {max}")))
}

fn shown(pulled: Pulled, message_backlog_count: Option<u64>) -> PullResult {
    let messages = pulled.deliveries.into_iter().flat_map(messages).collect();
    PullResult { message_backlog_count, messages, revoked: pulled.revoked, waited_ms: pulled.waited_ms }
}

fn messages(it: Granted) -> Vec<PulledMessage> {
    let Granted { delivery, leases, lease_ms, created_ms } = it;
    let jobs = delivery.jobs.into_iter().zip(leases).zip(created_ms);
    jobs.map(|((job, lease), timestamp_ms)| PulledMessage {
        id: job.id,
        body: STANDARD.encode(job.payload.get()),
        attempts: job.attempt,
        timestamp_ms,
        lease_id: lease.to_string(),
        metadata: Metadata {
            content_type: "json".into(),
            queue: delivery.queue.clone(),
            delivery: delivery.id.clone(),
            batch: delivery.batch.clone(),
            timeout_ms: delivery.timeout_ms,
            lease_ms,
            user: job.user,
            version: job.version,
            key: job.key,
        },
    })
    .collect()
}

/// `POST /queues/{queue}/messages/ack`
async fn ack(
    State(api): State<Api>,
    caller: Caller,
    Place(at): Place<At>,
    Text(body): Text,
) -> Result<Json<Envelope<AckResult>>, Problem> {
    caller.must_be(Role::Processor)?;
    if at.queue != ANY && api.queues.get(&at.queue).is_none() {
        return Err(api.no_queue(&at.queue));
    }
    let body: AckBody = parse("the acknowledgement", &body)?;
    let settlements = settlements(&at.queue, body)?;
    if settlements.is_empty() {
        return Ok(Json(Envelope::new(AckResult::default())));
    }
    let Response::Settled(accepted) = api.queue.call(Request::Settle(settlements.clone())).await? else {
        return Err(unexpected("a settle"));
    };
    Ok(Json(Envelope::new(settled(&settlements, &accepted))))
}

fn settlements(queue: &str, body: AckBody) -> Result<Vec<Settlement>, Problem> {
    within(
        "the number of acks and retries",
        (body.acks.len() + body.retries.len()) as u64,
        0,
        u64::from(BATCH_SIZE_MAX),
    )?;
    let acks = body.acks.into_iter().enumerate().map(|(i, it)| completed(queue, &format!("acks[{i}]"), it));
    let retries = body.retries.into_iter().enumerate().map(|(i, it)| failed(queue, &format!("retries[{i}]"), it));
    acks.chain(retries).collect()
}

fn completed(queue: &str, place: &str, ack: Ack) -> Result<Settlement, Problem> {
    let result = ack.result.unwrap_or_else(|| RawValue::NULL.to_owned());
    settlement(queue, place, &ack.lease_id, Report::Completed { result })
}

fn failed(queue: &str, place: &str, retry: Retry) -> Result<Settlement, Problem> {
    if let Some(delay) = retry.delay_seconds {
        within(&format!("{place}.delay_seconds"), delay, 0, DELAY_MAX_S)?;
    }
    let error = retry.error.map(|error| kept_of(&error));
    let outcome = match (retry.timed_out, error) {
        (true, error) => Report::TimedOut { error: error.unwrap_or_else(|| "timed out".into()) },
        (false, error) => Report::Failed {
            error: error.unwrap_or_else(|| "the consumer asked for a retry".into()),
            delay_ms: retry.delay_seconds.map(|seconds| seconds * 1_000),
        },
    };
    settlement(queue, place, &retry.lease_id, outcome)
}

fn settlement(queue: &str, place: &str, lease_id: &str, outcome: Report) -> Result<Settlement, Problem> {
    let lease: crate::store::LeaseId =
        lease_id.parse().map_err(|error| Problem::invalid(format!("{place}.lease_id: {error}")))?;
    if queue != ANY && lease.queue != queue {
        let detail =
            format!("{place}.lease_id: it is one of queue {}; acknowledge it there or under `any`", lease.queue);
        return Err(Problem::invalid(detail));
    }
    Ok(Settlement { lease, outcome })
}

fn settled(settlements: &[Settlement], accepted: &[bool]) -> AckResult {
    let mut result = AckResult { warnings: BTreeMap::new(), ..AckResult::default() };
    for (it, accepted) in settlements.iter().zip(accepted) {
        match (accepted, &it.outcome) {
            (true, Report::Completed { .. }) => result.ack_count += 1,
            (true, _) => result.retry_count += 1,
            (false, _) => {
                let text = "the lease was over, so nothing has changed; the job is or was delivered anew";
                result.warnings.insert(it.lease.to_string(), text.into());
            }
        }
    }
    result
}

/// The result of a send: ours, Cloudflare sends metrics.
#[derive(serde::Serialize)]
struct Sent {
    jobs: Vec<Created>,
}

/// `POST /queues/{queue}/messages`
async fn send(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Place(at): Place<At>,
    Text(body): Text,
) -> Result<Json<Envelope<Sent>>, Problem> {
    caller.must_be(Role::User)?;
    check_queue(&api, &at.queue)?;
    let once = Once::of_request(&headers, false, &[&at.queue, &body])?;
    let wanted = vec![wanted(&at.queue, String::new(), &body)?];
    let jobs = create::create(&api, &caller.user, wanted, once).await?;
    Ok(Json(Envelope::new(Sent { jobs })))
}

/// `POST /queues/{queue}/messages/batch`
async fn send_batch(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Place(at): Place<At>,
    Text(body): Text,
) -> Result<Json<Envelope<Sent>>, Problem> {
    caller.must_be(Role::User)?;
    check_queue(&api, &at.queue)?;
    let once = Once::of_request(&headers, true, &[&at.queue, &body])?;
    let batch: SendBatchBody<'_> = parse("the batch", &body)?;
    check_delay("", batch.delay_seconds)?;
    create::check_count(batch.messages.len())?;
    let each = batch.messages.iter().enumerate();
    let wanted = each.map(|(i, json)| wanted(&at.queue, format!("messages[{i}]."), json.get()));
    let jobs = create::create(&api, &caller.user, wanted.collect::<Result<_, _>>()?, once).await?;
    Ok(Json(Envelope::new(Sent { jobs })))
}

fn check_queue(api: &Api, queue: &str) -> Result<(), Problem> {
    api.queues.get(queue).map(drop).ok_or_else(|| api.no_queue(queue))
}

fn check_delay(place: &str, delay_seconds: Option<u64>) -> Result<(), Problem> {
    if delay_seconds.unwrap_or(0) == 0 {
        return Ok(());
    }
    Err(Problem::invalid(format!("{place}delay_seconds: a send cannot be delayed here; leave it out or send 0")))
}

fn wanted(queue: &str, place: String, json: &str) -> Result<Wanted, Problem> {
    let what = if place.is_empty() { "the message" } else { place.trim_end_matches('.') };
    let message: SendBody = parse(what, json)?;
    check_delay(&place, message.delay_seconds)?;
    if message.content_type == ContentType::Text && !message.body.get().starts_with('"') {
        return Err(Problem::invalid(format!("{place}body: with content_type text it has to be a string")));
    }
    Ok(Wanted { place, queue: queue.to_owned(), payload: message.body, key: message.key, email: message.email })
}

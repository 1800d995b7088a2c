//! `/queues/…`: what a client of Cloudflare's queues sends and gets, by the examples of Cloudflare's documentation.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kew_runtime::broker::{Granted, Pulled};
use kew_runtime::processor::{Delivery, Job};
use kew_runtime::store::LeaseId;
use serde_json::json;
use serde_json::value::RawValue;

use crate::fake::NOW_MS;
use crate::world::{ANN, OPERATOR, PROCESSOR, World};

/// A delivery of two jobs.
pub(crate) fn granted(queue: &str) -> Granted {
    let job = |id: &str, payload: &str| Job {
        id: id.into(),
        user: "ann".into(),
        attempt: 2,
        version: 9,
        key: None,
        payload: RawValue::from_string(payload.into()).unwrap(),
    };
    let lease = |job: &str| LeaseId { queue: queue.into(), job: job.into(), attempt: 2, fence: 3 };
    let delivery = Delivery {
        id: "d-1".into(),
        queue: queue.into(),
        batch: "b-1".into(),
        timeout_ms: 10_000,
        jobs: vec![job("j-1", r#"{"a":  1}"#), job("j-2", "2")],
    };
    Granted {
        delivery,
        leases: vec![lease("j-1"), lease("j-2")],
        lease_ms: 15_000,
        created_ms: vec![NOW_MS, NOW_MS + 1],
    }
}

async fn pull(world: &World, queue: &str, body: &str) -> crate::world::Answer {
    world.ask("POST", &format!("/queues/{queue}/messages/pull"), PROCESSOR, body.to_owned()).await
}

#[tokio::test]
async fn a_pull_is_answered_in_cloudflares_shape() {
    let world = World::new();
    world.fake.state().pulled = Pulled { deliveries: vec![granted("pdf_generation")], revoked: vec![], waited_ms: 4 };
    let body = r#"{"batch_size": 50, "visibility_timeout_ms": 6000}"#;
    let pulled = pull(&world, "pdf_generation", body).await.json();
    assert_eq!((&pulled["success"], &pulled["errors"], &pulled["messages"]), (&json!(true), &json!([]), &json!([])));
    assert_eq!(pulled["result"]["message_backlog_count"], 0);
    let expected = json!({
        "id": "j-1", "body": STANDARD.encode(r#"{"a":  1}"#), "attempts": 2, "timestamp_ms": NOW_MS,
        "lease_id": "pdf_generation.j-1.2.3",
        "metadata": {
            "CF-Content-Type": "json", "queue": "pdf_generation", "delivery": "d-1", "batch": "b-1",
            "timeout_ms": 10_000, "lease_ms": 15_000, "user": "ann", "version": 9, "key": null,
        },
    });
    assert_eq!(pulled["result"]["messages"][0], expected);
    assert_eq!(pulled["result"]["messages"].as_array().unwrap().len(), 2);
    let asked = world.fake.state().asked.join("\n");
    assert!(asked.contains("slots: 50") && asked.contains("lease_ms: Some(6000)"), "{asked}");
}

#[tokio::test]
async fn a_batch_is_one_delivery_of_as_many_messages() {
    let world = World::new();
    for (queue, body, words) in [
        ("email_notification", "", ["slots: 1,", "batch_size_max: Some(5)"]),
        ("pdf_generation", "", ["slots: 5,", "batch_size_max: Some(1)"]),
        ("analytics_processing", r#"{"batch_size":1000}"#, ["slots: 1,", "batch_size_max: Some(1000)"]),
        ("any", r#"{"slots":3,"queues":["data_sync"]}"#, ["slots: 3,", r#"queues: ["data_sync"]"#]),
        ("any", r#"{"visibility_timeout":7}"#, ["lease_ms: Some(7)", "queues: []"]),
    ] {
        assert_eq!(pull(&world, queue, body).await.status, 200);
        let asked = world.fake.state().asked.iter().rfind(|asked| asked.contains("Pull")).cloned().unwrap();
        assert!(words.iter().all(|words| asked.contains(words)), "{queue} {body}: {asked}");
    }
}

#[tokio::test]
async fn a_pull_out_of_bounds_is_refused_with_the_bounds() {
    let world = World::new();
    for (queue, body, words) in [
        ("pdf_generation", r#"{"batch_size":101}"#, "batch_size is 101; allowed: 1 to 100"),
        ("pdf_generation", r#"{"batch_size":0}"#, "allowed: 1 to 100"),
        ("any", r#"{"visibility_timeout_ms":43200001}"#, "allowed: 1 to 43200000"),
        ("any", r#"{"wait_ms":60001}"#, "wait_ms is 60001; allowed: 0 to 60000"),
        ("any", r#"{"queues":["none"]}"#, "there is no queue \"none\""),
        ("data_sync", r#"{"queues":["data_sync"]}"#, "the path names the queue already"),
        ("any", r#"{"size":1}"#, "unknown field `size`"),
    ] {
        let answer = pull(&world, queue, body).await;
        assert!(answer.detail(400).contains(words), "{}", answer.text);
        assert_eq!(answer.json()["success"], false);
    }
}

#[tokio::test]
async fn errors_have_cloudflares_members_too() {
    let world = World::new();
    let unknown = pull(&world, "none", "{}").await;
    unknown.detail(404);
    let json = unknown.json();
    assert_eq!((&json["success"], &json["errors"][0]["code"]), (&json!(false), &json!(10_104)));
    assert_eq!((&json["messages"], &json["result"]), (&json!([]), &json!(null)));
    world.ask("POST", "/v1/queues/pdf_generation/pause", OPERATOR, "").await;
    let paused = pull(&world, "pdf_generation", "{}").await;
    paused.detail(409);
    assert!(paused.json()["errors"][0]["message"].as_str().unwrap().starts_with("queue_delivery_paused"));
    assert_eq!(world.ask("POST", "/queues/any/messages/pull", "?", "").await.json()["errors"][0]["code"], 10_106);
}

#[tokio::test]
async fn an_acknowledgement_counts_what_held_and_warns_of_what_did_not() {
    let world = World::new();
    let leases = ["email_notification.j-1.1.1", "email_notification.j-2.1.1", "email_notification.j-3.1.1"];
    world.fake.state().leases.extend(leases.map(String::from));
    let body = json!({
        "acks": [{ "lease_id": leases[0], "result": { "ok": 1 } }, { "lease_id": "email_notification.j-4.1.1" }],
        "retries": [
            { "lease_id": leases[1], "delay_seconds": 10, "error": "busy" },
            { "lease_id": leases[2], "timed_out": true },
        ],
    });
    let path = "/client/v4/accounts/abc/queues/email_notification/messages/ack";
    let answer = world.ask("POST", path, PROCESSOR, body.to_string()).await.json();
    assert_eq!((&answer["result"]["ackCount"], &answer["result"]["retryCount"]), (&json!(1), &json!(2)));
    let warnings = answer["result"]["warnings"].as_object().unwrap();
    assert!(warnings["email_notification.j-4.1.1"].as_str().unwrap().contains("lease was over"));
    assert_eq!(warnings.len(), 1);
    let asked = world.fake.state().asked.join("\n");
    for words in [r#"Completed { result: RawValue({"ok":1}) }"#, r#"error: "busy", delay_ms: Some(10000)"#, "TimedOut"]
    {
        assert!(asked.contains(words), "{asked}");
    }
}

#[tokio::test]
async fn a_wrong_acknowledgement_is_refused_as_a_whole() {
    let world = World::new();
    for (body, words) in [
        (r#"{"acks":[{"lease_id":"x"}]}"#, "acks[0].lease_id: \"x\" is no lease id"),
        (r#"{"acks":[{"lease_id":"data_sync.j.1.1"}]}"#, "one of queue data_sync"),
        (r#"{"retries":[{"lease_id":"pdf_generation.j.1.1","delay_seconds":43201}]}"#, "allowed: 0 to 43200"),
        (r#"{"ack":[]}"#, "unknown field `ack`"),
    ] {
        let answer = world.ask("POST", "/queues/pdf_generation/messages/ack", PROCESSOR, body).await;
        assert!(answer.detail(400).contains(words), "{}", answer.text);
    }
    let none = world.ask("POST", "/queues/any/messages/ack", PROCESSOR, "{}").await.json();
    assert_eq!(none["result"], json!({ "ackCount": 0, "retryCount": 0, "warnings": {} }));
    assert!(world.fake.state().asked.is_empty());
}

#[tokio::test]
async fn messages_are_sent_one_by_one_and_in_batches() {
    let world = World::new();
    let one = r#"{"body":{"a":1},"content_type":"json"}"#;
    let sent = world.ask("POST", "/queues/pdf_generation/messages", ANN, one).await.json();
    assert_eq!((&sent["success"], &sent["result"]["jobs"][0]["how"]), (&json!(true), &json!("created")));
    let two = r#"{"messages":[{"body":"x","content_type":"text"},{"body":2}]}"#;
    let sent = world.ask("POST", "/queues/pdf_generation/messages/batch", ANN, two).await.json();
    assert_eq!(sent["result"]["jobs"].as_array().unwrap().len(), 2);
    let payloads: Vec<_> = world.fake.state().jobs.iter().map(|job| job.payload.get().to_owned()).collect();
    assert_eq!(payloads, [r#"{"a":1}"#, r#""x""#, "2"]);
    for (body, words) in [
        (r#"{"messages":[{"body":1,"content_type":"text"}]}"#, "messages[0].body: with content_type text"),
        (r#"{"messages":[{"body":1,"delay_seconds":5}]}"#, "messages[0].delay_seconds"),
        (r#"{"messages":[{"body":1,"content_type":"v8"}]}"#, "unknown variant `v8`"),
    ] {
        let answer = world.ask("POST", "/queues/pdf_generation/messages/batch", ANN, body).await;
        assert!(answer.detail(400).contains(words), "{}", answer.text);
    }
}

#[tokio::test]
async fn of_an_error_as_much_is_kept_as_of_one_of_our_own_processors() {
    let world = World::new();
    let error = "x".repeat(5_000);
    let body = json!({ "retries": [{ "lease_id": "pdf_generation.j-1.2.3", "error": error }] }).to_string();
    let answer = world.ask("POST", "/queues/pdf_generation/messages/ack", PROCESSOR, body).await;
    assert_eq!(answer.status, 200);
    let asked = world.fake.state().asked.clone();
    assert_eq!(asked[0].matches('x').count(), 2_000, "{}", &asked[0][..200]);
}

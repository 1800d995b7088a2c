//! `/v1/queues` and `/v1/dead-letters`.

use kew_runtime::store::{DeadLetterRow, FailedAttempt, JobRow};
use kew_spec::lifecycle::Status;
use serde_json::json;
use serde_json::value::RawValue;

use crate::fake::NOW_MS;
use crate::world::{ANN, OPERATOR, World};

fn dead(id: &str) -> DeadLetterRow {
    let job = JobRow {
        id: id.into(),
        queue: "pdf_generation".into(),
        status: Status::Failed,
        user_id: "ann".into(),
        payload: RawValue::NULL.to_owned(),
        result: None,
        error: Some("broken".into()),
        retry_count: 2,
        created_ms: NOW_MS,
        updated_ms: NOW_MS,
        completed_ms: Some(NOW_MS),
        dead_letter_queue: Some("pdf_generation_dlq".into()),
    };
    let attempt = FailedAttempt {
        attempt: 3,
        outcome: "timed-out".into(),
        error: "broken".into(),
        started_ms: NOW_MS,
        ended_ms: NOW_MS + 1,
    };
    DeadLetterRow { job, died_ms: NOW_MS + 1, attempts: vec![attempt] }
}

#[tokio::test]
async fn every_queue_is_listed_with_what_it_holds_and_promises() {
    let world = World::new();
    let json = world.ask("GET", "/v1/queues", ANN, "").await.json();
    let queues = json["queues"].as_array().unwrap();
    assert_eq!(queues.len(), 5);
    let pdf = queues.iter().find(|queue| queue["queue"] == "pdf_generation").unwrap();
    let expected = json!({
        "queue": "pdf_generation", "priority": "high", "waiting": 0, "processing": 0, "oldest_age_ms": 500, "paused": false,
        "attempts": 3, "backoff": "none", "timeout_ms": 30_000, "deduplication": false,
        "dead_letter_queue": "pdf_generation_dlq",
    });
    assert_eq!(*pdf, expected);
    assert!(queues[0]["dead_letter_queue"].is_null() && queues[0].get("dead_letter_queue").is_some());
}

#[tokio::test]
async fn an_operator_pauses_a_queue_and_a_user_does_not() {
    let world = World::new();
    assert!(world.ask("POST", "/v1/queues/pdf_generation/pause", ANN, "").await.detail(403).contains("operator"));
    let paused = world.ask("POST", "/v1/queues/pdf_generation/pause", OPERATOR, "").await;
    assert_eq!(paused.json()["paused"], true);
    let resumed = world.ask("POST", "/v1/queues/pdf_generation/resume", OPERATOR, "").await;
    assert_eq!(resumed.json()["paused"], false);
    assert!(world.ask("POST", "/v1/queues/none/pause", OPERATOR, "").await.detail(404).contains("there are ai_enh"));
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_every_attempt() {
    let world = World::new();
    world.fake.state().dead.push(dead("a"));
    let path = "/v1/dead-letters/pdf_generation_dlq";
    world.ask("GET", path, ANN, "").await.detail(403);
    let list = world.ask("GET", path, OPERATOR, "").await.json();
    let shown = world.ask("GET", &format!("{path}/a"), OPERATOR, "").await.json();
    assert_eq!((&list["dead_letters"][0], &list["next"]), (&shown, &json!(null)));
    assert_eq!(shown["job"]["dead_letter_queue"], "pdf_generation_dlq");
    assert_eq!(shown["died_at"], "2026-11-24T02:42:51.008Z");
    let attempt = json!({
        "attempt": 3, "outcome": "timed-out", "error": "broken", "started_at": "2026-11-24T02:42:51.007Z",
        "ended_at": "2026-11-24T02:42:51.008Z",
    });
    assert_eq!(shown["attempts"], json!([attempt]));
    assert!(world.ask("GET", "/v1/dead-letters/none", OPERATOR, "").await.detail(404).contains("pdf_generation_dlq"));
    world.ask("GET", &format!("{path}/b"), OPERATOR, "").await.detail(404);
}

#[tokio::test]
async fn dead_letters_are_put_back_or_dropped_one_by_one() {
    let world = World::new();
    world.fake.state().dead.extend(["a", "b"].map(dead));
    let path = "/v1/dead-letters/pdf_generation_dlq";
    let redriven = world.ask("POST", &format!("{path}/a/redrive"), OPERATOR, "").await;
    assert_eq!(redriven.json(), json!({ "id": "a", "redriven": 1 }));
    let purged = world.ask("DELETE", &format!("{path}/b"), OPERATOR, "").await;
    assert_eq!(purged.json(), json!({ "id": "b", "purged": 1 }));
    world.ask("DELETE", &format!("{path}/b"), OPERATOR, "").await.detail(404);
}

#[tokio::test]
async fn a_whole_dead_letter_queue_is_put_back_in_steps_that_pass_over_what_cannot_be() {
    let world = World::new();
    world.fake.state().dead.extend(["a", "stuck", "b", "c"].map(dead));
    let path = "/v1/dead-letters/pdf_generation_dlq";
    let step = world.ask("POST", &format!("{path}/redrive?limit=3"), OPERATOR, "").await.json();
    let skipped = json!([{ "id": "stuck", "reason": "job stuck cannot be redriven" }]);
    assert_eq!(step, json!({ "redriven": 2, "skipped": skipped, "more": true, "after": "stuck" }));
    let purge = world.ask("DELETE", &format!("{path}?limit=1000"), OPERATOR, "").await.json();
    assert_eq!((&purge["purged"], &purge["more"]), (&json!(1), &json!(false)));
    world.ask("DELETE", &format!("{path}?limit=1001"), OPERATOR, "").await.detail(400);
}

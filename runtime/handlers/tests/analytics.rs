//! The analytics handler, on its own table and against a relay.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Server, delivery, handle, job};
use kew_handlers::analytics::{Config, Events};
use kew_runtime::processor::Delivery;
use rusqlite::Connection;
use serde_json::{Value, json};

fn batch(points: &[Value]) -> Delivery {
    let jobs = points.iter().enumerate().map(|(n, point)| job(&format!("e-{n}"), point)).collect();
    delivery("analytics_processing", jobs)
}

fn points() -> [Value; 2] {
    [json!({"blobs": ["view", null], "doubles": [1.5], "indexes": ["ada"]}), json!({"doubles": [2]})]
}

fn stored(dir: &tempfile::TempDir) -> i64 {
    let table = Connection::open(dir.path().join("analytics.sqlite")).unwrap();
    table.query_row("SELECT COUNT(*) FROM event", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn the_same_batch_delivered_twice_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let events = Events::new(&Config::default(), dir.path()).unwrap();
    for _ in 0..2 {
        let (answer, outcomes) = handle(&events, &batch(&points())).await;
        assert_eq!(answer, Ok(()));
        assert!(outcomes.is_empty(), "unreported jobs are completed by the answer: {outcomes:?}");
    }
    assert_eq!(stored(&dir), 2);
}

#[tokio::test]
async fn a_bad_point_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let events = Events::new(&Config::default(), dir.path()).unwrap();
    let bad = [
        json!({"indexes": ["a", "b"]}),
        json!({"indexes": ["x".repeat(97)]}),
        json!({"blobs": vec!["x"; 21]}),
        json!({"doubles": vec![0; 21]}),
        json!({"blobs": [3]}),
        json!({"blob": []}),
        json!({"blobs": ["x".repeat(17 << 10)]}),
    ];
    let all: Vec<Value> = points().into_iter().chain(bad.clone()).collect();
    let (answer, outcomes) = handle(&events, &batch(&all)).await;
    assert_eq!(answer, Ok(()));
    assert_eq!(outcomes.len(), bad.len());
    assert!(outcomes.values().all(Result::is_err));
    assert_eq!(stored(&dir), 2);
}

#[tokio::test]
async fn a_relay_gets_the_batch_with_its_id() {
    let server = Server::start(202, &[], "").await;
    let dir = tempfile::tempdir().unwrap();
    let config = Config { base_url: Some(server.url.clone()), ..Config::default() };
    let events = Events::new(&config, dir.path()).unwrap();
    assert_eq!(handle(&events, &batch(&points())).await.0, Ok(()));
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/"));
    assert_eq!(seen.headers["idempotency-key"], "b-1");
    assert_eq!(seen.body["batch"], "b-1");
    let first = json!({"id": "e-0", "blobs": ["view", null], "doubles": [1.5], "indexes": ["ada"]});
    assert_eq!(seen.body["points"][0], first);
    assert_eq!(seen.body["points"][1]["id"], "e-1");
}

#[tokio::test]
async fn a_relay_that_refuses_fails_the_batch() {
    let server = Server::start(500, &[], "no").await;
    let dir = tempfile::tempdir().unwrap();
    let config = Config { base_url: Some(server.url.clone()), ..Config::default() };
    let events = Events::new(&config, dir.path()).unwrap();
    let failure = handle(&events, &batch(&points())).await.0.unwrap_err();
    assert!(failure.0.contains("500"), "{failure}");
}

#[tokio::test]
async fn a_batch_of_bad_points_alone_asks_nobody() {
    let server = Server::start(500, &[], "no").await;
    let dir = tempfile::tempdir().unwrap();
    let config = Config { base_url: Some(server.url.clone()), ..Config::default() };
    let events = Events::new(&config, dir.path()).unwrap();
    assert_eq!(handle(&events, &batch(&[json!([1, 2])])).await.0, Ok(()));
    assert!(server.seen().is_empty());
}

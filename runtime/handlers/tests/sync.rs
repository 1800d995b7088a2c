//! The data sync handler, on its own table and against a service.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Server, handle_one, job};
use kew_handlers::Secret;
use kew_handlers::sync::{Config, Entities};
use kew_runtime::processor::Job;
use serde_json::{Value, json};

fn entity(key: &str, version: u64) -> Job {
    let payload = json!({"n": version});
    Job { key: Some(key.into()), version, ..job(&format!("j-{version}"), &payload) }
}

async fn put(entities: &Entities, job: Job) -> Result<Value, String> {
    handle_one(entities, "data_sync", job).await
}

async fn put_to(server: &Server, key: &str) -> Result<Value, String> {
    let token = Some(Secret::new("t0ken"));
    let base_url = Some(format!("{}/entities", server.url));
    let config = Config { base_url, token, ..Config::default() };
    let dir = tempfile::tempdir().unwrap();
    put(&Entities::new(&config, dir.path()).unwrap(), entity(key, 5)).await
}

#[tokio::test]
async fn the_newest_version_stands_in_whatever_order_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let entities = Entities::new(&Config::default(), dir.path()).unwrap();
    assert_eq!(put(&entities, entity("a", 2)).await.unwrap(), json!({"version": 2}));
    assert_eq!(put(&entities, entity("a", 1)).await.unwrap(), json!({"superseded_by": 2}));
    assert_eq!(put(&entities, entity("a", 3)).await.unwrap(), json!({"version": 3}));
    assert_eq!(put(&entities, entity("b", 1)).await.unwrap(), json!({"version": 1}));
}

#[tokio::test]
async fn a_payload_that_is_no_object_fails() {
    let dir = tempfile::tempdir().unwrap();
    let entities = Entities::new(&Config::default(), dir.path()).unwrap();
    let list = Job { key: Some("a".into()), ..job("j-1", &json!([1])) };
    assert!(put(&entities, list).await.unwrap_err().contains("object"));
    assert!(put(&entities, job("j-2", &json!({}))).await.unwrap_err().contains("entity key"));
}

#[tokio::test]
async fn a_service_gets_the_payload_the_key_and_the_version() {
    let server = Server::start(204, &[], "").await;
    assert_eq!(put_to(&server, "user/7 ä").await.unwrap(), json!({"version": 5}));
    let seen = &server.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PUT", "/entities/user%2F7%20%C3%A4"));
    assert_eq!(seen.headers["idempotency-key"], "j-5:5");
    assert_eq!(seen.headers["kew-version"], "5");
    assert_eq!(seen.headers["authorization"], "Bearer t0ken");
    assert_eq!(seen.body, json!({"n": 5}));
}

#[tokio::test]
async fn a_conflict_with_a_newer_version_completes_as_superseded() {
    let by_header = Server::start(412, &[("kew-version", "9")], "").await;
    assert_eq!(put_to(&by_header, "a").await.unwrap(), json!({"superseded_by": 9}));
    let by_body = Server::start(409, &[], "{\"version\": 6}").await;
    assert_eq!(put_to(&by_body, "a").await.unwrap(), json!({"superseded_by": 6}));
}

#[tokio::test]
async fn a_conflict_without_a_newer_version_fails() {
    let unexplained = Server::start(409, &[], "locked").await;
    assert!(put_to(&unexplained, "a").await.unwrap_err().contains("409"));
    let older = Server::start(409, &[("kew-version", "4")], "").await;
    assert!(put_to(&older, "a").await.is_err());
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_fails_the_job() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = Some(format!("http://{}", listener.local_addr().unwrap()));
    drop(listener); // nobody listens there now
    let dir = tempfile::tempdir().unwrap();
    let config = Config { base_url, ..Config::default() };
    let entities = Entities::new(&config, dir.path()).unwrap();
    let failure = put(&entities, entity("a", 1)).await.unwrap_err();
    assert!(failure.contains("could not reach the sync service"), "{failure}");
}

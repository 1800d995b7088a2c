//! Who may call.

use std::sync::Arc;

use axum::http::Version;
use kew_runtime::api::Access;

use crate::world::{ANN, PROCESSOR, World};

const LOCAL: Option<&str> = Some("127.0.0.1:50000");

#[tokio::test]
async fn without_a_known_token_nobody_is_served_but_health() {
    let world = World::new();
    for headers in [vec![], vec![("authorization", "Bearer token-of-anna")], vec![("authorization", "Basic x")]] {
        let answer = world.ask_with("GET", "/v1/jobs", &headers, LOCAL, "").await;
        answer.detail(401);
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert!(!answer.text.contains("token-of"), "{}", answer.text);
    }
    assert_eq!(world.ask_with("GET", "/health", &[], None, "").await.status, 200);
}

#[tokio::test]
async fn a_role_does_what_it_is_for_and_no_more() {
    let world = World::new();
    world.ask("POST", "/broker/call", ANN, "{}").await.detail(403);
    world.ask("POST", "/broker/call", PROCESSOR, "{}").await.detail(403);
    world.ask("POST", "/queues/any/messages/pull", ANN, "{}").await.detail(403);
    world.ask("POST", "/v1/jobs", PROCESSOR, "{}").await.detail(403);
}

#[tokio::test]
async fn without_tokens_only_this_machine_is_served() {
    let world = World::with(Arc::new(Access::default()));
    for peer in [Some("10.0.0.1:1"), Some("[2001:db8::1]:1"), None] {
        let detail = world.ask_with("GET", "/v1/jobs", &[], peer, "").await.detail(403);
        assert!(detail.contains("only this machine is served"), "{detail}");
    }
    for peer in [LOCAL, Some("[::1]:1"), Some("[::ffff:127.0.0.1]:1")] {
        assert_eq!(world.ask_with("GET", "/v1/jobs", &[], peer, "").await.status, 200, "{peer:?}");
    }
}

#[tokio::test]
async fn without_tokens_the_user_is_the_named_one_or_local() {
    let world = World::with(Arc::new(Access::default()));
    let job = r#"{"type":"pdf_generation","payload":1}"#;
    world.ask_with("POST", "/v1/jobs", &[("kew-user", "ann")], LOCAL, job).await;
    world.ask_with("POST", "/v1/jobs", &[], LOCAL, job).await;
    let users: Vec<_> = world.fake.state().jobs.iter().map(|job| job.user_id.clone()).collect();
    assert_eq!(users, ["ann", "local"]);
    world.ask_with("GET", "/v1/jobs", &[("kew-user", "a b")], LOCAL, "").await.detail(400);
}

#[tokio::test]
async fn without_tokens_neither_web_pages_nor_proxies_are_served() {
    let world = World::with(Arc::new(Access::default()));
    let foreign = [
        ("origin", "https://example.org"),
        ("origin", "null"),
        ("host", "example.org:8480"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "example.org"),
        ("via", "1.1 proxy"),
    ];
    for header in foreign {
        let answer = world.ask_with("GET", "/v1/jobs", &[header], LOCAL, "").await;
        assert!(answer.detail(403).contains("web page"), "{header:?}");
    }
    for header in [("origin", "http://localhost:3000"), ("host", "localhost:8480"), ("host", "[::1]:8480")] {
        assert_eq!(world.ask_with("GET", "/v1/jobs", &[header], LOCAL, "").await.status, 200, "{header:?}");
    }
}

#[tokio::test]
async fn without_tokens_nobody_is_served_by_http_1_0_which_proxies_speak() {
    let world = World::with(Arc::new(Access::default()));
    let answer = world.ask_by(Version::HTTP_10, "GET", "/v1/jobs", &[], LOCAL, "").await;
    assert!(answer.detail(403).contains("HTTP/1.0"), "{}", answer.text);
    assert_eq!(world.ask_by(Version::HTTP_11, "GET", "/v1/jobs", &[], LOCAL, "").await.status, 200);
    let with_tokens = World::new();
    let bearer = [("authorization", &*format!("Bearer {ANN}")), ("via", "1.1 proxy")];
    assert_eq!(with_tokens.ask_by(Version::HTTP_10, "GET", "/v1/jobs", &bearer, None, "").await.status, 200);
}

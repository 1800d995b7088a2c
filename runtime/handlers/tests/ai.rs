//! The AI handler against a server that speaks as OpenAI's does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Server, handle_one, job};
use kew_handlers::Secret;
use kew_handlers::ai::{Config, Rewriter};
use serde_json::json;

const KEY: &str = "sk-very-secret";

fn rewriter(server: &Server) -> Rewriter {
    let base_url = Some(format!("{}/v1", server.url));
    let config = Config { base_url, key: Some(Secret::new(KEY)), ..Config::default() };
    Rewriter::new(&config).unwrap()
}

async fn fails_with(status: u16, headers: &[(&'static str, &str)], body: &str) -> String {
    let server = Server::start(status, headers, body).await;
    let job = job("j-1", &json!({"text": "helo"}));
    handle_one(&rewriter(&server), "ai_enhancement", job).await.unwrap_err()
}

#[tokio::test]
async fn a_text_comes_back_rewritten() {
    let answer = json!({"model": "m-2", "choices": [{"message": {"content": "Hello."}}], "usage": {"total_tokens": 9}});
    let server = Server::start(200, &[], &answer.to_string()).await;
    let payload = json!({"text": "helo", "instruction": "Fix it.", "model": "m"});
    let done = handle_one(&rewriter(&server), "ai_enhancement", job("j-1", &payload)).await;
    let expected = json!({"text": "Hello.", "model": "m-2", "usage": {"total_tokens": 9}});
    assert_eq!(done.unwrap(), expected);

    let seen = &server.seen()[0];
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.headers["idempotency-key"], "j-1");
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(seen.body["model"], "m");
    assert_eq!(seen.body["messages"][0]["content"], "Fix it.");
    assert_eq!(seen.body["messages"][1]["content"], "helo");
}

#[tokio::test]
async fn without_a_server_the_failure_says_how_to_name_one() {
    let rewriter = Rewriter::new(&Config::default()).unwrap();
    let failure = handle_one(&rewriter, "ai_enhancement", job("j-1", &json!({"text": "x"}))).await;
    let failure = failure.unwrap_err();
    assert!(failure.contains("base_url") && failure.contains("[handlers.ai]"), "{failure}");
}

#[tokio::test]
async fn without_a_key_the_failure_says_where_it_goes() {
    let base_url = Some("https://ai.example/v1".to_owned());
    let config = Config { base_url, key_env: "KEW_TEST_NO_SUCH_KEY".into(), ..Config::default() };
    let rewriter = Rewriter::new(&config).unwrap();
    let failure = handle_one(&rewriter, "ai_enhancement", job("j-1", &json!({"text": "x"}))).await;
    let failure = failure.unwrap_err();
    assert!(failure.contains("KEW_TEST_NO_SUCH_KEY"), "{failure}");
}

#[tokio::test]
async fn a_busy_server_is_quoted_with_its_retry_after() {
    let failure = fails_with(429, &[("retry-after", "12")], "slow down").await;
    assert!(failure.contains("429") && failure.contains("retry after 12"), "{failure}");
    assert!(fails_with(503, &[], "").await.contains("503"));
}

#[tokio::test]
async fn an_answer_that_is_no_completion_is_a_failure() {
    assert!(fails_with(200, &[], "<html>").await.contains("no chat completion"));
    let empty = json!({"choices": []}).to_string();
    assert!(fails_with(200, &[], &empty).await.contains("without a text"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let failure = fails_with(200, &[], &"x".repeat(2 << 20)).await;
    assert!(failure.contains("at most 1048576 bytes"), "{failure}");
}

#[tokio::test]
async fn the_key_is_in_no_failure_and_no_debug() {
    let failure = fails_with(401, &[], &format!("wrong key {KEY}")).await;
    assert!(failure.contains("wrong key ***"), "{failure}");
    let server = Server::start(200, &[], "").await;
    assert!(!format!("{:?}", rewriter(&server)).contains(KEY));
}

#[tokio::test]
async fn a_misspelt_field_is_named() {
    let rewriter = Rewriter::new(&Config::default()).unwrap();
    let job = job("j-1", &json!({"text": "x", "instructions": "y"}));
    let failure = handle_one(&rewriter, "ai_enhancement", job).await.unwrap_err();
    assert!(failure.contains("instructions"), "{failure}");
}

//! `/v1/jobs`.

use serde_json::json;

use crate::world::{ANN, Answer, BEN, OPERATOR, PROCESSOR, World};

const PDF: &str = r#"{"type":"pdf_generation","payload":{"b":1,  "a":[1.50]}}"#;

async fn make(world: &World, body: impl Into<String>) -> Answer {
    world.ask("POST", "/v1/jobs", ANN, body.into()).await
}

async fn make_once(world: &World, key: &str, body: &str) -> Answer {
    let headers = [("authorization", format!("Bearer {ANN}")), ("idempotency-key", key.to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    world.ask_with("POST", "/v1/jobs", &headers, None, body.to_owned()).await
}

#[tokio::test]
async fn a_job_is_made_and_read_back_byte_for_byte() {
    let world = World::new();
    let made = make(&world, PDF).await;
    assert_eq!(made.status, 201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json(), json!({ "id": id, "status": "pending", "how": "created" }));
    let shown = world.ask("GET", &format!("/v1/jobs/{id}"), ANN, "").await;
    assert!(shown.text.contains(r#""payload":{"b":1,  "a":[1.50]}"#), "{}", shown.text);
    let mut rest = shown.json();
    rest["payload"].take();
    let expected = json!({
        "id": id, "type": "pdf_generation", "status": "pending", "user_id": "ann", "payload": null, "result": null,
        "error": null, "retry_count": 0, "created_at": "2026-11-24T02:42:51.007Z",
        "updated_at": "2026-11-24T02:42:51.007Z", "completed_at": null, "final": false, "dead_letter_queue": null,
    });
    assert_eq!(rest, expected);
}

#[tokio::test]
async fn a_list_is_answered_in_its_order_and_made_as_a_whole_or_not() {
    let world = World::new();
    let sync = r#"{"type":"data_sync","payload":1,"key":"e-1","email":"ann@example.org"}"#;
    let made = make(&world, format!("[{PDF},{sync}]")).await;
    assert_eq!((made.status.as_u16(), made.json().as_array().unwrap().len()), (201, 2));
    let ids: Vec<_> = world.fake.state().jobs.iter().map(|job| job.id.clone()).collect();
    assert_eq!([&made.json()[0]["id"], &made.json()[1]["id"]], [&json!(ids[0]), &json!(ids[1])]);
    let refused = make(&world, format!(r#"[{PDF},{{"type":"data_sync","payload":1}}]"#)).await;
    assert!(refused.detail(400).starts_with("jobs[1].key: queue data_sync needs one"), "{}", refused.text);
    assert_eq!(world.fake.state().jobs.len(), 2);
}

#[tokio::test]
async fn the_same_idempotency_key_makes_one_job() {
    let world = World::new();
    let first = make_once(&world, "k-1", PDF).await;
    let again = make_once(&world, "k-1", PDF).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!((&again.json()["id"], &again.json()["how"]), (&first.json()["id"], &json!("replayed")));
    let other = make_once(&world, "k-1", r#"{"type":"pdf_generation","payload":2}"#).await;
    assert!(other.detail(422).contains("different request"));
    let list = make_once(&world, "k-2", &format!("[{PDF},{PDF}]")).await;
    assert_eq!(list.status, 201);
    assert!(world.fake.state().keys.contains_key(&("ann".into(), "k-2 1".into())));
    let single = make_once(&world, "k-2", PDF).await;
    assert!(single.detail(422).contains("different request"), "a list was made under it");
}

#[tokio::test]
async fn a_lost_reply_is_made_good_by_asking_again_with_the_same_ids() {
    let world = World::new();
    world.fake.state().lost_answers = 2;
    let made = make(&world, PDF).await;
    assert_eq!((made.status.as_u16(), &made.json()["how"]), (201, &json!("created")));
    let state = world.fake.state();
    assert_eq!((state.jobs.len(), state.asked.len()), (1, 3));
    assert!(state.asked.iter().all(|asked| *asked == state.asked[0]));
}

#[tokio::test]
async fn a_broker_out_of_reach_leaves_the_outcome_unknown_and_says_so() {
    let world = World::new();
    world.fake.state().away = true;
    let made = make(&world, PDF).await;
    let detail = made.detail(503);
    assert!(
        detail.contains("unknown") && detail.contains("repeat the request with the same Idempotency-Key"),
        "{detail}"
    );
    assert_eq!(made.headers["retry-after"], "1");
    assert!(world.ask("GET", "/health", "", "").await.detail(503).contains("away"));
    world.fake.state().away = false;
    assert_eq!(world.ask("GET", "/health", "", "").await.json(), json!({ "status": "ok" }));
}

#[tokio::test]
async fn a_job_whose_status_cannot_be_read_is_acknowledged_all_the_same() {
    let world = World::new();
    let first = make_once(&world, "k-1", PDF).await.json();
    world.fake.state().is_mute = true;
    let again = make_once(&world, "k-1", PDF).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, json!({ "id": first["id"], "how": "replayed" })));
    let list = format!("[{PDF},{PDF}]");
    assert_eq!(make_once(&world, "k-2", &list).await.json()[1]["status"], "pending", "a new one needs no question");
    let asked = world.fake.state().asked.len();
    make_once(&world, "k-2", &list).await;
    assert_eq!(world.fake.state().asked.len(), asked + 2, "the enqueue, and one question for both");
}

#[tokio::test]
async fn a_repeated_request_whose_job_is_forgotten_is_told_that_it_is_gone() {
    let world = World::new();
    let first = make_once(&world, "k-1", PDF).await.json()["id"].as_str().unwrap().to_owned();
    world.fake.state().jobs.clear();
    let detail = make_once(&world, "k-1", PDF).await.detail(410);
    assert!(detail.contains(&first) && detail.contains("another Idempotency-Key"), "{detail}");
    assert!(world.fake.state().jobs.is_empty());
    let list = format!("[{PDF},{PDF}]");
    let made = make_once(&world, "k-2", &list).await.json();
    world.fake.state().jobs.remove(0);
    let again = make_once(&world, "k-2", &list).await.json();
    let (gone, kept) = (json!({ "id": made[0]["id"], "how": "replayed" }), &again[1]);
    assert_eq!((&again[0], &kept["id"], &kept["status"]), (&gone, &made[1]["id"], &json!("pending")));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_arrives_is_given_up() {
    let world = World::new();
    let silent = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let asked = world.ask("POST", "/v1/jobs", ANN, axum::body::Body::from_stream(silent));
    let answer = tokio::time::timeout(std::time::Duration::from_secs(3_600), asked).await.unwrap();
    assert!(answer.detail(400).contains("did not arrive within 120 s"), "{}", answer.text);
}

#[tokio::test]
async fn each_mistake_is_one_problem_that_names_the_place_and_what_is_allowed() {
    let world = World::new();
    let mistakes = [
        (r#"{"type":"pdf"}"#, "missing field `payload`"),
        (
            r#"{"type":"pdf","payload":1}"#,
            "type: there is no queue \"pdf\"; there are ai_enhancement, analytics_processing",
        ),
        (r#"{"type":"pdf_generation","payload":1,"prio":2}"#, "unknown field `prio`"),
        (r#"{"type":"pdf_generation","payload":{"a":}}"#, "line 1 column"),
        (r#"{"type":"pdf_generation","payload":1,"key":"e"}"#, "key: queue pdf_generation takes none"),
        (r#"{"type":"data_sync","payload":1,"key":""}"#, "key: allowed: 1 to 255 characters"),
        (r#"{"type":"pdf_generation","payload":1,"email":"nobody"}"#, "email: not a mail address"),
        (
            r#"{"type":"email_notification","payload":1,"email":"a@example.org"}"#,
            "email: queue email_notification takes none",
        ),
        (r#"[{"type":"pdf_generation","payload":1},7]"#, "jobs[1]: invalid type"),
        ("[]", "1 to 100 jobs"),
        ("", "the job: EOF"),
    ];
    for (body, words) in mistakes {
        let detail = make(&world, body).await.detail(400);
        assert!(detail.contains(words), "{body}: {detail}");
    }
    let not_text = world.ask("POST", "/v1/jobs", ANN, vec![b'"', 0xff, b'"']).await;
    assert!(not_text.detail(400).contains("not UTF-8: byte 1"));
    for key in ["", "a b", "kew-end-1", &"k".repeat(256)] {
        assert!(make_once(&world, key, PDF).await.detail(400).contains("Idempotency-Key"), "{key:?}");
    }
    assert!(world.fake.state().jobs.is_empty());
}

#[tokio::test]
async fn a_payload_of_128_kb_is_taken_and_a_byte_more_is_not() {
    let world = World::new();
    let of = |bytes: usize| format!(r#"{{"type":"pdf_generation","payload":"{}"}}"#, "x".repeat(bytes - 2));
    assert_eq!(make(&world, of(131_072)).await.status, 201);
    assert!(make(&world, of(131_073)).await.detail(413).contains("131073 bytes; allowed: 131072"));
    let most = vec![of(131_072); 100].join(",");
    assert_eq!(make(&world, format!("[{most}]")).await.status, 201);
    assert!(make(&world, " ".repeat(14_000_000)).await.detail(413).contains("larger than this path takes"));
}

#[tokio::test]
async fn a_hundred_jobs_are_taken_and_one_more_is_not() {
    let world = World::new();
    assert_eq!(make(&world, format!("[{}]", vec![PDF; 100].join(","))).await.status, 201);
    let detail = make(&world, format!("[{}]", vec![PDF; 101].join(","))).await.detail(400);
    assert_eq!(detail, "there are 101 jobs; allowed: 1 to 100 in one request");
}

#[tokio::test]
async fn users_see_and_cancel_only_their_own_jobs() {
    let world = World::new();
    let id = make(&world, PDF).await.json()["id"].as_str().unwrap().to_owned();
    let (path, cancel) = (format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}/cancel"));
    let foreign = world.ask("GET", &path, BEN, "").await.detail(404);
    let absent = world.ask("GET", "/v1/jobs/none", BEN, "").await.detail(404);
    assert_eq!(foreign.replace(&id, "none"), absent);
    world.ask("POST", &cancel, BEN, "").await.detail(404);
    assert_eq!(world.ask("GET", "/v1/jobs", BEN, "").await.json(), json!({ "jobs": [], "next": null }));
    world.ask("GET", "/v1/jobs?user=ann", BEN, "").await.detail(403);
    world.ask("GET", &path, PROCESSOR, "").await.detail(403);
    assert_eq!(world.ask("GET", &path, OPERATOR, "").await.status, 200);
    let listed = world.ask("GET", "/v1/jobs?user=ann", OPERATOR, "").await.json();
    assert_eq!(listed["jobs"][0]["id"], json!(id));
    let cancelled = world.ask("POST", &cancel, ANN, "").await.json();
    let [error, ended, is_final] = ["error", "completed_at", "final"].map(|field| cancelled[field].clone());
    assert_eq!([error, ended, is_final], [json!("cancelled"), json!("2026-11-24T02:42:51.008Z"), json!(true)]);
}

#[tokio::test]
async fn a_list_of_jobs_goes_on_where_the_last_page_ended() {
    let world = World::new();
    make(&world, format!("[{PDF},{PDF},{PDF}]")).await;
    let first = world.ask("GET", "/v1/jobs?limit=2", ANN, "").await.json();
    let rest = format!("/v1/jobs?limit=2&after={}", first["next"].as_str().unwrap());
    let rest = world.ask("GET", &rest, ANN, "").await.json();
    assert_eq!((first["jobs"].as_array().unwrap().len(), rest["jobs"].as_array().unwrap().len()), (2, 1));
    assert!(rest["next"].is_null());
    for query in ["limit=0", "limit=101", "limit=x", "page=2"] {
        world.ask("GET", &format!("/v1/jobs?{query}"), ANN, "").await.detail(400);
    }
}

#[tokio::test]
async fn wrong_paths_and_methods_are_problems_too() {
    let world = World::new();
    assert!(world.ask("GET", "/v1/job", ANN, "").await.detail(404).contains("/v1/job"));
    let wrong = world.ask("DELETE", "/v1/jobs", ANN, "").await;
    assert!(wrong.detail(405).contains("DELETE"));
    assert!(wrong.headers["allow"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn a_list_that_shall_go_on_after_what_has_gone_says_so() {
    let world = World::new();
    let made = make(&world, PDF).await.json();
    let last = format!("/v1/jobs?after={}", made["id"].as_str().unwrap());
    assert_eq!(world.ask("GET", &last, ANN, "").await.json(), json!({ "jobs": [], "next": null }));
    let gone = world.ask("GET", "/v1/jobs?after=gone", ANN, "").await;
    assert!(gone.detail(400).contains("leave it out to begin anew"));
    let dead = world.ask("GET", "/v1/dead-letters/pdf_generation_dlq?after=gone", OPERATOR, "").await;
    assert!(dead.detail(400).contains("leave it out to begin anew"));
}

//! `kew serve` as people run it: one process with its data in a folder, called over HTTP and a WebSocket, interrupted,
//! killed, and started again. Run alone with `cargo test --test serve`.

#[path = "serve/client.rs"]
mod client;
#[path = "serve/kew.rs"]
mod kew;

use std::path::Path;

use client::Client;
use kew::Kew;
use lopdf::Document;
use serde_json::{Value, json};
use tempfile::TempDir;

const RESUME: &str = include_str!("../runtime/handlers/examples/one-page.json");
const QUEUES: &str = include_str!("../spec/queues.toml");

/// Two users who can make and see jobs.
const TOKENS: &str = r#"
token = [
    { token = "ada-0123456789abcdef", user = "ada", role = "user" },
    { token = "bob-0123456789abcdef", user = "bob", role = "user" },
]
"#;

fn folder() -> TempDir {
    tempfile::tempdir().expect("there is room for a folder")
}

/// A file of that text, by its path.
fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder takes a file");
    path.to_str().expect("the path is text").to_owned()
}

fn local(kew: &Kew) -> Client<'static> {
    Client { address: kew.address, token: None }
}

fn pdf() -> Value {
    let resume: Value = serde_json::from_str(RESUME).expect("the example is JSON");
    json!({ "type": "pdf_generation", "payload": { "resume": resume } })
}

/// The file that a job's result names.
fn made(job: &Value) -> Vec<u8> {
    let path = job["result"]["path"].as_str().unwrap_or_else(|| panic!("the result names a file: {job}"));
    std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The five queues with waits, ticks and timeouts that a test can wait for.
fn quick_queues() -> String {
    let waits = [
        ("timeout_ms = 30_000", "timeout_ms = 6_000"),
        ("timeout_ms = 60_000", "timeout_ms = 6_000"),
        ("timeout_ms = 120_000", "timeout_ms = 6_000"),
        ("wait_ms = 5_000", "wait_ms = 100"),
        ("every_ms = 300_000", "every_ms = 1_000"),
    ];
    waits.into_iter().fold(QUEUES.to_owned(), |text, (long, short)| {
        assert!(text.contains(long), "no queue says {long}");
        text.replace(long, short)
    })
}

#[test]
fn a_resume_becomes_a_pdf_and_its_user_is_told() {
    let folder = folder();
    let kew = Kew::start(folder.path(), &[]);
    let mut ends = local(&kew).ends();
    let id = local(&kew).make(&pdf());

    let end = ends.next();
    assert_eq!((end["job"].as_str(), end["status"].as_str()), (Some(&*id), Some("completed")), "{end}");
    let job = local(&kew).job(&id);
    assert_eq!((&job["status"], &job["final"]), (&json!("completed"), &json!(true)), "{job}");
    let bytes = made(&job);
    assert!(bytes.starts_with(b"%PDF-"));
    let document = Document::load_mem(&bytes).expect("it is a PDF");
    let text = document.extract_text(&[1]).expect("its first page has text");
    assert!(text.contains("Mira Okonkwo-Lindqvist"), "{text}");
}

/// One job of each kind that needs nothing from outside.
fn jobs(n: usize) -> Value {
    let mail = json!({ "to": "mira@okonkwo.example", "subject": "Ready", "text": format!("Résumé {n} is ready.") });
    json!([
        pdf(),
        { "type": "data_sync", "key": format!("resume-{n}"), "payload": { "title": format!("Résumé {n}") } },
        { "type": "analytics_processing", "payload": { "blobs": ["viewed"], "doubles": [n], "indexes": ["resume"] } },
        { "type": "email_notification", "payload": mail },
    ])
}

fn make_jobs(client: Client<'_>, n: usize) -> Vec<String> {
    let (code, made) = client.post("/v1/jobs", &jobs(n));
    assert_eq!(code, 201, "{made}");
    let made = made.as_array().expect("a list is answered by a list");
    made.iter().map(|it| it["id"].as_str().expect("ids are strings").to_owned()).collect()
}

#[test]
fn killed_in_the_middle_it_loses_no_job_that_it_acknowledged() {
    let folder = folder();
    let queues = file(folder.path(), "queues.toml", &quick_queues());
    let kew = Kew::start(folder.path(), &["--queues", &queues]);
    let ids: Vec<_> = (0..4).flat_map(|n| make_jobs(local(&kew), n)).collect();
    kew.kill();

    let kew = Kew::start(folder.path(), &["--queues", &queues]);
    let ended = local(&kew).told(&ids);
    assert!(ended.values().all(|status| status == "completed"), "{ended:?}");
    for job in ids.iter().map(|id| local(&kew).job(id)) {
        assert_eq!((&job["status"], &job["final"]), (&json!("completed"), &json!(true)), "{job}");
        if job["type"] == "pdf_generation" || job["type"] == "email_notification" {
            assert!(!made(&job).is_empty());
        }
    }
}

#[test]
fn ctrl_c_drains_and_ends_with_0() {
    let folder = folder();
    let queues = file(folder.path(), "queues.toml", &quick_queues());
    let kew = Kew::start(folder.path(), &["--queues", &queues]);
    let session = local(&kew).ends();
    let ids = make_jobs(local(&kew), 0);
    let (code, said) = kew.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("draining"), "{said}");
    drop(session);

    let kew = Kew::start(folder.path(), &["--queues", &queues]);
    let ended = local(&kew).told(&ids);
    assert!(ended.values().all(|status| status == "completed"), "{ended:?}");
}

#[test]
fn the_roles_work_together_from_processes_of_their_own() {
    let folders: [_; 4] = std::array::from_fn(|_| folder());
    let broker = Kew::start(folders[0].path(), &["--role", "broker"]);
    let url = format!("http://{}", broker.address);
    let api = Kew::start(folders[1].path(), &["--role", "api", "--broker", &url]);
    let notifier = Kew::start(folders[2].path(), &["--role", "notifier", "--broker", &url]);
    let _puller = kew::Puller::start(folders[3].path(), &url);
    let (code, made) = local(&api).post("/v1/jobs", &pdf());
    assert_eq!(code, 201, "{made}");
    let id = made["id"].as_str().expect("ids are strings").to_owned();
    let told = local(&notifier).told(std::slice::from_ref(&id));
    assert_eq!(told.get(&id).map(String::as_str), Some("completed"));
}

#[test]
fn ctrl_c_right_after_the_banner_drains_too() {
    let folder = folder();
    let (code, said) = Kew::start(folder.path(), &[]).interrupt();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_second_one_on_the_same_data_is_refused() {
    let folder = folder();
    let kew = Kew::start(folder.path(), &[]);
    let (code, said) = kew::refused(folder.path(), &[]);
    assert_eq!(code, Some(2), "{said}");
    let store = kew::data(folder.path()).join("kew.sqlite");
    assert!(said.contains(store.to_str().expect("the path is text")), "{said}");
    assert!(said.contains("another process has it open"), "{said}");
    let (code, health) = local(&kew).get("/health");
    assert_eq!(code, 200, "the first one goes on: {health}");
}

#[test]
fn a_limit_of_zero_is_refused_by_file_and_line() {
    let folder = folder();
    let text = QUEUES.replace("starts = 10", "starts = 0");
    let line = 1 + text.lines().position(|line| line.contains("starts = 0")).expect("a queue limits its starts");
    let queues = file(folder.path(), "queues.toml", &text);
    let (code, said) = kew::refused(folder.path(), &["--queues", &queues]);
    assert_eq!(code, Some(2), "{said}");
    for part in [&*queues, &format!("line {line}: "), "starts is 0", "allowed: 1 to "] {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    assert!(!kew::data(folder.path()).exists(), "who refuses leaves nothing behind");
}

#[test]
fn users_see_their_own_jobs_alone() {
    let folder = folder();
    let config = file(folder.path(), "kew.toml", TOKENS);
    let kew = Kew::start(folder.path(), &["--config", &config]);
    let as_user = |token| Client { address: kew.address, token: Some(token) };
    let [ada, bob] = ["ada-0123456789abcdef", "bob-0123456789abcdef"].map(as_user);
    let of_ada = ada.make(&pdf());
    assert_eq!(ada.ends().next()["job"], of_ada);

    assert_eq!(ada.job(&of_ada)["user_id"], "ada");
    let path = format!("/v1/jobs/{of_ada}");
    assert_eq!(bob.get(&path).0, 404);
    assert_eq!(bob.post(&format!("{path}/cancel"), &Value::Null).0, 404);
    assert_eq!(bob.get("/v1/jobs").1["jobs"], json!([]));
    let of_bob = bob.make(&pdf());
    assert_eq!(bob.ends().next()["job"], of_bob, "the first end that bob hears of is his own");
}

#[test]
fn who_has_no_token_gets_401() {
    let folder = folder();
    let config = file(folder.path(), "kew.toml", TOKENS);
    let kew = Kew::start(folder.path(), &["--config", &config]);
    let stranger = |token| Client { address: kew.address, token };
    for token in [None, Some("eve-0123456789abcdef")] {
        for path in ["/v1/jobs", "/v1/jobs/1", "/v1/events"] {
            let (code, problem) = stranger(token).get(path);
            assert_eq!(code, 401, "GET {path}: {problem}");
        }
        assert_eq!(stranger(token).post("/v1/jobs", &pdf()).0, 401);
    }
}

#[test]
fn a_process_that_is_the_broker_takes_no_other_brokers_address() {
    let folder = folder();
    for role in [&[][..], &["--role", "all"], &["--role", "broker"]] {
        let (code, said) = kew::refused(folder.path(), &[role, &["--broker", "http://127.0.0.1:1"]].concat());
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("add --role api, processor or notifier, or leave --broker out"), "{said}");
    }
    assert!(!kew::data(folder.path()).exists(), "who refuses leaves nothing behind");
}

#[test]
fn a_field_that_no_handler_has_is_told_with_its_section_and_file() {
    let folder = folder();
    let config = file(folder.path(), "kew.toml", "[handlers.email]\nhots = \"mail.example\"\n");
    let (code, said) = kew::refused(folder.path(), &["--config", &config]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("read [handlers.email]: unknown field `hots`") && said.contains(&config), "{said}");
}

#[test]
fn a_font_that_is_not_there_stops_the_start() {
    let folder = folder();
    let config = file(folder.path(), "kew.toml", "[handlers.pdf]\nfonts = [\"/no/such/font.ttf\"]\n");
    let (code, said) = kew::refused(folder.path(), &["--config", &config]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("set up [handlers.pdf]: the font /no/such/font.ttf: "), "{said}");
}

#[test]
fn a_broker_that_would_not_be_reached_as_its_url_says_is_refused() {
    let folder = folder();
    for url in ["https://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1/path"] {
        let (code, said) = kew::refused(folder.path(), &["--role", "processor", "--broker", url]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("url is {url:?}; allowed: http://host:port")), "{said}");
    }
}

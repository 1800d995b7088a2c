//! The JSON Schema of the adapter protocol says what the harness says and reads: every example of docs/adapters.md, a
//! session that was recorded, every request that there is, and no line that the harness would not take.

use kew_spec::queues::Queues;
use kew_verify::capability::Capabilities;
use kew_verify::protocol::{Ask, Ending, Hello, Job, JobResult, Request, Role, SCHEMA, Said, VERSION, Which};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../docs/adapters.md");

/// What went over the pipes of `kew verify ./sqlite-in-60-lines --scenario dead-letters-of-one`, both ways.
const SESSION: &str = include_str!("session.jsonl");

/// Lines that are no adapter's.
const WRONG: [&str; 9] = [
    r#"{"id":3,"okay":{}}"#,
    r#"{"id":3,"ok":{},"refused":"x"}"#,
    r#"{"id":3}"#,
    r#"{"id":"3","ok":{}}"#,
    r#"{"event":"invoke","invocation":"1","queue":"q","jobs":[],"extra":1}"#,
    r#"{"event":"stopped","invocation":"1","why":"tired"}"#,
    r#"{"event":"started"}"#,
    r#"{"ok":{}}"#,
    "[]",
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

/// Checks one side's lines: `harness` or `adapter`.
fn validator(side: &str) -> jsonschema::Validator {
    let mut schema = schema();
    let root = schema.as_object_mut().expect("the schema is an object");
    root.remove("oneOf");
    root.insert("$ref".into(), json!(format!("#/$defs/{side}")));
    jsonschema::validator_for(&schema).expect("the schema is one")
}

fn check<'a>(lines: impl Iterator<Item = &'a str>) -> usize {
    let (harness, adapter) = (validator("harness"), validator("adapter"));
    let mut checked = 0;
    for line in lines {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let side = if value.get("op").is_some() { &harness } else { &adapter };
        if let Err(error) = side.validate(&value) {
            panic!("{error} in {line}");
        }
        checked += 1;
    }
    checked
}

#[test]
fn every_example_of_the_page_is_valid() {
    let blocks = PAGE.split("```jsonl\n").skip(1).map(|block| block.split("\n```").next().unwrap());
    assert!(20 < check(blocks.flat_map(str::lines)), "the page has examples");
}

#[test]
fn every_line_of_a_recorded_session_is_valid() {
    assert!(50 < check(SESSION.lines()), "the session has lines");
}

#[test]
fn every_request_is_valid() {
    let which = || Which { queue: "q".into(), job: "j".into() };
    let queue = || "q".to_owned();
    let mut asks: Vec<Ask> = Queues::default()
        .iter()
        .map(|(name, policy)| Ask::Configure {
            queue: name.into(),
            policy: Box::new(policy.clone()),
            slots: 4,
            beside: vec![name.into()],
        })
        .collect();
    asks.extend([
        Ask::Hello(Hello {
            protocol: VERSION,
            role: Role::Both,
            name: "client".into(),
            server: None,
            dir: "/tmp/x".into(),
            clock_ms: Some(1_795_600_000_000),
        }),
        Ask::Enqueue(Job {
            queue: queue(),
            job: "j".into(),
            payload: "{}".into(),
            user: "ada".into(),
            key: Some("k".into()),
            idempotency_key: Some("i".into()),
        }),
        Ask::DeadLetters { queue: queue() },
        Ask::Status(which()),
        Ask::Redrive(which()),
        Ask::Cancel(which()),
        Ask::Pause { queue: queue() },
        Ask::Resume { queue: queue() },
        Ask::KillServer,
        Ask::StartServer,
        Ask::Advance { to_ms: 1_795_600_000_010 },
        Ask::Bye,
    ]);
    let requests = asks.into_iter().map(|ask| Request { id: Some(7), ask });
    let result = JobResult { job: "j".into(), result: Ending::Failed, error: Some("no fonts".into()) };
    let outcome = Request { id: None, ask: Ask::Outcome { invocation: "w-1".into(), jobs: vec![result] } };
    let lines: Vec<_> =
        requests.chain([outcome]).map(|request| serde_json::to_string(&request).expect("it is JSON")).collect();
    let ops = schema()["$defs"]["harness"]["oneOf"].as_array().expect("it lists the requests").len();
    assert_eq!(check(lines.iter().map(String::as_str)), ops - 1 + Queues::default().iter().count());
}

#[test]
fn what_the_harness_does_not_take_is_not_valid() {
    let adapter = validator("adapter");
    for line in WRONG {
        assert!(Said::parse(line).is_err(), "{line}");
        assert!(!adapter.is_valid(&serde_json::from_str(line).expect("it is JSON")), "{line}");
    }
}

#[test]
fn capabilities_are_those_of_the_harness() {
    let schema = schema();
    let listed = schema["$defs"]["capabilities"]["properties"].as_object().expect("it lists capabilities");
    let all = Capabilities::default();
    let mut names: Vec<_> = all.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    let mut listed: Vec<_> = listed.keys().map(String::as_str).collect();
    listed.sort_unstable();
    assert_eq!(listed, names);
    let parameters = schema["$defs"]["feature"]["anyOf"][1]["properties"].as_object().expect("it lists parameters");
    let text = parameters.keys().filter(|name| !["is", "note", "recovers_ms"].contains(&name.as_str()));
    for name in text {
        let declared = json!({ "crash": { "is": "native", name.as_str(): true } });
        assert!(serde_json::from_value::<Capabilities>(declared).is_ok(), "{name}");
    }
}

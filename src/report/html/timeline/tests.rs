//! What is drawn of small histories, written as people write them.

use kew_spec::history::Reader;
use serde_json::{Value, json};

/// What is drawn of these events.
fn drawn(lines: &[&str]) -> Value {
    let history = [r#"{"kew_history":1,"system":"my queue 1.0"}"#].into_iter().chain(lines.iter().copied());
    let history = history.collect::<Vec<_>>().join("\n");
    let reader = Reader::new(history.as_bytes()).expect("the history has a header");
    let events: Vec<_> = reader.map(|read| read.expect("the history is well formed")).collect();
    serde_json::to_value(super::timeline(&events)).expect("a timeline has string keys alone")
}

fn names(drawn: &Value) -> Vec<&str> {
    drawn["lanes"].as_array().expect("lanes").iter().map(|lane| lane["name"].as_str().expect("a name")).collect()
}

const GRANTED: &str = r#"{"at":20,"granted":{"delivery":"d1","queue":"pdf_generation","processor":"p-1","jobs":[{"job":"j1","attempt":1}],"lease_until":1070,"clock":1020}}"#;
const STARTED: &str = r#"{"at":25,"started":{"processor":"p-1","delivery":"d1","queue":"pdf_generation","jobs":[{"job":"j1","attempt":1,"payload":"p"}]}}"#;
const FINISHED: &str = r#"{"at":40,"finished":{"processor":"p-1","delivery":"d1","jobs":[{"job":"j1","attempt":1,"outcome":"failed","error":"no"}]}}"#;
const SETTLED: &str = r#"{"at":45,"settled":{"job":"j1","attempt":1,"outcome":"failed","accepted":true,"then":{"retry-at":1095},"clock":1045}}"#;
const UP: &str = r#"{"at":0,"processor":{"processor":"p-1","up":true,"slots":1}}"#;
const DOWN: &str = r#"{"at":30,"processor":{"processor":"p-1","up":false}}"#;
const READ: &str = r#"{"at":500,"status":{"job":"j1","user":"ada","asked_at":490}}"#;

#[test]
fn a_lease_ends_where_it_is_settled() {
    let drawn = drawn(&[GRANTED, STARTED, FINISHED, SETTLED, READ]);
    let expected = json!([{ "job": 0, "attempt": 1, "delivery": 0, "end": 3, "to": 45, "outcome": "failed" }]);
    assert_eq!(drawn["leases"], expected);
    assert_eq!(drawn["deliveries"][0]["to"], 45);
}

#[test]
fn a_lease_that_nothing_ends_lasts_until_it_runs_out_on_the_players_clock() {
    let drawn = drawn(&[GRANTED, READ]);
    assert_eq!(drawn["leases"][0]["to"], 70);
    assert_eq!(drawn["leases"][0]["end"], Value::Null);
}

#[test]
fn a_lease_that_outlasts_the_history_ends_with_it() {
    assert_eq!(drawn(&[GRANTED, STARTED])["leases"][0]["to"], 25);
}

#[test]
fn a_settle_that_comes_too_late_ends_no_lease() {
    let late = SETTLED.replace(r#""accepted":true,"then":{"retry-at":1095}"#, r#""accepted":false"#);
    assert_eq!(drawn(&[GRANTED, &late, READ])["leases"][0]["end"], Value::Null);
}

#[test]
fn two_leases_of_one_job_at_once_are_two_bars() {
    let other = GRANTED.replace("d1", "d2").replace("p-1", "p-2").replace(r#""attempt":1"#, r#""attempt":2"#);
    let drawn = drawn(&[GRANTED, &other, SETTLED, READ]);
    let ends: Vec<_> = drawn["leases"].as_array().expect("leases").iter().map(|lease| &lease["to"]).collect();
    assert_eq!(ends, [45, 70]);
}

#[test]
fn a_handler_ends_with_its_processor() {
    let drawn = drawn(&[UP, GRANTED, STARTED, DOWN, READ]);
    assert_eq!(drawn["handlers"], json!([{ "lane": 2, "from": 2, "to": 3, "outcome": null }]));
    assert_eq!(drawn["ups"], json!([{ "lane": 2, "from": 0, "to": 3 }]));
}

#[test]
fn a_job_waits_for_its_retry_on_the_players_clock() {
    assert_eq!(drawn(&[GRANTED, SETTLED, READ])["jobs"][0]["waits"], json!([[45, 95]]));
}

#[test]
fn a_delivery_is_drawn_as_its_messages() {
    let drawn = drawn(&[GRANTED, STARTED, FINISHED, SETTLED]);
    assert_eq!(drawn["arrows"], json!([["grant", 0, 1], ["settle", 2, 3]]));
}

const ENQUEUE: &str = r#"{"at":0,"enqueue":{"op":1,"user":"ada","queue":"pdf_generation","payload":"p"}}"#;
const ACCEPTED: &str = r#"{"at":5,"accepted":{"job":"j1","queue":"pdf_generation","user":"ada","payload":"p","how":"created","clock":1005}}"#;

#[test]
fn what_the_queue_accepts_answers_the_client_that_still_waits() {
    let again = ENQUEUE.replace(r#""op":1"#, r#""op":2"#);
    let unknown = r#"{"at":0,"reply":{"op":1,"outcome":"unknown"}}"#;
    let told = r#"{"at":9,"reply":{"op":2,"outcome":"ok","job":"j1"}}"#;
    let drawn = drawn(&[ENQUEUE, unknown, &again, ACCEPTED, told]);
    assert_eq!(drawn["arrows"], json!([["ask", 2, 3], ["answer", 3, 4]]));
}

#[test]
fn an_enqueue_is_about_the_job_that_it_made() {
    let told = r#"{"at":9,"reply":{"op":1,"outcome":"ok","job":"j1"}}"#;
    let drawn = drawn(&[ENQUEUE, ACCEPTED, told]);
    let jobs_of_the_first = &drawn["events"][0][5];
    assert_eq!(*jobs_of_the_first, json!([0]));
}

#[test]
fn a_fault_lies_on_the_rows_that_it_strikes() {
    let begins = r#"{"at":1,"fault":{"fault":1,"kind":"partition","on":["users","p-10"],"active":true}}"#;
    let ends = begins.replace(r#""at":1"#, r#""at":9"#).replace("true", "false");
    let everywhere = r#"{"at":9,"fault":{"fault":2,"kind":"latency","active":true}}"#;
    let grants = [GRANTED, &GRANTED.replace("p-1", "p-10"), &GRANTED.replace("p-1", "p-9")];
    let drawn = drawn(&[ENQUEUE, begins, &ends, everywhere, grants[0], grants[1], grants[2]]);
    assert_eq!(names(&drawn), ["ada", "broker", "p-1", "p-9", "p-10"], "users first, and 10 after 9");
    assert_eq!(drawn["faults"][0]["lanes"], json!([0, 4]));
    assert_eq!((&drawn["faults"][0]["from"], &drawn["faults"][0]["to"]), (&json!(1), &json!(2)));
    assert_eq!(drawn["faults"][1]["lanes"], json!([0, 1, 2, 3, 4]), "a fault that names no host strikes all");
    assert_eq!(drawn["faults"][1]["to"], Value::Null);
}

#[test]
fn many_users_share_a_row() {
    let reads: Vec<_> = (0..9).map(|i| READ.replace("ada", &format!("user-{i}"))).collect();
    assert_eq!(names(&drawn(&reads.iter().map(String::as_str).collect::<Vec<_>>())), ["users"]);
}

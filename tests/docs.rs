//! What the documents show is true: examples parse, the shell script runs, and the generated page is current.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use kew_spec::history::{Event, Header, Reader, What};

const HISTORY: &str = include_str!("../docs/history.md");
const CLAUSES: &str = include_str!("../docs/clauses.md");

/// The fenced blocks of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let ends = |block: &'a str| block.split("\n```").next().expect("split yields a part");
    page.split(fence.as_str()).skip(1).map(ends).collect()
}

#[test]
fn every_example_of_a_history_parses() {
    let mut shown = BTreeSet::new();
    for line in blocks(HISTORY, "jsonl").into_iter().flat_map(str::lines) {
        if line.starts_with("{\"kew_history\"") {
            let header: Header = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
            assert_eq!(header.kew_history, kew_spec::history::VERSION);
        } else {
            let event: Event = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
            shown.insert(event.what.name());
        }
    }
    assert_eq!(shown, What::NAMES.iter().copied().collect(), "each observation has an example");
}

#[test]
fn every_example_is_written_as_kew_writes_it() {
    for line in blocks(HISTORY, "jsonl").into_iter().flat_map(str::lines) {
        if let Ok(event) = serde_json::from_str::<Event>(line) {
            assert_eq!(serde_json::to_string(&event).expect("an event serializes"), line);
        }
    }
}

#[test]
fn the_shell_script_writes_a_history_that_kew_judges() {
    let [script] = blocks(HISTORY, "sh")[..] else { panic!("history.md has one shell script") };
    let printf = script.replace("kew check -", "cat");
    let written = Command::new("sh").arg("-c").arg(printf).output().expect("sh runs");
    assert_eq!(Reader::new(&written.stdout[..]).expect("it has a header").count(), 4);
    let mut kew = Command::new(env!("CARGO_BIN_EXE_kew"))
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kew runs");
    kew.stdin.take().expect("stdin is piped").write_all(&written.stdout).expect("kew reads");
    let output = kew.wait_with_output().expect("kew ends");
    assert!(String::from_utf8_lossy(&output.stdout).contains("✗ retry/one-owner"), "the script breaks one-owner");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_page_of_clauses_is_current() {
    let output = Command::new(env!("CARGO_BIN_EXE_kew")).arg("spec").output().expect("kew runs");
    let current = String::from_utf8(output.stdout).expect("kew prints UTF-8");
    assert!(current == CLAUSES, "docs/clauses.md is old; run `cargo run -- spec > docs/clauses.md`");
}

#[test]
fn the_schema_of_the_adapter_protocol_is_printed_as_it_stands_in_the_documents() {
    let output = Command::new(env!("CARGO_BIN_EXE_kew")).args(["verify", "--schema"]).output().expect("kew runs");
    assert!(output.status.success());
    let page = include_str!("../docs/adapter-protocol.schema.json");
    assert!(output.stdout == page.as_bytes(), "the binary has another schema than docs/adapter-protocol.schema.json");
}

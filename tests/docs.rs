//! What the documents show is true: examples parse, the shell script runs, and the generated page is current.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kew_runtime::config::Config;
use kew_spec::history::{Event, Header, Reader, What};
use serde::Deserialize;

const HISTORY: &str = include_str!("../docs/history.md");
const CLAUSES: &str = include_str!("../docs/clauses.md");
const SERVE: &str = include_str!("../docs/serve.md");

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
fn the_configuration_that_is_shown_is_one() {
    let text = blocks(SERVE, "toml")[0];
    let config = Config::parse(text).expect("it is allowed");
    let token = |name: &str| Some(format!("{name}-of-sixteen-characters"));
    assert!(config.access(token).expect("each has a token").has_tokens());
    let default = Config::default();
    assert_eq!(
        (config.listen, config.data, config.keep_ended_days, config.processor.slots),
        (default.listen, default.data, default.keep_ended_days, default.processor.slots),
        "the page says that these are the defaults"
    );
    kew_handlers::Config::deserialize(config.handlers).expect("the handlers know what is theirs");
}

#[test]
fn every_route_stands_in_the_page_about_serving_and_no_other() {
    let folders =
        ["api", "notify"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/src").join(folder));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("it is a folder of ours"));
    let sources = files.map(|file| std::fs::read_to_string(file.expect("it is there").path()).expect("it is text"));
    let sources: String = sources.collect();
    let after = |text: &str, mark: &str| -> BTreeSet<String> {
        text.split(mark).skip(1).filter_map(|rest| rest.split(['"', '`']).next().map(str::to_owned)).collect()
    };
    let shown: BTreeSet<_> =
        ["| `GET ", "| `POST ", "| `DELETE "].iter().flat_map(|method| after(SERVE, method)).collect();
    assert_eq!(shown, after(&sources, ".route(\""));
}

#[test]
fn the_schema_of_the_adapter_protocol_is_printed_as_it_stands_in_the_documents() {
    let output = Command::new(env!("CARGO_BIN_EXE_kew")).args(["verify", "--schema"]).output().expect("kew runs");
    assert!(output.status.success());
    let page = include_str!("../docs/adapter-protocol.schema.json");
    assert!(output.stdout == page.as_bytes(), "the binary has another schema than docs/adapter-protocol.schema.json");
}

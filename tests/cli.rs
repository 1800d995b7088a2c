//! The command line as people and scripts meet it: helps, verdicts, errors and exit codes. `kew sim` has `cli_sim.rs`.
//!
//! After a change of wording: `INSTA_UPDATE=always cargo test --test cli`, then read the difference.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use kew_spec::clause::CLAUSES;
use serde_json::Value;

/// One job that is delivered, fails, is delivered again and completes.
const KEPT: &str = r#"{"kew_history":1,"system":"shell 5.2","player":"hand","sees":["queue"]}
{"at":1,"accepted":{"job":"7c1e","queue":"pdf_generation","user":"ada","payload":"p","how":"created","clock":1000}}
{"at":10,"granted":{"delivery":"d1","queue":"pdf_generation","processor":"processor-1","jobs":[{"job":"7c1e","attempt":1}],"lease_until":31010,"clock":1010}}
{"at":500,"settled":{"job":"7c1e","attempt":1,"outcome":"failed","accepted":true,"then":{"retry-at":1500},"error":"no fonts","clock":1500}}
{"at":510,"granted":{"delivery":"d2","queue":"pdf_generation","processor":"processor-2","jobs":[{"job":"7c1e","attempt":2}],"lease_until":31510,"clock":1510}}
{"at":600,"settled":{"job":"7c1e","attempt":2,"outcome":"completed","accepted":true,"then":"completed","clock":1600}}
"#;

/// What follows a completed job: it is delivered again.
const RESURRECTED: &str = r#"{"at":700,"granted":{"delivery":"d3","queue":"pdf_generation","processor":"processor-1","jobs":[{"job":"7c1e","attempt":3}],"lease_until":31700,"clock":1700}}
"#;

fn kew(arguments: &[&str]) -> Command {
    let mut kew = Command::new(env!("CARGO_BIN_EXE_kew"));
    kew.args(arguments).stdin(Stdio::null());
    kew
}

fn run(arguments: &[&str]) -> Output {
    kew(arguments).output().expect("kew runs")
}

/// Exit code, standard output and standard error, as a page.
fn page(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let code = output.status.code().expect("kew exits by itself");
    format!("{out}{err}exit code {code}\n")
}

fn check_stdin(history: &str) -> Output {
    let mut kew = kew(&["check", "-"]);
    let mut child = kew.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kew runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // Kew stops reading at a line it cannot read; that the rest finds no reader is right.
    let _ = stdin.write_all(history.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("kew ends")
}

/// A folder in which `history.jsonl` holds `history`.
fn folder(history: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    std::fs::write(folder.path().join("history.jsonl"), history).expect("there is room for a history");
    folder
}

fn check_in(folder: &Path, more: &[&str]) -> Output {
    kew(&["check", "history.jsonl"]).args(more).current_dir(folder).output().expect("kew runs")
}

#[test]
fn help_teaches() {
    assert_snapshot!("help", page(&run(&["--help"])));
    assert_snapshot!("help_spec", page(&run(&["spec", "--help"])));
    assert_snapshot!("help_check", page(&run(&["check", "--help"])));
}

#[test]
fn the_catalogue_is_printed_in_four_forms() {
    let markdown = page(&run(&["spec"]));
    let head: Vec<_> = markdown.lines().take(24).collect();
    assert_snapshot!("spec_head", head.join("\n"));
    let json: Vec<Value> = serde_json::from_slice(&run(&["spec", "--json"]).stdout).expect("a list in JSON");
    assert_eq!(json.len(), CLAUSES.len());
    let listed = String::from_utf8(run(&["spec", "--clauses"]).stdout).expect("kew prints UTF-8");
    assert_eq!(listed.lines().count(), CLAUSES.len());
    let queues = String::from_utf8(run(&["spec", "--queues"]).stdout).expect("kew prints UTF-8");
    assert!(kew_spec::queues::Queues::parse(&queues).is_ok());
}

#[test]
fn a_kept_history_ends_with_0() {
    assert_snapshot!("check_kept", page(&check_in(folder(KEPT).path(), &[])));
}

#[test]
fn a_broken_history_shows_where_and_ends_with_1() {
    let folder = folder(&format!("{KEPT}{RESURRECTED}"));
    assert_snapshot!("check_broken", page(&check_in(folder.path(), &[])));
}

#[test]
fn the_json_of_a_broken_history_has_verdict_and_excerpt() {
    let folder = folder(&format!("{KEPT}{RESURRECTED}"));
    let output = check_in(folder.path(), &["--json"]);
    let checked: Value = serde_json::from_slice(&output.stdout).expect("a verdict in JSON");
    assert_eq!(checked["events"], 6);
    assert_eq!(checked["verdict"]["clauses"].as_array().map(Vec::len), Some(CLAUSES.len()));
    let lines = checked["excerpts"]["retry/stops"]["lines"].as_array().expect("retry/stops is broken");
    assert_eq!(lines.last().expect("an excerpt has lines")["line"], 7);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn standard_input_is_judged_like_a_file() {
    let history = format!("{KEPT}{RESURRECTED}");
    let from_file = page(&check_in(folder(&history).path(), &[]));
    let from_stdin = page(&check_stdin(&history));
    assert_eq!(from_stdin.replace("standard input", "history.jsonl"), from_file);
}

#[test]
fn a_history_from_a_file_and_from_standard_input_makes_the_same_page() {
    let folder = folder(&format!("{KEPT}{RESURRECTED}"));
    let made = check_in(folder.path(), &["--report", "file.html"]);
    assert!(page(&made).contains("report: file.html"), "the page's name is printed");
    let mut kew = kew(&["check", "-", "--report", "stdin.html"]);
    let history = std::fs::File::open(folder.path().join("history.jsonl")).expect("the history is there");
    let status = kew.current_dir(folder.path()).stdin(history).stdout(Stdio::null()).status().expect("kew runs");
    assert_eq!(status.code(), Some(1));
    let read = |name| std::fs::read_to_string(folder.path().join(name)).expect("the page is written");
    let [file, stdin] = ["file.html", "stdin.html"].map(read);
    assert_eq!(file.replace("history.jsonl", "standard input"), stdin);
    assert!(file.contains("Every") && file.contains("7c1e"), "the catalogue and the history are in it");
}

#[test]
fn a_shell_script_can_write_a_history() {
    let lines: Vec<_> =
        KEPT.lines().chain(RESURRECTED.lines()).map(|line| format!("printf '%s\\n' '{line}'")).collect();
    let script = format!("{{ {}; }} | \"$KEW\" check -", lines.join("; "));
    let output = Command::new("sh").arg("-c").arg(script).env("KEW", env!("CARGO_BIN_EXE_kew")).output();
    let output = output.expect("sh runs");
    assert!(page(&output).contains("✗ retry/stops"), "{}", page(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_bad_line_is_named_with_its_reason() {
    let bad = |from: &str, to: &str| page(&check_stdin(&KEPT.replacen(from, to, 1)));
    let pages = [
        bad("\"granted\"", "\"grantd\""),
        bad("\"processor\"", "\"prozessor\""),
        bad("\"attempt\":1,", ""),
        bad("{\"at\":500", "{\"at\":5"),
        bad("\"at\":500,", ""),
        bad("\"clock\":1500}}", "\"clock\":1500}"),
    ];
    assert_snapshot!("check_bad_line", pages.concat());
}

#[test]
fn what_is_no_history_is_refused() {
    let pages = [
        page(&check_stdin("")),
        page(&check_stdin("hello\n")),
        page(&check_stdin("{\"kew_history\":2,\"system\":\"of the future\"}\n")),
        page(&run(&["check", "no/such/file"])),
    ];
    assert_snapshot!("check_no_history", pages.concat());
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&["chekc"][..], &["check"], &["spec", "--json", "--queues"], &["check", "-", "--yaml"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "kew {arguments:?}");
    }
}

#[test]
fn colour_goes_to_terminals_alone() {
    let output = check_stdin(&format!("{KEPT}{RESURRECTED}"));
    assert!(!output.stdout.contains(&0x1B));
    let coloured = kew(&["spec", "--nonsense"]).output().expect("kew runs");
    assert!(!coloured.stderr.contains(&0x1B));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let script = "\"$KEW\" spec --json | true; \"$KEW\" spec | head -n 1";
    let output = Command::new("sh").arg("-c").arg(script).env("KEW", env!("CARGO_BIN_EXE_kew")).output();
    let output = output.expect("sh runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "# What a job queue must promise\n");
    assert!(output.stderr.is_empty(), "{}", page(&output));
}

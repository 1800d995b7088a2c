//! `kew sim` as people and scripts meet it. What it must find is in `planted.rs`, that it repeats in `determinism.rs`.

use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;
use serde_json::Value;

fn sim(arguments: &[&str]) -> Output {
    let mut kew = Command::new(env!("CARGO_BIN_EXE_kew"));
    kew.arg("sim").args(arguments).stdin(Stdio::null()).output().expect("kew runs")
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    format!("{out}{err}exit code {}\n", output.status.code().expect("kew exits by itself"))
}

#[test]
fn help_teaches() {
    assert_snapshot!("help_sim", text(&sim(&["--help"])));
}

#[test]
fn wrong_input_ends_with_2_and_says_what_is_allowed() {
    let pages = [
        text(&sim(&["--scenario", "no-such-scenario"])),
        text(&sim(&["--scenario", "no/such/file.toml"])),
        text(&sim(&["--planted", "no-such-bug"])),
        text(&sim(&["--seeds", "2", "--first", "18446744073709551615"])),
    ];
    assert_snapshot!("sim_wrong_input", pages.concat());
    for arguments in [&["--seed", "1", "--seeds", "2"][..], &["--history", "h"], &["--seeds", "0"], &["--jobs", "0"]] {
        assert_eq!(sim(arguments).status.code(), Some(2), "kew sim {arguments:?}");
    }
}

#[test]
fn a_seeds_history_is_judged_again_as_it_was() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let history = folder.path().join("run.jsonl");
    let history = history.to_str().expect("the path is text");
    let played = sim(&["--seed", "1", "--json", "--history", history]);
    let checked =
        Command::new(env!("CARGO_BIN_EXE_kew")).args(["check", "--json", history]).output().expect("kew runs");
    let clauses = |output: &Output| {
        let value: Value = serde_json::from_slice(&output.stdout).expect("a result in JSON");
        let clauses = value["verdict"]["clauses"].as_array().expect("a verdict").clone();
        let stands = |entry: &Value| (entry["clause"].clone(), entry["state"].clone(), entry["exercised"].clone());
        clauses.iter().map(stands).collect::<Vec<_>>()
    };
    assert_eq!(clauses(&played), clauses(&checked));
    assert_eq!(played.status.code(), checked.status.code());
}

#[test]
fn a_seeds_page_is_the_same_every_time() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let pages = ["one.html", "other.html"].map(|name| {
        let path = folder.path().join(name);
        let output = sim(&["--seed", "1", "--report", path.to_str().expect("the path is text")]);
        assert!(text(&output).contains(name), "the page's name is printed");
        std::fs::read_to_string(path).expect("the page is written")
    });
    assert!(pages[0].starts_with("<!doctype html>"));
    assert!(pages[0] == pages[1], "the two pages differ");
}

#[test]
fn a_page_shows_the_run_that_broke_the_planted_bugs_clause() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("page.html");
    let output = sim(&["--planted", "bull-2777-rate-window", "--report", path.to_str().expect("the path is text")]);
    assert_eq!(output.status.code(), Some(1));
    let page = std::fs::read_to_string(path).expect("the page is written");
    assert!(page.contains(r#""opening":"rate/ceiling""#), "it opens with the clause");
    assert!(page.contains("is one too many"), "and holds what was found");
}

#[test]
fn a_page_that_cannot_be_written_ends_with_2() {
    let output = sim(&["--seed", "1", "--report", "no/such/folder/page.html"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("write report no/such/folder/page.html"));
}

#[test]
fn seeds_add_up() {
    let output = sim(&["--seeds", "3", "--first", "5", "--json"]);
    let tried: Value = serde_json::from_slice(&output.stdout).expect("a result in JSON");
    let seeds: Vec<_> = tried["runs"].as_array().expect("runs").iter().map(|run| run["seed"].as_u64()).collect();
    assert_eq!(seeds, [Some(5), Some(6), Some(7)]);
}

#[test]
fn the_library_is_listed() {
    let listed = text(&sim(&["--scenarios"]));
    for scenario in kew_spec::scenario::library() {
        assert!(listed.contains(&scenario.name), "{} is not listed", scenario.name);
    }
}

#[test]
fn the_speed_has_a_line_for_each_figure() {
    let short = ["--bench", "--seeds", "2", "--length-ms", "600000"];
    let page = text(&sim(&short));
    for line in ["idle world", "busy day", "turmoil alone", "ratio", "seeds an hour", "one run", "exit code 0"] {
        assert!(page.contains(line), "{line} is not on the page:\n{page}");
    }
    let value: Value = serde_json::from_slice(&sim(&[&short[..], &["--json"]].concat()).stdout).expect("JSON");
    let worlds: Vec<_> = value["worlds"].as_array().expect("worlds").iter().map(|it| it["world"].as_str()).collect();
    assert_eq!(worlds, [Some("idle"), Some("day")]);
    assert_eq!(value["worlds"][0]["rounds"].as_array().map(Vec::len), Some(3), "the middle of three");
    assert_eq!(value["seeds"]["seeds"], 2);
}

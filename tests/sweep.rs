//! `kew sim --sweep-power` as people and scripts meet it. What it finds is in `sim/tests/sweep.rs`.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn kew(arguments: &[&str]) -> Output {
    let mut kew = Command::new(env!("CARGO_BIN_EXE_kew"));
    kew.args(arguments).stdin(Stdio::null()).output().expect("kew runs")
}

fn sweep(arguments: &[&str]) -> Output {
    kew(&[&["sim", "--sweep-power"], arguments].concat())
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn broken(swept: &Value) -> Vec<&str> {
    let clauses = swept["verdict"]["clauses"].as_array().expect("a verdict");
    clauses.iter().filter(|it| it["state"] == "broken").filter_map(|it| it["clause"].as_str()).collect()
}

#[test]
fn at_full_a_sweep_keeps_everything_and_ends_with_0() {
    let output = sweep(&["--every", "1700", "--json"]);
    let swept = json(&output);
    assert_eq!(broken(&swept), Vec::<&str>::new());
    let cuts = swept["operations"].as_u64().expect("a number").div_ceil(1_700);
    assert_eq!(swept["all"]["points"], cuts * 14, "{}", swept["all"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn at_normal_the_documented_loss_is_found_and_its_point_replays_alone() {
    let normal = ["--seed", "0", "--synchronous", "normal"];
    let output = sweep(&[&normal[..], &["--every", "1700", "--json"]].concat());
    let swept = json(&output);
    assert_eq!((&swept["all"]["damaged"], output.status.code()), (&0.into(), Some(0)), "{}", swept["all"]);
    let at = &swept["shown"]["job/no-loss"]["at"];
    let (cut, model) = (at["cut"].to_string(), at["model"].as_str().expect("a model"));
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let history = folder.path().join("point.jsonl");
    let history = history.to_str().expect("the path is text");
    let point = [&normal[..], &["--cut", &cut, "--model", model, "--json", "--history", history]].concat();
    let alone = sweep(&point);
    assert_eq!(alone.status.code(), Some(1), "the point is broken");
    assert!(broken(&json(&alone)).contains(&"job/no-loss"));
    let checked = kew(&["check", "--json", history]);
    assert_eq!(broken(&json(&checked)), broken(&json(&alone)), "the history says the same");
    assert_eq!(sweep(&point).stdout, alone.stdout, "the same again");
}

#[test]
fn wrong_input_ends_with_2() {
    let wrong: [&[&str]; 6] = [
        &["--every", "0"],
        &["--cut", "999999999"],
        &["--cut", "1", "--model", "sectors-100"],
        &["--planted", "retry-forgets-expired-lease"],
        &["--seed", "0", "--history", "all.jsonl"],
        &["--synchronous", "off"],
    ];
    for arguments in wrong {
        assert_eq!(sweep(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

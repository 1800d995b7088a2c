//! It bites: every planted bug is named by its clause within 200 seeds, every clause has one, and without a bug nothing
//! is accused. Run alone with `cargo test --test planted`.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use kew_spec::clause::CLAUSES;
use serde_json::Value;

fn kew(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kew")).arg("sim").args(arguments).output().expect("kew runs")
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn bugs() -> Vec<(String, String)> {
    let listed = json(&kew(&["--planted", "list", "--json"]));
    let text = |value: &Value| value.as_str().expect("names are strings").to_owned();
    let bugs = listed.as_array().expect("a list of bugs");
    bugs.iter().map(|bug| (text(&bug["name"]), text(&bug["clause"]))).collect()
}

#[test]
fn every_clause_has_a_planted_bug() {
    let broken: BTreeSet<_> = bugs().into_iter().map(|(_, clause)| clause).collect();
    let without: Vec<_> = CLAUSES.iter().map(|clause| clause.id).filter(|id| !broken.contains(*id)).collect();
    assert!(without.is_empty(), "no planted bug breaks {without:?}");
    assert!(40 <= bugs().len());
}

#[test]
fn every_planted_bug_is_named_within_200_seeds() {
    let mut unnamed = Vec::new();
    for (name, clause) in bugs() {
        let tried = json(&kew(&["--planted", &name, "--json"]));
        if tried["named"] != true {
            let broken: Vec<_> = tried["broken"].as_array().into_iter().flatten().map(|it| &it["clause"]).collect();
            unnamed.push(format!("{name} should break {clause}, and broke {broken:?}"));
        }
    }
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
}

#[test]
fn without_a_bug_nothing_is_accused_and_every_clause_is_exercised() {
    let output = kew(&["--seeds", "100", "--json"]);
    let tried = json(&output);
    let clauses = tried["verdict"]["clauses"].as_array().expect("a verdict");
    let not_kept: Vec<_> = clauses.iter().filter(|it| it["state"] != "kept").map(|it| it["clause"].clone()).collect();
    assert!(not_kept.is_empty(), "not kept: {not_kept:?}\n{}", tried["broken"]);
    assert_eq!(output.status.code(), Some(0));
}

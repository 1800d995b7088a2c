//! Runs that once went wrong, kept as capsules, go right now; and capsules in general: what is written is played again,
//! the same event by event, and what breaks is shrunk. Run alone with `cargo test --test corpus`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn kew(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kew")).args(arguments).output().expect("kew runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {said}"))
}

/// The capsules of the corpus.
fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let files = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it is readable").path());
    let mut capsules: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "capsule")).collect();
    capsules.sort();
    assert!(!capsules.is_empty());
    capsules
}

#[test]
fn what_once_went_wrong_goes_right() {
    for capsule in corpus() {
        let output = kew(&["replay", text(&capsule)]);
        let page = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}:\n{page}", capsule.display());
    }
}

#[test]
fn a_capsule_plays_the_run_that_it_was_written_from() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let capsule = folder.path().join("run.capsule");
    for seed in ["3", "8"] {
        let played = json(&kew(&["sim", "--json", "--seed", seed, "--capsule", text(&capsule)]));
        let again = json(&kew(&["replay", "--json", text(&capsule)]));
        assert_eq!(again["same"], true, "seed {seed}");
        assert_eq!(played["runs"][0]["hash"], again["hash"], "seed {seed}");
    }
}

#[test]
fn a_capsule_is_played_for_its_history_and_its_page() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (history, page) = (folder.path().join("run.jsonl"), folder.path().join("run.html"));
    let capsule = &corpus()[0];
    let output = kew(&["replay", text(capsule), "--history", text(&history), "--report", text(&page)]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(kew(&["check", text(&history)]).status.code(), Some(0));
    assert!(fs::read_to_string(&page).expect("the page is there").contains("kew replay"));
}

#[test]
fn a_run_that_breaks_is_shrunk_to_what_it_takes() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let capsule = folder.path().join("least.capsule");
    let arguments = ["sim", "--planted", "lost-lease-does-not-count", "--minimize", "--json", "--capsule"];
    let found = json(&kew(&[&arguments[..], &[text(&capsule)]].concat()));
    let least = &found["minimized"]["shrunk"]["to"];
    let count = |name: &str| least[name].as_u64().expect("a count");
    assert!(count("faults") <= 3 && (1..=5).contains(&count("jobs")), "{least}");
    let output = kew(&["replay", "--json", text(&capsule)]);
    let again = json(&output);
    assert_eq!(output.status.code(), Some(1), "it still breaks");
    assert_eq!(again["same"], true);
    assert!(again["excerpts"].get("retry/at-most").is_some(), "{}", again["excerpts"]);
}

#[test]
fn what_is_no_capsule_is_refused() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("not.capsule");
    fs::write(&file, "{\"kew_capsule\": 1}").expect("there is room for a file");
    for wrong in [text(&file), "no/such/file.capsule"] {
        let output = kew(&["replay", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("failed to read capsule"), "{wrong}");
    }
}

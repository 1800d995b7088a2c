//! `kew verify` as people and scripts meet it, as far as no system must be there: helps, wrong input, and adapters of a few
//! lines of shell. What it finds is in `verify/tests/`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;

fn verify(folder: &Path, arguments: &[&str]) -> Output {
    let mut kew = Command::new(env!("CARGO_BIN_EXE_kew"));
    kew.arg("verify").args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("kew runs")
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    format!("{out}{err}exit code {}\n", output.status.code().expect("kew exits by itself"))
}

/// A folder with a target `mine` whose adapter is this line of shell.
fn target(adapter: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let mine = folder.path().join("mine");
    fs::create_dir(&mine).expect("there is room for a folder");
    let file = format!(
        "title = \"Mine\"\nabout = \"a line of shell\"\nworkers = \"inside\"\ncommand = [\"sh\", \"-c\", '''{adapter}''']\n"
    );
    fs::write(mine.join("target.toml"), file).expect("there is room for a file");
    folder
}

/// What an adapter says first.
const HELLO: &str = r#"read line; echo "{\"id\":1,\"ok\":{\"system\":\"Shell\",\"version\":\"5\",\"capabilities\":{\"status\":{\"is\":\"native\",\"note\":\"it is told\"}}}}""#;

#[test]
fn help_teaches() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    assert_snapshot!("help_verify", text(&verify(folder.path(), &["--help"])));
}

#[test]
fn wrong_input_ends_with_2_and_says_what_is_allowed() {
    let folder = target("exit");
    fs::write(folder.path().join("old.json"), "{}").expect("there is room for a file");
    fs::create_dir(folder.path().join("none")).expect("there is room for a folder");
    let pages = [
        text(&verify(folder.path(), &["--targets", "."])),
        text(&verify(folder.path(), &["./no-such-folder"])),
        text(&verify(folder.path(), &["./mine", "no/clause"])),
        text(&verify(folder.path(), &["./mine", "--scenario", "no-such-scenario"])),
        text(&verify(folder.path(), &["--scoreboard", "none"])),
        text(&verify(folder.path(), &["--scoreboard", "nowhere"])),
        text(&verify(folder.path(), &["--scoreboard", "."])),
    ];
    assert_snapshot!("verify_wrong_input", pages.concat());
    assert_eq!(verify(folder.path(), &["./mine", "--scoreboard", "none"]).status.code(), Some(2));
}

#[test]
fn an_adapter_that_says_nothing_of_the_protocol_is_at_fault_and_named() {
    let folder = target("echo hello there; cat > /dev/null");
    assert_snapshot!("smoke_no_protocol", text(&verify(folder.path(), &["./mine", "--smoke"])));
}

#[test]
fn an_adapter_that_stops_half_way_is_at_fault() {
    let folder = target(HELLO);
    let shown = text(&verify(folder.path(), &["./mine", "--smoke"]));
    assert!(shown.contains("✓ starts and answers hello: Shell 5"), "{shown}");
    assert!(shown.contains("native") && shown.contains("(it is told)"), "{shown}");
    assert!(shown.contains("✗ creates a queue and consumes it: the adapter processor-1 ended"), "{shown}");
    assert!(shown.contains("the adapter is at fault") && shown.ends_with("exit code 1\n"), "{shown}");
}

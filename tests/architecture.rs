//! Holds the rules of ARCHITECTURE.md against the manifests and the sources: who may know whom, and how long a thing
//! may get before it must be two things.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// No file is longer. Half of them are far shorter.
const FILE_LINES_MAX: usize = 700;

/// No function is longer: what does not fit a screen is not understood at once.
const FUNCTION_LINES_MAX: usize = 70;

/// The folders that hold Rust.
const FOLDERS: [&str; 8] = ["benches", "runtime", "sim", "spec", "src", "tests", "verify/src", "verify/tests"];

/// Each crate's folder and the crates of Kew that it may depend on.
const MAY_USE: [(&str, &[&str]); 7] = [
    ("spec", &[]),
    ("runtime", &["kew-spec"]),
    ("runtime/handlers", &["kew-spec", "kew-runtime"]),
    ("sim", &["kew-spec", "kew-runtime"]),
    ("verify", &["kew-spec"]),
    ("benches/load", &["kew-spec", "kew-runtime", "kew-sim"]),
    (".", &["kew-spec", "kew-runtime", "kew-handlers", "kew-sim", "kew-verify"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

fn manifest(folder: &str) -> String {
    read(&root().join(folder).join("Cargo.toml"))
}

/// The names under `[dependencies]`; what only tests need is not meant.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest(folder).parse().expect("cargo has read it before");
    let table = manifest.get("dependencies").and_then(toml::Value::as_table);
    table.into_iter().flat_map(|table| table.keys().cloned()).collect()
}

/// Every Rust file, from the root, without what cargo builds.
fn sources() -> Vec<(PathBuf, String)> {
    let mut sources = Vec::new();
    let mut folders: Vec<_> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.expect("the folder is readable").path()) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = read(&path);
                sources.push((path.strip_prefix(root()).expect("it is under the root").to_owned(), text));
            }
        }
    }
    assert!(!sources.is_empty());
    sources.sort();
    sources
}

/// What a crate is built of, without the tests beside it.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// Fails with all that is wrong at once.
fn none(wrong: Vec<String>, rule: &str) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

#[test]
fn each_crate_uses_only_the_crates_below_it() {
    for (folder, allowed) in MAY_USE {
        let ours = dependencies(folder).into_iter().filter(|name| name.starts_with("kew-"));
        let wrong = ours.filter(|name| !allowed.contains(&name.as_str())).collect();
        none(wrong, &format!("{folder} may use only {allowed:?}"));
    }
}

#[test]
fn the_spec_has_no_clock_no_randomness_and_no_async() {
    let barred = ["tokio", "rand", "getrandom", "futures-util", "chrono", "time", "uuid"];
    let wrong = dependencies("spec").into_iter().filter(|name| barred.contains(&name.as_str())).collect();
    none(wrong, "spec/ is arithmetic on data");
    let words = ["SystemTime", "Instant::now", "std::thread", "std::fs", "std::net", "async fn", "async move"];
    none(lines_with(&words, |path| path.starts_with("spec/src")), "spec/ does no input, output or waiting");
}

#[test]
fn only_the_simulator_names_turmoil() {
    for (folder, _) in MAY_USE.iter().filter(|(folder, _)| *folder != "sim") {
        assert!(!dependencies(folder).contains("turmoil"), "{folder} depends on turmoil");
    }
    let wrong = lines_with(&["turmoil::"], |path| !path.starts_with("sim") && !is_test(path));
    none(wrong, "turmoil belongs to sim/");
}

#[test]
fn the_runtime_does_not_know_that_it_is_tested() {
    for folder in ["runtime", "runtime/handlers"] {
        assert!(!manifest(folder).contains("\n[features]"), "{folder} has no features, least of all for faults");
    }
    let words = ["cfg(not(test))", "cfg!(test)", "kew_sim"];
    none(lines_with(&words, |path| path.starts_with("runtime")), "the code that is tried is the code that runs");
}

#[test]
fn every_dependency_gives_its_reason() {
    let mut wrong = Vec::new();
    for (folder, _) in MAY_USE {
        let mut is_dependency = false;
        for line in manifest(folder).lines() {
            if line.starts_with('[') {
                is_dependency = line.ends_with("dependencies]") && !line.contains("workspace");
            } else if is_dependency && line.contains('=') && !line.starts_with("kew-") && !line.contains(" # ") {
                wrong.push(format!("{folder}/Cargo.toml: {line}"));
            }
        }
    }
    none(wrong, "a dependency's line ends with the reason for it");
}

#[test]
fn every_file_says_what_it_owns() {
    let sources = sources().into_iter();
    let wrong = sources.filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path.display().to_string());
    none(wrong.collect(), "a file begins with //! and what it owns");
}

#[test]
fn no_file_is_long() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if FILE_LINES_MAX < lines {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    none(wrong, "a file of more than 700 lines is two");
}

#[test]
fn no_function_is_long() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, lines) in functions(&text) {
            if FUNCTION_LINES_MAX < lines {
                wrong.push(format!("{}: {name}, {lines} lines", path.display()));
            }
        }
    }
    none(wrong, "a function of more than 70 lines is two");
}

/// Each function's head and how many lines it has. The formatter closes it on the column it began on.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(&str, usize, usize)> = None;
    for (i, line) in text.lines().enumerate() {
        let column = line.len() - line.trim_start().len();
        match open {
            Some((head, began, at)) if column == at && line.trim_start().starts_with('}') => {
                found.push((head, i + 1 - began));
                open = None;
            }
            None if is_head(line) && !line.ends_with('}') && !line.ends_with(';') => {
                open = Some((line.trim(), i, column));
            }
            _ => {}
        }
    }
    found
}

fn is_head(line: &str) -> bool {
    let words = line.split_whitespace();
    let mut rest = words
        .skip_while(|word| ["async", "const", "unsafe", "extern", "\"C\""].contains(word) || word.starts_with("pub"));
    rest.next() == Some("fn")
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["#[ignore", "todo!(", "unimplemented!("];
    none(lines_with(&words, |path| path != Path::new("tests/architecture.rs")), "what stands, works");
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let lines = without_tests(&text).lines().enumerate();
        let unwraps = lines.filter(|(_, line)| !line.trim_start().starts_with("//") && line.contains(".unwrap()"));
        wrong.extend(unwraps.map(|(i, line)| format!("{}:{}: {}", path.display(), i + 1, line.trim())));
    }
    none(wrong, "an invariant is an expect that says why it holds");
}

/// Where in the files of choice a line that is no comment has one of the words.
fn lines_with(words: &[&str], choice: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| choice(path)) {
        for (i, line) in text.lines().enumerate() {
            if !line.trim_start().starts_with("//") && words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", path.display(), i + 1, line.trim()));
            }
        }
    }
    found
}

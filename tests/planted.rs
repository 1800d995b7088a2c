//! It bites: every planted bug is named by its clause within 200 seeds, every clause has several, what the runtime
//! withstands breaks nothing, and without a bug nothing is accused. Run alone with `cargo test --test planted`.
//!
//! Where a bug is found stands in `docs/kill-matrix.md`, so each is tried with that one seed first. Bugs go side by side.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

use kew_sim::planted::{self, Bug};
use kew_spec::clause::CLAUSES;
use serde_json::Value;

const GALLERY: &str = include_str!("../docs/planted.md");

/// How many bugs there are at least, and for each clause.
const BUGS_MIN: usize = 150;
const PER_CLAUSE_MIN: usize = 3;

/// How many seeds a world that is withstood is tried with.
const WITHSTOOD_SEEDS: &str = "24";

/// Every so many lines of the matrix are played again.
const MATRIX_PART: usize = 50;

fn kew(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kew")).arg("sim").args(arguments).output().expect("kew runs")
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Asks `complaint` of each of `items`, as many at a time as there are cores, and gives back what was complained about.
fn complaints<T: Sync>(items: &[T], complaint: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, complaints) = (Mutex::new(items.iter()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(item) = next.lock().expect("nobody panics with it").next() else { break };
            complaints.lock().expect("nobody panics with it").extend(complaint(item));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    complaints.into_inner().expect("nobody panicked")
}

/// The generated page; empty before it is first made.
fn matrix_page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kill-matrix.md");
    fs::read_to_string(page).unwrap_or_default()
}

/// The matrix's line of each bug: its clause, and how many seeds it took.
fn matrix(page: &str) -> BTreeMap<&str, (&str, Option<u64>)> {
    let lines = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(|cell| cell.trim().trim_matches('`'));
        let (bug, clause, seeds) = (cells.next()?, cells.next()?, cells.next()?);
        clause.contains('/').then_some((bug, (clause, seeds.parse().ok())))
    });
    lines.collect()
}

/// How many seeds the matrix was made with.
fn matrix_seeds(page: &str) -> &str {
    let rest = page.split("--kill-matrix --seeds ").nth(1).expect("the page names its command");
    rest.split(' ').next().expect("split yields a part")
}

/// Whether `tried`, the result of `kew sim --json`, has the clause among the broken.
fn broke(tried: &Value, clause: &str) -> bool {
    tried["broken"].as_array().into_iter().flatten().any(|it| it["clause"] == clause)
}

#[test]
fn every_clause_has_several_planted_bugs() {
    let mut count: BTreeMap<&str, usize> = CLAUSES.iter().map(|clause| (clause.id, 0)).collect();
    planted::list().for_each(|bug| *count.get_mut(bug.clause).expect("a bug breaks a clause that there is") += 1);
    count.retain(|_, count| *count < PER_CLAUSE_MIN);
    assert!(count.is_empty(), "fewer than {PER_CLAUSE_MIN} planted bugs: {count:?}");
    assert!(BUGS_MIN <= planted::list().count());
}

#[test]
fn every_planted_bug_has_a_name_of_its_own() {
    let names: Vec<_> = planted::list().chain(planted::withstood()).map(|bug| bug.name).collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), names.len());
}

#[test]
fn every_planted_bug_is_named_within_200_seeds() {
    let page = matrix_page();
    let (bugs, known) = (planted::list().collect::<Vec<&Bug>>(), matrix(&page));
    let unnamed = complaints(&bugs, |bug| {
        let found = known.get(bug.name).and_then(|(_, seeds)| *seeds);
        let first = found.map(|seeds| (seeds - 1).to_string());
        let at_once = first.is_some_and(|seed| {
            broke(
                &json(&kew(&["--planted", bug.name, "--json", "--jobs", "1", "--first", &seed, "--seeds", "1"])),
                bug.clause,
            )
        });
        if at_once {
            return None;
        }
        let tried = json(&kew(&["--planted", bug.name, "--json", "--jobs", "1"]));
        let broken: Vec<_> = tried["broken"].as_array().into_iter().flatten().map(|it| &it["clause"]).collect();
        (tried["named"] != true).then(|| format!("{} should break {}, and broke {broken:?}", bug.name, bug.clause))
    });
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
}

#[test]
fn what_the_runtime_withstands_breaks_nothing() {
    let worlds: Vec<&Bug> = planted::withstood().collect();
    let broken = complaints(&worlds, |world| {
        let tried = kew(&["--planted", world.name, "--json", "--jobs", "1", "--seeds", WITHSTOOD_SEEDS]);
        (tried.status.code() != Some(0)).then(|| format!("{}: {}", world.name, json(&tried)["broken"]))
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_kill_matrix_has_a_line_for_each_bug() {
    let page = matrix_page();
    let stated: BTreeMap<_, _> = matrix(&page).into_iter().map(|(bug, (clause, _))| (bug, clause)).collect();
    let there: BTreeMap<_, _> = planted::list().map(|bug| (bug.name, bug.clause)).collect();
    assert_eq!(stated, there, "run `cargo run --release -- sim --kill-matrix --seeds 12 > docs/kill-matrix.md`");
}

#[test]
fn the_kill_matrix_is_current_in_parts() {
    let page = matrix_page();
    let part: Vec<&Bug> = planted::list().step_by(MATRIX_PART).collect();
    let old = complaints(&part, |bug| {
        let output = kew(&["--kill-matrix", "--planted", bug.name, "--jobs", "1", "--seeds", matrix_seeds(&page)]);
        let line = String::from_utf8_lossy(&output.stdout);
        (!page.contains(&*line) || line.is_empty()).then(|| line.into_owned())
    });
    assert!(old.is_empty(), "not so in docs/kill-matrix.md:\n{}", old.concat());
}

#[test]
fn the_gallery_names_only_bugs_that_there_are() {
    let names: Vec<_> = planted::list().chain(planted::withstood()).map(|bug| bug.name).collect();
    let cells =
        GALLERY.lines().filter(|line| line.starts_with("| ")).flat_map(|line| line.split('`').skip(1).step_by(2));
    let unknown: Vec<_> = cells.filter(|cell| !cell.contains('/') && !names.contains(cell)).collect();
    assert!(unknown.is_empty(), "docs/planted.md names {unknown:?}");
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

//! Every clause's checker on hand-written histories: `histories/<family>/<clause>.kept.jsonl` must keep the clause and
//! break none, `<clause>.broken.jsonl` must break it. `<clause>.<case>.kept.jsonl` and `<clause>.<case>.broken.jsonl` are
//! further cases; `<clause>.<case>.unexercised.jsonl` must not put the clause to the test at all, and break none. What a
//! broken one makes the checkers say is a snapshot: `INSTA_UPDATE=always` accepts new words.
//!
//! One test per family, so that `cargo test -p kew-spec --test check rate` runs the clauses of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use kew_spec::causes::Cause;
use kew_spec::check::{Checker, check};
use kew_spec::clause::{self, CLAUSES};
use kew_spec::history::Reader;
use kew_spec::verdict::{Finding, State, Verdict};

macro_rules! families {
    ($($test:ident $family:literal,)*) => {
        const FAMILIES: &[&str] = &[$($family),*];

        $(#[test]
        fn $test() {
            judge_family($family);
        })*
    };
}

families! {
    the_checkers_of_job_tell_kept_from_broken "job",
    the_checkers_of_retry_tell_kept_from_broken "retry",
    the_checkers_of_backoff_tell_kept_from_broken "backoff",
    the_checkers_of_timeout_tell_kept_from_broken "timeout",
    the_checkers_of_dead_letter_tell_kept_from_broken "dead-letter",
    the_checkers_of_rate_tell_kept_from_broken "rate",
    the_checkers_of_batch_tell_kept_from_broken "batch",
    the_checkers_of_dedup_tell_kept_from_broken "dedup",
    the_checkers_of_schedule_tell_kept_from_broken "schedule",
    the_checkers_of_priority_tell_kept_from_broken "priority",
    the_checkers_of_status_tell_kept_from_broken "status",
    the_checkers_of_notify_tell_kept_from_broken "notify",
}

#[test]
fn every_family_of_the_catalogue_has_a_test() {
    let named: BTreeSet<&str> = CLAUSES.iter().map(|clause| clause.family()).collect();
    let tested: BTreeSet<&str> = FAMILIES.iter().copied().collect();
    assert_eq!(named, tested);
}

#[test]
fn each_delivery_after_the_first_is_counted_for_its_cause() {
    let text = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories/retry/caused.kept.jsonl"));
    let reader = Reader::new(text.as_bytes()).expect("it has a header");
    let mut checker = Checker::new(reader.header());
    for read in reader {
        let (line, event) = read.expect("it is a history");
        checker.see(line, &event);
    }
    let causes = checker.causes().expect("it tells of queue, handlers and processors");
    // The last loss, of a settle, led to no further delivery.
    assert_eq!(Cause::ALL.map(|cause| causes.get(Some(cause))), [1; 6]);
    assert_eq!((causes.sum(), causes.get(None)), (6, 0));
}

/// One file: what it is a case of, and how it must come out.
struct History {
    clause: String,
    /// The file's name without `.jsonl`, as the snapshot is named.
    name: String,
    state: State,
    path: PathBuf,
}

/// Judges all histories of `family`, and only then complains: about everything at once.
fn judge_family(family: &str) {
    let (histories, mut complaints) = histories_of(family);
    complaints.extend(missing(family, &histories));
    let mut told = Vec::new();
    for history in &histories {
        let text = read(&history.path);
        match Reader::new(text.as_bytes()).and_then(check) {
            Ok(verdict) => {
                complaints.extend(judge(history, &verdict, &text));
                told.push((history, tell(&verdict, &text)));
            }
            Err(error) => complaints.push(format!("{}: {error}", history.name)),
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
    for (history, words) in told.iter().filter(|(history, _)| history.state == State::Broken) {
        snapshot(family, &history.name, words);
    }
}

/// The histories of `family` and what is wrong with their names.
fn histories_of(family: &str) -> (Vec<History>, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(family);
    let files = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.sort();
    let (mut histories, mut complaints) = (Vec::new(), Vec::new());
    for path in paths {
        match history(family, &path) {
            Some(history) => histories.push(history),
            None => complaints.push(format!(
                "{}: the name must be <clause>[.<case>].kept.jsonl, .broken.jsonl or .unexercised.jsonl, with a clause \
                 of {family}",
                path.display()
            )),
        }
    }
    (histories, complaints)
}

fn history(family: &str, path: &Path) -> Option<History> {
    let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    let (case, outcome) = name.rsplit_once('.')?;
    let state = match outcome {
        "kept" => State::Kept,
        "broken" => State::Broken,
        "unexercised" => State::NotExercised,
        _ => return None,
    };
    let clause = format!("{family}/{}", case.split('.').next()?);
    clause::find(&clause)?;
    Some(History { clause, name: name.to_owned(), state, path: path.to_owned() })
}

/// Which clauses of `family` lack a kept or a broken history.
fn missing(family: &str, histories: &[History]) -> Vec<String> {
    let mut found: BTreeMap<&str, BTreeSet<State>> = BTreeMap::new();
    for history in histories {
        found.entry(history.clause.as_str()).or_default().insert(history.state);
    }
    let lacks = |id: &str, state| !found.get(id).is_some_and(|states| states.contains(&state));
    let of_family = CLAUSES.iter().filter(|clause| clause.family() == family);
    of_family
        .flat_map(|clause| [(clause.id, State::Kept, "kept"), (clause.id, State::Broken, "broken")])
        .filter(|(id, state, _)| lacks(id, *state))
        .map(|(id, _, word)| format!("missing: tests/histories/{id}.{word}.jsonl"))
        .collect()
}

/// What is wrong with the verdict on `history`, if anything.
fn judge(history: &History, verdict: &Verdict, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let state = verdict.get(&history.clause).map(|entry| entry.state);
    if state != Some(history.state) {
        let wanted = history.state;
        let told = tell(verdict, text);
        complaints.push(format!("{}: {} is {state:?}, not {wanted:?}\n{told}", history.name, history.clause));
    } else if history.state != State::Broken && verdict.count(State::Broken) != 0 {
        complaints.push(format!("{} must break no clause\n{}", history.name, tell(verdict, text)));
    }
    complaints
}

/// All findings, each with the lines that show it.
fn tell(verdict: &Verdict, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut told = String::new();
    for entry in verdict.broken() {
        for finding in &entry.findings {
            writeln!(told, "{}: {}", entry.clause, finding.says).expect("a string takes all");
            told.push_str(&excerpt(finding, &lines));
        }
    }
    told
}

fn excerpt(finding: &Finding, lines: &[&str]) -> String {
    assert!(!finding.lines.is_empty(), "a finding shows lines: {}", finding.says);
    assert!(finding.lines.is_sorted(), "lines stand in order: {:?} of {}", finding.lines, finding.says);
    let line = |&number: &u64| {
        let text = usize::try_from(number).ok().and_then(|number| lines.get(number.checked_sub(1)?));
        format!("  {number:>3} {}\n", text.expect("a finding points at lines of the history"))
    };
    finding.lines.iter().map(line).collect()
}

fn snapshot(family: &str, name: &str, words: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(format!("snapshots/{family}"));
    settings.bind(|| insta::assert_snapshot!(name, words));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

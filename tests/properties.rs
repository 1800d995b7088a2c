//! Random scenarios through the whole path, property by property: each is written to a file and played by `kew sim` in a
//! world of its own. No clause may break, and the property's own clauses must have been put to the test. What fails is
//! shrunk and kept as a file.
//!
//! Run alone with `cargo test --test properties`. `PROPTEST_RNG_SEED=N` draws other scenarios, `PROPTEST_CASES=N` more.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kew_spec::scenario::{Scenario, generate};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult, TestError, TestRunner};
use serde_json::Value;

/// Scenarios per property: enough to exercise its clauses, few enough for every push.
const CASES: u32 = 12;

/// A step runs a world, so a failure is shrunk for less than a minute.
const SHRINK_ITERS_MAX: u32 = 60;

/// Worlds to draw from. A world's seed places what the scenario leaves open: latencies, jitter, who is first.
const SEEDS: std::ops::Range<u64> = 0..10_000;

#[test]
fn no_job_is_delivered_more_often_than_its_attempts() {
    holds("retry-counts", generate::retry_counts(), &["retry/at-most", "retry/at-least", "retry/stops", "retry/count"]);
}

#[test]
fn a_job_whose_attempts_are_used_up_is_dead_lettered_exactly_once() {
    holds("dead-letters", generate::dead_letters(), &["dead-letter/exactly", "dead-letter/none", "dead-letter/intact"]);
}

#[test]
fn jobs_of_one_entity_become_one_and_run_one_after_the_other() {
    holds("deduplication", generate::deduplication(), &["dedup/coalesce", "dedup/one-running", "dedup/distinct"]);
}

#[test]
fn a_batch_is_full_or_has_waited_and_fails_job_by_job() {
    holds("batching", generate::batching(), &["batch/size", "batch/wait", "batch/partial"]);
}

#[test]
fn no_window_has_more_starts_than_the_limit() {
    holds("rate", generate::rate(), &["rate/ceiling"]);
}

#[test]
fn a_scheduled_queue_delivers_at_its_ticks_alone() {
    holds("schedule", generate::schedule(), &["schedule/on-tick", "retry/infinite"]);
}

#[test]
fn an_attempt_that_outlasts_its_timeout_is_ended() {
    holds("timeouts", generate::timeouts(), &["timeout/enforced"]);
}

/// What a failing case needs to be played again.
type World = (Scenario, u64);

/// Plays scenarios of a family, each in a world of its own, and collects the clauses that they put to the test.
fn holds(family: &str, scenarios: impl Strategy<Value = Scenario>, clauses: &[&str]) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let exercised = RefCell::new(BTreeSet::new());
    let keeps_every_clause = |scenario: &Scenario, seed| {
        let file = write(folder.path(), family, scenario);
        judge(&play(&file, seed)?, &mut exercised.borrow_mut())
    };
    let ended =
        TestRunner::new(config()).run(&(scenarios, SEEDS), |(scenario, seed)| keeps_every_clause(&scenario, seed));
    match ended {
        Ok(()) => {}
        Err(TestError::Fail(reason, (scenario, seed))) => {
            let least = thinned(scenario, |scenario| keeps_every_clause(scenario, seed).is_err());
            panic!("{family}: {reason}\n\n{}", told(family, &(least, seed)));
        }
        Err(TestError::Abort(reason)) => panic!("{family}: {reason}"),
    }
    let exercised = exercised.into_inner();
    let idle: Vec<_> = clauses.iter().filter(|clause| !exercised.contains(**clause)).collect();
    assert!(idle.is_empty(), "{family}: not one case put {idle:?} to the test, only {exercised:?}");
}

/// The same cases on every machine, unless the environment asks for others.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    let rng_seed = if asked.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { asked.rng_seed };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { CASES };
    ProptestConfig { cases, rng_seed, max_shrink_iters: SHRINK_ITERS_MAX, failure_persistence: None, ..asked }
}

fn write(folder: &Path, family: &str, scenario: &Scenario) -> PathBuf {
    let file = folder.join(format!("{family}.toml"));
    std::fs::write(&file, scenario.to_toml()).expect("the folder takes a file");
    file
}

fn kew(file: &Path, seed: u64, arguments: &[&str]) -> Output {
    let mut kew = Command::new(env!("CARGO_BIN_EXE_kew"));
    kew.args(["sim", "--jobs", "1", "--seed", &seed.to_string(), "--scenario"]).arg(file).args(arguments);
    kew.output().expect("kew runs")
}

/// Plays the scenario in a process of its own: what it prints, if it came to a verdict.
fn play(file: &Path, seed: u64) -> Result<Value, TestCaseError> {
    let output = kew(file, seed, &["--json"]);
    let printed = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match (output.status.code(), printed) {
        (Some(0 | 1), printed @ Value::Object(_)) => Ok(printed),
        (code, _) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(TestCaseError::fail(format!("kew sim ended with {code:?}\n{said}")))
        }
    }
}

/// Fails if a clause is broken; else notes which were put to the test.
fn judge(printed: &Value, exercised: &mut BTreeSet<String>) -> TestCaseResult {
    let clauses = printed["verdict"]["clauses"].as_array().expect("a verdict names every clause");
    let that_are = |state: &'static str| {
        let those = clauses.iter().filter(move |it| it["state"] == state);
        those.map(|it| it["clause"].as_str().expect("names are strings").to_owned())
    };
    let broken: Vec<_> = that_are("broken").collect();
    prop_assert!(broken.is_empty(), "it breaks {}", broken.join(", "));
    exercised.extend(that_are("kept"));
    Ok(())
}

/// Leaves out the faults, operations and jobs that the failure does not need. Proptest shrinks the numbers of the queues
/// first, and would play hundreds of worlds before it comes to those.
fn thinned(mut scenario: Scenario, fails: impl Fn(&Scenario) -> bool) -> Scenario {
    thin(&mut scenario, |it| &mut it.faults, &fails);
    thin(&mut scenario, |it| &mut it.ops, &fails);
    thin(&mut scenario, |it| &mut it.job_specs, &fails);
    scenario
}

fn thin<T>(scenario: &mut Scenario, list: fn(&mut Scenario) -> &mut Vec<T>, fails: impl Fn(&Scenario) -> bool) {
    for place in (0..list(scenario).len()).rev() {
        let mut fewer = scenario.clone();
        list(&mut fewer).remove(place);
        // Without a job, an operation on it makes no sense: such a file is refused, which is another failure.
        if Scenario::parse(&fewer.to_toml()).is_ok() && fails(&fewer) {
            *scenario = fewer;
        }
    }
}

/// What failed, the line that plays it again, and what that shows.
fn told(family: &str, (scenario, seed): &World) -> String {
    let file = write(Path::new(env!("CARGO_TARGET_TMPDIR")), family, scenario);
    let Output { stdout, stderr, .. } = kew(&file, *seed, &[]);
    let [page, said] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let again = format!("kew sim --scenario {} --seed {seed}", file.display());
    format!("{}\n{again}\n\n{page}{said}", scenario.to_toml())
}

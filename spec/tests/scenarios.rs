//! Scenarios as files: the named library is sound and puts every clause to the test, errors say where and what is
//! allowed, and what is written can be read. With the feature `generate`, also random scenarios.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use kew_spec::clause::CLAUSES;
use kew_spec::scenario::{PlannedJob, Scenario, find, library};

/// The longest play of a scenario that is not about five-minute waits.
const PLAY_MAX_MS: u64 = 180_000;

#[test]
fn the_library_holds_every_file_of_its_folder_under_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = fs::read_dir(folder).expect("the folder is there").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let files: BTreeSet<String> = names.filter_map(|name| name.strip_suffix(".toml").map(str::to_owned)).collect();
    let named: Vec<String> = library().into_iter().map(|scenario| scenario.name).collect();
    assert_eq!(files.into_iter().collect::<Vec<_>>(), named);
    for name in &named {
        assert_eq!(find(name).map(|scenario| scenario.name).as_ref(), Some(name));
    }
    assert_eq!(find("no-such"), None);
}

#[test]
fn every_clause_is_exercised_by_a_named_scenario() {
    let mut by_clause: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for scenario in library() {
        for clause in scenario.exercises {
            by_clause.entry(clause).or_default().push(scenario.name.clone());
        }
    }
    let missing: Vec<&str> = CLAUSES.iter().map(|clause| clause.id).filter(|id| !by_clause.contains_key(*id)).collect();
    assert!(missing.is_empty(), "no scenario exercises {missing:?}");
    let line = |clause: &str| format!("{clause}: {}\n", by_clause[clause].join(" "));
    let lines: String = CLAUSES.iter().map(|clause| line(clause.id)).collect();
    insta::assert_snapshot!("clauses_by_scenario", lines);
}

#[test]
fn every_named_scenario_says_what_it_is_about_and_stays_small() {
    for scenario in library() {
        let name = &scenario.name;
        assert!(scenario.about.ends_with('.'), "{name} says in a sentence what it is about");
        assert!(!scenario.exercises.is_empty(), "{name} exercises something");
        let listed: BTreeSet<&String> = scenario.exercises.iter().collect();
        assert_eq!(listed.len(), scenario.exercises.len(), "{name} lists each clause once");
        let flood = name == "analytics-flood";
        assert!(scenario.jobs().len() <= if flood { 2_500 } else { 250 }, "{name} is small");
        let long = ["analytics-long-outage", "analytics-ticks", "sync-backoff-to-the-cap"].contains(&name.as_str());
        assert!(long || scenario.length_ms() <= PLAY_MAX_MS, "{name} is short");
    }
}

#[test]
fn a_named_scenario_is_read_back_as_it_was_written() {
    for scenario in library() {
        assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario));
    }
}

#[test]
fn a_job_with_a_count_becomes_as_many_with_labels_of_their_own() {
    let scenario = read(
        r#"
        name = "counted"
        [[job]]
        label = "plain"
        count = 2
        every_ms = 10
        queue = "pdf_generation"
        idempotency_key = "once-{n}"
        again_ms = [5, 0]
        [[job]]
        label = "n-{n}"
        at_ms = 1
        count = 2
        queue = "data_sync"
        key = "cv-{n}"
        "#,
    );
    let told: String = scenario.jobs().iter().fold(String::new(), |mut told, job| {
        let PlannedJob { at_ms, label, key, idempotency_key, .. } = job;
        writeln!(told, "{at_ms} {label} {key:?} {idempotency_key:?}").expect("a string takes all");
        told
    });
    insta::assert_snapshot!(told, @r#"
    0 plain-0 None Some("once-0")
    0 plain-0 None Some("once-0")
    1 n-0 Some("cv-0") None
    1 n-1 Some("cv-1") None
    5 plain-0 None Some("once-0")
    10 plain-1 None Some("once-1")
    10 plain-1 None Some("once-1")
    15 plain-1 None Some("once-1")
    "#);
    assert_eq!(scenario.length_ms(), 15);
}

#[test]
fn stated_job_by_job_a_scenario_is_the_same() {
    for scenario in library() {
        let explicit = scenario.explicit();
        assert_eq!(explicit.jobs(), scenario.jobs(), "{}", scenario.name);
        assert!(explicit.job_specs.iter().all(|spec| spec.count == 1));
    }
}

#[test]
fn the_last_behaviour_repeats() {
    let scenario = read(
        r#"
        name = "repeats"
        [[job]]
        label = "a"
        queue = "pdf_generation"
        attempts = [{ do = "fail" }, { do = "succeed", after_ms = 7 }]
        [[job]]
        label = "b"
        queue = "pdf_generation"
        "#,
    );
    let jobs = scenario.jobs();
    let after: Vec<u64> = (1..=4).map(|attempt| jobs[0].behaviour(attempt).after_ms).collect();
    assert_eq!(after, [0, 7, 7, 7]);
    assert_eq!(jobs[1].behaviour(3).after_ms, 0);
}

#[test]
fn a_payload_is_json_of_the_stated_size() {
    let text = "name = \"x\"\n[[job]]\nlabel = \"a\"\nqueue = \"pdf_generation\"\npayload_bytes = 1000\n";
    let payload = read(text).jobs()[0].payload();
    assert_eq!(payload.len(), 1_000);
    let value: serde_json::Value = serde_json::from_str(&payload).expect("it is JSON");
    assert_eq!(value["label"], "a");
}

/// Each is a file and what is wrong with it; the snapshot shows what a reader is told.
#[test]
fn errors_say_where_and_what_is_allowed() {
    let mut told = String::new();
    for case in include_str!("scenarios_wrong.toml").split("#### ").skip(1) {
        let (title, text) = case.split_once('\n').expect("a case has a title and a text");
        let error = Scenario::parse(text).expect_err(title);
        assert!(!error.0.contains('\n'), "one line: {error}");
        writeln!(told, "{title}\n    {error}").expect("a string takes all");
    }
    insta::assert_snapshot!("errors", told);
}

fn read(text: &str) -> Scenario {
    Scenario::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(feature = "generate")]
mod random {
    use std::collections::BTreeSet;

    use kew_spec::scenario::{FaultKind, Scenario, generate};
    use proptest::prelude::*;
    use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

    fn config() -> ProptestConfig {
        ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
    }

    fn families() -> Vec<(&'static str, BoxedStrategy<Scenario>)> {
        vec![
            ("random", generate::scenario().boxed()),
            ("random-without-faults", generate::scenario_without_faults().boxed()),
            ("retry-counts", generate::retry_counts().boxed()),
            ("dead-letters", generate::dead_letters().boxed()),
            ("deduplication", generate::deduplication().boxed()),
            ("batching", generate::batching().boxed()),
            ("rate", generate::rate().boxed()),
            ("schedule", generate::schedule().boxed()),
            ("timeouts", generate::timeouts().boxed()),
        ]
    }

    #[test]
    fn a_random_scenario_is_valid_and_read_back_as_it_was_written() {
        for (name, family) in families() {
            let read_back = |scenario: Scenario| {
                prop_assert_eq!(&scenario.name, name);
                let jobs: u32 = scenario.job_specs.iter().map(|spec| spec.count).sum();
                prop_assert!((1..=generate::JOBS_MAX).contains(&jobs));
                prop_assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario));
                Ok(())
            };
            TestRunner::new(config()).run(&family, read_back).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn a_seed_always_makes_the_same_scenario_and_another_seed_another() {
        let seeds = 0..200;
        let mut seen = BTreeSet::new();
        for seed in seeds.clone() {
            let scenario = generate::sample(seed);
            assert_eq!(scenario, generate::sample(seed));
            assert_eq!(scenario.name, format!("random-{seed}"));
            assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario.clone()));
            seen.insert(Scenario { name: String::new(), about: String::new(), ..scenario }.to_toml());
        }
        assert_eq!(seen.len(), seeds.count());
    }

    #[test]
    fn a_failing_scenario_shrinks_to_what_fails() {
        let power_cut_of_the_broker = |scenario: &Scenario| {
            let cut = |kind: &FaultKind| matches!(kind, FaultKind::Power { host, .. } if host == "broker");
            scenario.faults.iter().any(|fault| cut(&fault.kind))
        };
        let config = ProptestConfig { cases: 2_000, max_shrink_iters: 100_000, ..config() };
        let found = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)).run(
            &generate::scenario(),
            |scenario| {
                prop_assert!(!power_cut_of_the_broker(&scenario));
                Ok(())
            },
        );
        let Err(TestError::Fail(_, least)) = found else { panic!("no power cut was drawn: {found:?}") };
        let jobs: u32 = least.job_specs.iter().map(|spec| spec.count).sum();
        assert_eq!((jobs, least.ops.len(), least.faults.len()), (1, 0, 1), "{}", least.to_toml());
    }
}

//! The store against a model that was written from the contract alone: random commands are applied to both, and after
//! each moment they must give the same answers, the same outlook and the same rows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod commands;
mod model;

use std::fmt::Debug;

use commands::{DEAD_LETTER_QUEUES, IDS, Moment, QUEUES, USERS, id, moments};
use futures_util::FutureExt;
use kew_runtime::store::*;
use model::Model;
use proptest::prelude::*;

/// Both of them, and what was handed out so far.
struct Pair {
    store: Sqlite,
    reader: SqliteReader,
    model: Model,
    leases: Vec<LeaseId>,
    folder: tempfile::TempDir,
    now_ms: u64,
    serial: usize,
}

fn open(folder: &tempfile::TempDir) -> (Sqlite, SqliteReader) {
    // Whether commits reach the disk is tried elsewhere.
    let options = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::default() };
    let store = Sqlite::open(folder.path().join("kew.db"), &options).unwrap();
    let reader = store.reader().unwrap();
    (store, reader)
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, reader) = open(&folder);
        Self { store, reader, model: Model::default(), leases: Vec::new(), folder, now_ms: 1_000_000, serial: 0 }
    }

    fn live_through(&mut self, moment: Moment) -> Result<(), TestCaseError> {
        self.now_ms += moment.pass_ms;
        self.serial += 1;
        let (now_ms, serial) = (self.now_ms, self.serial * 10);
        let steps = moment.steps.into_iter().enumerate();
        let commands: Vec<_> =
            steps.filter_map(|(nth, step)| step.command(now_ms, &self.leases, serial + nth)).collect();
        // In one transaction, applied in one go or two.
        let (first, second) = commands.split_at(moment.split.min(commands.len()));
        let mut answers = self.store.apply(first).now_or_never().expect("it does not wait").unwrap();
        answers.extend(self.store.apply(second).now_or_never().expect("it does not wait").unwrap());
        self.store.commit().now_or_never().expect("it does not wait").unwrap();
        same("answers", &answers, &self.model.apply(&commands))?;
        for answer in answers {
            if let Answer::Claimed(Some(claimed)) = answer {
                self.leases.extend(claimed.jobs.into_iter().map(|job| job.lease));
            }
        }
        if moment.reopen {
            // The old one lets go of its lock before the new one takes it.
            let elsewhere = tempfile::tempdir().unwrap();
            (self.store, self.reader) = open(&elsewhere);
            (self.store, self.reader) = open(&self.folder);
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let outlook = self.store.outlook(self.now_ms).now_or_never().expect("it does not wait").unwrap();
        same("outlook", &outlook, &self.model.outlook(self.now_ms))?;
        let last_ms = self.store.last_ms().now_or_never().expect("it does not wait").unwrap();
        same("last time", &last_ms, &self.model.last_ms())?;
        for query in queries() {
            let rows = self.reader.read(&query).now_or_never().expect("it does not wait").unwrap();
            same(&format!("{query:?}"), &rows, &self.model.read(&query))?;
        }
        Ok(())
    }
}

fn same<T: Debug>(what: &str, store: &T, model: &T) -> Result<(), TestCaseError> {
    // Answers hold JSON, which has no equality of its own: as text they are the same byte for byte.
    let is_same = format!("{store:?}") == format!("{model:?}");
    prop_assert!(is_same, "the {what} differ\nstore: {store:#?}\nmodel: {model:#?}");
    Ok(())
}

fn queries() -> Vec<Query> {
    let mut queries = vec![Query::Depths, Query::Told, Query::Ends { after: 0, limit: 1_000 }];
    queries.push(Query::Ends { after: 2, limit: 3 });
    for job in (0..IDS).map(id) {
        queries.push(Query::Job { job: job.clone() });
        queries.push(Query::DeadLetter { job });
    }
    for user in USERS.map(String::from) {
        for (after, limit) in [(None, 100), (None, 2), (Some(id(1)), 2), (Some("nobody".into()), 2)] {
            queries.push(Query::JobsOf { user: user.clone(), after, limit });
        }
    }
    for dead_letter_queue in DEAD_LETTER_QUEUES.map(String::from) {
        for (after, limit) in [(None, 100), (None, 1), (Some(id(1)), 2)] {
            queries.push(Query::DeadLetters { dead_letter_queue: dead_letter_queue.clone(), after, limit });
        }
    }
    queries
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(moments in moments()) {
        let mut pair = Pair::new();
        for moment in moments {
            pair.live_through(moment)?;
        }
    }
}

#[test]
fn the_model_is_given_something_to_do() {
    // A test of the generator: over many histories every kind of answer has to come up.
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..64 {
        let (mut model, mut leases, mut now_ms) = (Model::default(), Vec::new(), 1_000_000);
        for (serial, moment) in moments().new_tree(&mut runner).unwrap().current().into_iter().enumerate() {
            now_ms += moment.pass_ms;
            for step in moment.steps {
                let Some(command) = step.command(now_ms, &leases, serial) else { continue };
                let answer = model.apply(std::slice::from_ref(&command)).remove(0);
                if let Answer::Claimed(Some(claimed)) = &answer {
                    leases.extend(claimed.jobs.iter().map(|job| job.lease.clone()));
                }
                *seen.entry(kind(&command, &answer)).or_default() += 1;
            }
        }
    }
    let kinds = [
        "Created",
        "Coalesced",
        "Replayed",
        "Conflict",
        "OthersEntity",
        "Claimed",
        "Nothing",
        "Accepted",
        "Refused",
        "Cancelled",
        "Redriven",
        "KeyTaken",
        "Purged",
        "NotAllowed",
        "NotFound",
    ];
    for kind in kinds {
        assert!(5 <= seen.get(kind).copied().unwrap_or(0), "{kind} came up too seldom: {seen:#?} of {QUEUES:?}");
    }
}

fn kind(command: &Command, answer: &Answer) -> String {
    match (command, answer) {
        (_, Answer::Enqueued { how, .. }) => format!("{how:?}"),
        (_, Answer::IdempotencyConflict) => "Conflict".into(),
        (_, Answer::OthersEntity) => "OthersEntity".into(),
        (_, Answer::Claimed(Some(_))) => "Claimed".into(),
        (_, Answer::Claimed(None)) => "Nothing".into(),
        (_, Answer::Settled { accepted: true }) => "Accepted".into(),
        (_, Answer::Settled { accepted: false }) => "Refused".into(),
        (Command::Cancel { .. }, Answer::Ended(Ending::Done)) => "Cancelled".into(),
        (Command::Redrive { .. }, Answer::Ended(Ending::Done)) => "Redriven".into(),
        (Command::Purge { .. }, Answer::Ended(Ending::Done)) => "Purged".into(),
        (_, Answer::Ended(ending)) => format!("{ending:?}"),
        (_, Answer::Pruned { .. }) => "Pruned".into(),
        (_, Answer::Done) => "Done".into(),
    }
}

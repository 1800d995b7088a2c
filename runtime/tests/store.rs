//! The store's promises, one small test each. Random histories are in `store_model`, query plans beside the store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::FutureExt;
use kew_runtime::store::*;
use kew_spec::lifecycle::Status;
use serde_json::value::RawValue;
use tempfile::TempDir;

/// A store in a folder of its own.
struct Bench {
    folder: TempDir,
    store: Sqlite,
    reader: SqliteReader,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(folder.path().join("kew.db"), &SqliteOptions::default()).unwrap();
        let reader = store.reader().unwrap();
        Self { folder, store, reader }
    }

    /// The same file, opened anew.
    fn reopen(self) -> Self {
        let path = self.path();
        let Self { folder, store, reader } = self;
        drop((store, reader));
        let store = Sqlite::open(path, &SqliteOptions::default()).unwrap();
        let reader = store.reader().unwrap();
        Self { folder, store, reader }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("kew.db")
    }

    fn try_all(&mut self, commands: &[Command]) -> Result<Vec<Answer>, Error> {
        let answers = self.apply(commands)?;
        self.commit()?;
        Ok(answers)
    }

    fn apply(&mut self, commands: &[Command]) -> Result<Vec<Answer>, Error> {
        self.store.apply(commands).now_or_never().expect("the store does not wait")
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.store.commit().now_or_never().expect("the store does not wait")
    }

    fn one(&mut self, command: Command) -> Answer {
        self.try_all(&[command]).unwrap().remove(0)
    }

    fn enqueue(&mut self, job: NewJob) -> (String, How) {
        match self.one(Command::Enqueue(job)) {
            Answer::Enqueued { job, how } => (job, how),
            other => panic!("{other:?}"),
        }
    }

    fn claim(&mut self, claim: Claim) -> Vec<LeaseId> {
        self.batch(claim).1
    }

    /// The id of the batch that is given, empty if none is, and its leases.
    fn batch(&mut self, claim: Claim) -> (String, Vec<LeaseId>) {
        match self.one(Command::Claim(claim)) {
            Answer::Claimed(None) => Default::default(),
            Answer::Claimed(Some(it)) => (it.batch, it.jobs.into_iter().map(|job| job.lease).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn settle(&mut self, settle: Settle) -> bool {
        matches!(self.one(Command::Settle(settle)), Answer::Settled { accepted: true })
    }

    fn cancel(&mut self, job: &str, now_ms: u64) -> Ending {
        self.ending(Command::Cancel { job: job.into(), user: None, now_ms })
    }

    fn redrive(&mut self, job: &str, now_ms: u64) -> Ending {
        self.ending(Command::Redrive { job: job.into(), ready_ms: now_ms, now_ms })
    }

    fn ending(&mut self, command: Command) -> Ending {
        match self.one(command) {
            Answer::Ended(ending) => ending,
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, query: Query) -> Rows {
        self.reader.read(&query).now_or_never().expect("the store does not wait").unwrap()
    }

    fn row(&mut self, job: &str) -> JobRow {
        self.jobs(job).remove(0)
    }

    /// One row or none.
    fn jobs(&mut self, job: &str) -> Vec<JobRow> {
        match self.read(Query::Job { job: job.into() }) {
            Rows::Jobs(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    fn ends(&mut self) -> Vec<End> {
        match self.read(Query::Ends { after: 0, limit: 100 }) {
            Rows::Ends(ends) => ends,
            other => panic!("{other:?}"),
        }
    }

    fn dead_letters(&mut self) -> Vec<DeadLetterRow> {
        match self.read(Query::DeadLetters { dead_letter_queue: "dlq".into(), after: None, limit: 100 }) {
            Rows::DeadLetters(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    fn outlook(&mut self, now_ms: u64) -> Outlook {
        self.store.outlook(now_ms).now_or_never().expect("the store does not wait").unwrap()
    }
}

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

fn job(id: &str, now_ms: u64) -> NewJob {
    NewJob {
        id: id.into(),
        queue: "q".into(),
        user: "ada".into(),
        payload: json("{}"),
        key: None,
        idempotency: None,
        email: None,
        repeats_until_ms: now_ms + 100,
        ready_ms: now_ms,
        now_ms,
    }
}

fn sync(id: &str, payload: &str, now_ms: u64) -> NewJob {
    NewJob { key: Some("entity".into()), payload: json(payload), ..job(id, now_ms) }
}

fn once(id: &str, key: &str, fingerprint: &str, now_ms: u64) -> NewJob {
    let idempotency = Idempotency { key: key.into(), fingerprint: fingerprint.into(), until_ms: now_ms + 100 };
    NewJob { idempotency: Some(idempotency), ..job(id, now_ms) }
}

fn claim(now_ms: u64) -> Claim {
    Claim {
        queue: "q".into(),
        processor: "processor".into(),
        delivery: format!("delivery-{now_ms}"),
        is_batch: true,
        max: 1,
        rate: None,
        keep_attempts: true,
        lease_until_ms: now_ms + 1_000,
        now_ms,
    }
}

fn fail(lease: &LeaseId, then: Then, now_ms: u64) -> Settle {
    Settle { lease: lease.clone(), outcome: Outcome::Failed("it broke".into()), then, keep_batch: false, now_ms }
}

fn complete(lease: &LeaseId, now_ms: u64) -> Settle {
    Settle { outcome: Outcome::Completed(json("[1]")), ..fail(lease, Then::Complete, now_ms) }
}

/// The batch stays together, and is tried again at `at_ms`.
fn keep(lease: &LeaseId, at_ms: u64, now_ms: u64) -> Settle {
    Settle { keep_batch: true, ..fail(lease, Then::RetryAt(at_ms), now_ms) }
}

fn bury(lease: &LeaseId, now_ms: u64) -> Settle {
    fail(lease, Then::DeadLetter("dlq".into()), now_ms)
}

fn ids(leases: &[LeaseId]) -> Vec<&str> {
    leases.iter().map(|lease| lease.job.as_str()).collect()
}

#[path = "store/dedup.rs"]
mod dedup;
#[path = "store/delivery.rs"]
mod delivery;
#[path = "store/end.rs"]
mod end;
#[path = "store/file.rs"]
mod file;
#[path = "store/transaction.rs"]
mod transaction;

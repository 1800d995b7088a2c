//! The broker on a real store, by direct call: what a request means as a whole.

use std::sync::Arc;

use kew_runtime::broker::{self, Handle, JobRequest, Pull, Queue, Refusal, Request, Response, Writer};
use kew_runtime::clock::SystemClock;
use kew_runtime::ids::Ids;
use kew_runtime::store::{How, Query, Rows, Sqlite, SqliteOptions};
use kew_spec::queues::Queues;
use rusqlite::Connection;

fn broker(folder: &std::path::Path) -> (Handle, Writer) {
    let store = Sqlite::open(folder.join("kew.sqlite"), &SqliteOptions::default()).expect("a new store opens");
    let reader = store.reader().expect("a reader opens");
    let queues = Arc::new(Queues::default());
    broker::new(Box::new(store), Box::new(reader), queues, Arc::new(SystemClock::new()), Ids::from_seed(1))
}

fn job(id: &str, key: &str, fingerprint: &str) -> JobRequest {
    JobRequest {
        id: id.into(),
        queue: "pdf_generation".into(),
        user: "ada".into(),
        payload: serde_json::value::to_raw_value(&1).expect("a number is JSON"),
        key: None,
        idempotency: Some((key.into(), fingerprint.into())),
        email: None,
    }
}

/// Runs `talk` beside the broker's writer.
fn with_broker<F: Future<Output = ()> + Send + 'static>(talk: impl FnOnce(Handle) -> F) {
    with_broker_and_file(|handle, _| talk(handle));
}

/// Another program that works on the broker's file.
fn with_broker_and_file<F: Future<Output = ()> + Send + 'static>(talk: impl FnOnce(Handle, Connection) -> F) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let (handle, writer) = broker(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let writer = tokio::spawn(writer.run());
        let other = Connection::open(folder.path().join("kew.sqlite")).expect("the file is there");
        talk(handle, other).await;
        writer.await.expect("the writer does not panic").expect("the writer ends well when nobody asks any more");
    });
}

async fn pulled(handle: &Handle) -> Result<usize, Refusal> {
    let pull = Pull { processor: "here".into(), slots: 1, ..Pull::default() };
    match handle.call(Request::Pull(pull)).await? {
        Response::Pulled(pulled) => Ok(pulled.deliveries.len()),
        other => panic!("{other:?}"),
    }
}

async fn hows(handle: &Handle, jobs: Vec<JobRequest>) -> Result<Vec<How>, Refusal> {
    match handle.call(Request::Enqueue(jobs)).await? {
        Response::Enqueued(jobs) => Ok(jobs.into_iter().map(|job| job.how).collect()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_jobs_under_a_used_idempotency_key_are_refused_as_a_whole() {
    with_broker(|handle| async move {
        let first = vec![job("a", "k#0", "one"), job("b", "k#1", "one")];
        assert_eq!(hows(&handle, first.clone()).await, Ok(vec![How::Created, How::Created]));
        assert_eq!(hows(&handle, first).await, Ok(vec![How::Replayed, How::Replayed]));
        let longer = vec![job("c", "k#0", "two"), job("d", "k#1", "two"), job("e", "k#2", "two")];
        assert!(matches!(hows(&handle, longer).await, Err(Refusal::Conflict(_))));
        let read = handle.call(Request::Read(Query::Job { job: "e".into() })).await;
        assert!(matches!(read, Ok(Response::Rows(Rows::Jobs(jobs))) if jobs.is_empty()));
    });
}

#[test]
fn an_empty_request_is_answered() {
    with_broker(|handle| async move {
        assert_eq!(hows(&handle, Vec::new()).await, Ok(Vec::new()));
        let settled = handle.call(Request::Settle(Vec::new())).await;
        assert!(matches!(settled, Ok(Response::Settled(settled)) if settled.is_empty()));
    });
}

#[test]
fn a_pull_that_nobody_waits_for_any_more_is_granted_nothing() {
    with_broker(|handle| async move {
        let pull = Pull { processor: "gone".into(), slots: 1, wait_ms: 60_000, ..Pull::default() };
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, handle.call(Request::Pull(pull))).await;
        assert!(given_up.is_err(), "there is nothing to pull yet");
        hows(&handle, vec![job("a", "k", "one")]).await.expect("it is enqueued");
        assert_eq!(pulled(&handle).await, Ok(1));
    });
}

#[test]
fn while_the_store_fails_all_who_ask_are_told_and_afterwards_it_goes_on() {
    with_broker_and_file(|handle, other| async move {
        other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        let several = vec![job("a", "k#0", "one"), job("b", "k#1", "one")];
        let asked = tokio::join!(
            hows(&handle, several.clone()),
            hows(&handle, vec![job("c", "l", "one")]),
            handle.call(Request::Pause { queue: "pdf_generation".into(), paused: true }),
        );
        for refusal in [asked.0.err(), asked.1.err(), asked.2.err()] {
            assert!(
                matches!(&refusal, Some(Refusal::Unavailable(why)) if why.contains("another program is using the file")),
                "{refusal:?}"
            );
        }
        other.execute_batch("ROLLBACK").expect("it was begun");
        assert_eq!(hows(&handle, several).await, Ok(vec![How::Created, How::Created]));
        assert_eq!(pulled(&handle).await, Ok(1));
    });
}

#[test]
fn a_claim_that_fails_does_not_take_back_what_was_asked_along_with_it() {
    with_broker_and_file(|handle, other| async move {
        hows(&handle, vec![job("a", "k", "one")]).await.expect("it is enqueued");
        other.execute("UPDATE job_status SET payload = NULL", []).expect("nobody else writes");
        let (enqueued, refused) = tokio::join!(hows(&handle, vec![job("b", "l", "one")]), pulled(&handle));
        assert_eq!(enqueued, Ok(vec![How::Created]));
        assert!(matches!(refused, Err(Refusal::Unavailable(_))), "{refused:?}");
        other.execute("UPDATE job_status SET payload = '{}'", []).expect("nobody else writes");
        assert_eq!(hows(&handle, vec![job("b", "l", "one")]).await, Ok(vec![How::Replayed]));
        assert_eq!((pulled(&handle).await, pulled(&handle).await), (Ok(1), Ok(1)));
    });
}

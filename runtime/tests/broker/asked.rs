//! What a request means as a whole, and what its refusal says.

use std::sync::atomic::Ordering;

use kew_runtime::broker::{
    Handle, IDEMPOTENCY_MS, JobRequest, Pull, Queue, Refusal, Report, Request, Response, Settlement,
};
use kew_runtime::store::{How, LeaseId, Query, Rows};
use kew_spec::queues::Queues;

use crate::{
    call, complete, created, delivered, fail, hows, job, once, one, pulled, run, sync, with_broker,
    with_broker_and_file, with_queues,
};

#[test]
fn several_jobs_under_a_used_idempotency_key_are_refused_as_a_whole() {
    with_broker(|handle| async move {
        let first = vec![once("a", "k#0", "one"), once("b", "k#1", "one")];
        assert_eq!(hows(&handle, first.clone()).await, Ok(vec![How::Created, How::Created]));
        assert_eq!(hows(&handle, first).await, Ok(vec![How::Replayed, How::Replayed]));
        let longer = vec![once("c", "k#0", "two"), once("d", "k#1", "two"), once("e", "k#2", "two")];
        assert!(matches!(hows(&handle, longer).await, Err(Refusal::KeyReused(_))));
        let read = handle.call(Request::Read(Query::Job { job: "e".into() })).await;
        assert!(matches!(read, Ok(Response::Rows(Rows::Jobs(jobs))) if jobs.is_empty()));
    });
}

#[test]
fn a_job_for_a_key_that_waits_for_another_user_is_refused_and_of_a_list_it_alone() {
    with_broker(|handle| async move {
        assert_eq!(hows(&handle, vec![sync("a", "e")]).await, Ok(vec![How::Created]));
        let bens = |id: &str, key: &str| JobRequest { user: "ben".into(), ..sync(id, key) };
        let why = "a job of another user waits for the same key; ask again once it has begun, or use keys of your own";
        assert_eq!(hows(&handle, vec![bens("b", "e")]).await, Err(Refusal::Conflict(why.into())));
        let list = vec![bens("c", "f"), bens("d", "e"), bens("e", "g")];
        let why = format!("{why}; all else that the list asks for is made");
        assert_eq!(hows(&handle, list).await, Err(Refusal::Conflict(why)));
        assert_eq!(hows(&handle, vec![bens("h", "f"), bens("i", "g")]).await, Ok(vec![How::Coalesced; 2]));
    });
}

#[test]
fn the_keys_of_a_list_whose_jobs_were_made_on_different_days_end_together() {
    run(
        Queues::default(),
        |writer| writer,
        |handle, _, ahead_ms| async move {
            created(&handle, vec![sync("a", "e")]).await;
            let list = |ids: [&str; 2], keys: [&str; 2], print: &str| {
                let named = ids.into_iter().zip(keys).zip(["list", "list 1"]);
                let bens = named.map(|((id, key), name)| JobRequest {
                    user: "ben".into(),
                    idempotency: Some((name.into(), print.into())),
                    ..sync(id, key)
                });
                bens.collect::<Vec<_>>()
            };
            let first = hows(&handle, list(["b", "c"], ["f", "e"], "print")).await;
            assert!(matches!(first, Err(Refusal::Conflict(_))), "{first:?}");
            let granted = delivered(&handle, Pull { queues: vec!["data_sync".into()], ..one("p") }).await;
            assert!(complete(&handle, &granted.leases[0]).await);
            ahead_ms.fetch_add(IDEMPOTENCY_MS / 2, Ordering::Relaxed);
            let again = hows(&handle, list(["b", "c"], ["f", "e"], "print")).await;
            assert_eq!(again, Ok(vec![How::Replayed, How::Created]), "what was refused is made now");
            ahead_ms.fetch_add(IDEMPOTENCY_MS - 1, Ordering::Relaxed);
            let other = hows(&handle, list(["d", "h"], ["g", "h"], "other")).await;
            assert!(matches!(other, Err(Refusal::KeyReused(_))), "{other:?}");
            ahead_ms.fetch_add(1, Ordering::Relaxed);
            created(&handle, list(["d", "h"], ["g", "h"], "other")).await;
        },
    );
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
        let pull = Request::Pull(Pull { wait_ms: 60_000, ..one("gone") });
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, handle.call(pull)).await;
        assert!(given_up.is_err(), "there is nothing to pull yet");
        hows(&handle, vec![once("a", "k", "one")]).await.expect("it is enqueued");
        assert_eq!(pulled(&handle).await, Ok(1));
    });
}

#[test]
fn while_the_store_fails_all_who_ask_are_told_and_afterwards_it_goes_on() {
    with_broker_and_file(|handle, other| async move {
        other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
        let several = vec![once("a", "k#0", "one"), once("b", "k#1", "one")];
        let asked = tokio::join!(
            hows(&handle, several.clone()),
            hows(&handle, vec![once("c", "l", "one")]),
            handle.call(Request::Pause { queue: "pdf_generation".into(), paused: true }),
        );
        for refusal in [asked.0.err(), asked.1.err(), asked.2.err()] {
            let Some(Refusal::Unavailable(why)) = refusal else { panic!("{refusal:?}") };
            assert!(why.starts_with("failed to "), "{why}");
            assert!(why.contains("another program is using the file"), "{why}");
        }
        other.execute_batch("ROLLBACK").expect("it was begun");
        assert_eq!(hows(&handle, several).await, Ok(vec![How::Created, How::Created]));
        assert_eq!(pulled(&handle).await, Ok(1));
    });
}

#[test]
fn a_claim_that_fails_does_not_take_back_what_was_asked_along_with_it() {
    with_broker_and_file(|handle, other| async move {
        hows(&handle, vec![once("a", "k", "one")]).await.expect("it is enqueued");
        other.execute("UPDATE job_status SET payload = NULL", []).expect("nobody else writes");
        let (enqueued, refused) = tokio::join!(hows(&handle, vec![once("b", "l", "one")]), pulled(&handle));
        assert_eq!(enqueued, Ok(vec![How::Created]));
        let Err(Refusal::Unavailable(why)) = refused else { panic!("{refused:?}") };
        assert!(why.starts_with("failed to claim from pdf_generation"), "{why}");
        other.execute("UPDATE job_status SET payload = '{}'", []).expect("nobody else writes");
        assert_eq!(hows(&handle, vec![once("b", "l", "one")]).await, Ok(vec![How::Replayed]));
        assert_eq!((pulled(&handle).await, pulled(&handle).await), (Ok(1), Ok(1)));
    });
}

/// Why the broker does not do it.
async fn refused(handle: &Handle, request: Request) -> Refusal {
    handle.call(request).await.expect_err("it is refused")
}

fn cancel(job: &str, user: Option<&str>) -> Request {
    Request::Cancel { job: job.into(), user: user.map(Into::into) }
}

#[test]
fn a_cancel_of_what_has_ended_or_is_not_there_is_refused_and_says_why() {
    with_broker(|handle| async move {
        created(&handle, vec![job("a")]).await;
        let not_there = |job: &str| Refusal::NotFound(format!("there is no job {job}"));
        assert_eq!(refused(&handle, cancel("b", None)).await, not_there("b"));
        assert_eq!(refused(&handle, cancel("a", Some("ben"))).await, not_there("a"));
        assert!(matches!(call(&handle, cancel("a", Some("ada"))).await, Response::Done));
        let ended = Refusal::Conflict("job a has ended already; only a job that has not can be cancelled".into());
        assert_eq!(refused(&handle, cancel("a", Some("ada"))).await, ended);
    });
}

#[test]
fn a_redrive_of_what_is_no_dead_letter_or_whose_key_is_taken_is_refused_and_says_why() {
    let queues = "[syncs]\npriority = \"low\"\nattempts = 1\ntimeout_ms = 1_000\ndeduplication = \"key\"\n\
                  dead_letter_queue = \"syncs_dlq\"";
    with_queues(Queues::parse(queues).expect("it is allowed"), |handle| async move {
        let (redrive, purge) = (Request::Redrive { job: "a".into() }, Request::Purge { job: "a".into() });
        let sync = |id: &str| JobRequest { queue: "syncs".into(), ..sync(id, "entity") };
        assert_eq!(refused(&handle, redrive.clone()).await, Refusal::NotFound("there is no job a".into()));
        created(&handle, vec![sync("a")]).await;
        let no_dead_letter = Refusal::Conflict("job a is no dead letter".into());
        assert_eq!(refused(&handle, redrive.clone()).await, no_dead_letter);
        assert_eq!(refused(&handle, purge.clone()).await, no_dead_letter);
        let granted = delivered(&handle, one("p")).await;
        assert!(fail(&handle, &granted.leases[0]).await);
        created(&handle, vec![sync("b")]).await;
        let taken = "job a cannot be redriven: a newer job for the same key is live; purge this one, or wait for that one \
                     to end";
        assert_eq!(refused(&handle, redrive.clone()).await, Refusal::Conflict(taken.into()));
        let granted = delivered(&handle, one("p")).await;
        assert!(complete(&handle, &granted.leases[0]).await);
        assert!(matches!(call(&handle, redrive).await, Response::Done));
        assert_eq!(hows(&handle, vec![sync("c")]).await, Ok(vec![How::Coalesced]));
        let granted = delivered(&handle, one("p")).await;
        assert!(fail(&handle, &granted.leases[0]).await);
        assert!(matches!(call(&handle, purge).await, Response::Done));
    });
}

#[test]
fn a_queue_that_there_is_not_is_refused_in_whatever_names_it() {
    with_broker(|handle| async move {
        let lease = LeaseId { queue: "pdf".into(), job: "a".into(), attempt: 1, fence: 1 };
        let outcome = Report::Failed { error: "e".into(), delay_ms: None };
        for request in [
            Request::Pause { queue: "pdf".into(), paused: true },
            Request::Enqueue(vec![JobRequest { queue: "pdf".into(), ..job("a") }]),
            Request::Settle(vec![Settlement { lease, outcome }]),
        ] {
            let refusal = refused(&handle, request).await;
            assert!(matches!(&refusal, Refusal::NotFound(text) if text.starts_with("there is no queue \"pdf\"")));
        }
    });
}

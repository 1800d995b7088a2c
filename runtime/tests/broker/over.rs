//! Who is told that a delivery is over, or a job at its end.

use kew_runtime::broker::{Granted, Handle, Pull, Request};
use kew_spec::lifecycle::Status;

use crate::{ask, call, complete, created, delivered, ends, fail, job, one, row, sleep, timed, with_broker};

/// A pull that only wants to hear what is over of what it holds.
fn holding(granted: &Granted) -> Pull {
    Pull { slots: 0, wait_ms: 60_000, holding: vec![granted.delivery.id.clone()], ..one("p") }
}

async fn cancel(handle: &Handle, job: &str) {
    call(handle, Request::Cancel { job: job.into(), user: None }).await;
}

#[test]
fn a_processor_hears_at_once_that_its_job_was_cancelled() {
    with_broker(|handle| async move {
        created(&handle, vec![job("a")]).await;
        let granted = delivered(&handle, one("p")).await;
        let late = async {
            sleep(100).await;
            cancel(&handle, "a").await;
        };
        let ((told, took), ()) = tokio::join!(timed(ask(&handle, holding(&granted))), late);
        assert_eq!((told.revoked, took), (vec![granted.delivery.id.clone()], 100));
        let (told, _) = timed(ask(&handle, holding(&granted))).await;
        assert!(told.revoked.is_empty(), "it is told once");
        assert!(!complete(&handle, &granted.leases[0]).await);
    });
}

#[test]
fn a_processor_hears_that_its_lease_ran_out() {
    with_broker(|handle| async move {
        created(&handle, vec![job("a")]).await;
        let granted = delivered(&handle, one("p")).await;
        let (told, took) = timed(ask(&handle, holding(&granted))).await;
        assert_eq!((told.revoked, took), (vec![granted.delivery.id], 35_000));
    });
}

#[test]
fn a_processor_hears_nothing_of_what_it_has_settled_itself() {
    with_broker(|handle| async move {
        created(&handle, vec![job("a")]).await;
        let granted = delivered(&handle, one("p")).await;
        assert!(fail(&handle, &granted.leases[0]).await);
        cancel(&handle, "a").await;
        let (told, took) = timed(ask(&handle, holding(&granted))).await;
        assert_eq!((told.revoked.len(), took), (0, 60_000));
    });
}

#[test]
fn a_settle_of_a_lease_that_is_over_leaves_the_next_delivery_as_it_is() {
    with_broker(|handle| async move {
        created(&handle, vec![job("a")]).await;
        let lost = delivered(&handle, Pull { lease_ms: Some(10), ..one("p") }).await;
        let again = delivered(&handle, Pull { wait_ms: 1_000, ..one("q") }).await;
        assert!(!fail(&handle, &lost.leases[0]).await);
        cancel(&handle, "a").await;
        let told = ask(&handle, holding(&again)).await;
        assert_eq!(told.revoked, [again.delivery.id]);
    });
}

#[test]
fn who_waits_for_ends_hears_of_a_completion_a_cancel_and_a_last_lost_lease_at_once() {
    with_broker(|handle| async move {
        created(&handle, ["a", "b", "c"].map(job).into()).await;
        let granted = delivered(&handle, one("p")).await;
        let late = async {
            sleep(10).await;
            assert!(complete(&handle, &granted.leases[0]).await);
            sleep(10).await;
            cancel(&handle, "b").await;
        };
        let told = async {
            let first = timed(ends(&handle, 0, 60_000)).await;
            let second = timed(ends(&handle, 1, 60_000)).await;
            [first, second].map(|(ends, took)| (ends[0].job.clone(), ends[0].status, took))
        };
        let (told, ()) = tokio::join!(told, late);
        assert_eq!(told, [("a".into(), Status::Completed, 10), ("b".into(), Status::Failed, 10)]);
        for _ in 0..3 {
            delivered(&handle, Pull { lease_ms: Some(100), wait_ms: 1_000, ..one("p") }).await;
        }
        let (last, took) = timed(ends(&handle, 2, 60_000)).await;
        assert_eq!((last[0].job.as_str(), took), ("c", 100));
        assert_eq!(last[0].dead_letter_queue.as_deref(), Some("pdf_generation_dlq"));
        let (none, took) = timed(ends(&handle, 3, 2_000)).await;
        assert_eq!((none.len(), took), (0, 2_000));
    });
}

#[test]
fn a_job_says_how_its_last_attempt_ended() {
    with_broker(|handle| async move {
        created(&handle, vec![job("a")]).await;
        delivered(&handle, Pull { lease_ms: Some(100), ..one("p") }).await;
        sleep(200).await;
        let lost = row(&handle, "a").await.expect("it is there");
        assert_eq!((lost.status, lost.retry_count, lost.completed_ms), (Status::Failed, 0, None));
        assert!(lost.error.expect("it says why").starts_with("lease lost"));
    });
}

//! What falls due without being asked, and when.

use std::sync::atomic::Ordering;

use kew_runtime::broker::{JobRequest, Pull, Request};
use kew_spec::queues::Queues;

use crate::{
    ask, call, complete, created, delivered, ends, fail, job, one, row, run, sleep, sync, timed, with_broker,
    with_broker_and_file, with_queues,
};

fn patient(processor: &str) -> Pull {
    Pull { wait_ms: 600_000, ..one(processor) }
}

#[test]
fn a_pull_for_which_there_is_nothing_is_sent_away_when_its_wait_is_over() {
    with_broker(|handle| async move {
        let (pulled, took) = timed(ask(&handle, Pull { wait_ms: 700, ..one("p") })).await;
        assert!(pulled.deliveries.is_empty());
        assert_eq!((pulled.waited_ms, took), (700, 700));
        let (_, took) = timed(ask(&handle, one("p"))).await;
        assert_eq!(took, 0, "it does not want to wait");
    });
}

#[test]
fn a_job_that_is_enqueued_goes_to_who_waits_for_it_at_once() {
    with_broker(|handle| async move {
        let elsewhere = Pull { queues: vec!["data_sync".into()], wait_ms: 5_000, ..one("elsewhere") };
        let late = async {
            sleep(300).await;
            created(&handle, vec![job("a")]).await;
        };
        let talk = tokio::join!(timed(delivered(&handle, patient("p"))), timed(ask(&handle, elsewhere)), late);
        let ((granted, took), (nothing, waited), ()) = talk;
        assert_eq!((granted.delivery.jobs[0].id.as_str(), took), ("a", 300));
        assert_eq!((nothing.deliveries.len(), waited), (0, 5_000));
    });
}

#[test]
fn a_retry_goes_to_who_waits_for_it_when_its_backoff_is_over() {
    with_broker(|handle| async move {
        created(&handle, vec![sync("a", "entity")]).await;
        let mut granted = delivered(&handle, one("p")).await;
        for (least, most) in [(1_000, 1_200), (2_000, 2_400), (4_000, 4_800)] {
            assert!(fail(&handle, &granted.leases[0]).await);
            let (again, took) = timed(delivered(&handle, patient("p"))).await;
            assert!((least..=most).contains(&took), "{took} ms");
            assert_eq!(again.delivery.jobs[0].attempt, granted.delivery.jobs[0].attempt + 1);
            granted = again;
        }
    });
}

#[test]
fn a_lease_that_runs_out_gives_its_job_to_the_next_at_that_very_moment() {
    with_broker(|handle| async move {
        created(&handle, vec![job("a")]).await;
        let lost = delivered(&handle, one("p")).await;
        let (again, took) = timed(delivered(&handle, patient("q"))).await;
        assert_eq!((again.delivery.jobs[0].attempt, took), (2, 35_000));
        assert!(!complete(&handle, &lost.leases[0]).await, "that lease is over");
        assert!(complete(&handle, &again.leases[0]).await);
    });
}

#[test]
fn a_batch_that_is_not_full_goes_out_when_its_oldest_has_waited_long_enough() {
    with_broker(|handle| async move {
        let mail = |id: &str| JobRequest { queue: "email_notification".into(), ..job(id) };
        created(&handle, vec![mail("a")]).await;
        let later = async {
            sleep(4_999).await;
            created(&handle, vec![mail("b")]).await;
        };
        let ((granted, took), ()) = tokio::join!(timed(delivered(&handle, patient("p"))), later);
        assert_eq!((granted.delivery.jobs.len(), took), (2, 5_000));
    });
}

#[test]
fn a_scheduled_queue_gives_what_it_has_at_its_tick() {
    with_broker(|handle| async move {
        created(&handle, vec![JobRequest { queue: "analytics_processing".into(), ..job("a") }]).await;
        let (granted, took) = timed(delivered(&handle, patient("p"))).await;
        assert_eq!((granted.delivery.jobs.len(), took), (1, 290_000));
        assert!(fail(&handle, &granted.leases[0]).await);
        let (again, took) = timed(delivered(&handle, patient("p"))).await;
        assert_eq!((again.delivery.batch, took), (granted.delivery.batch, 300_000));
    });
}

#[test]
fn a_batch_that_is_tried_again_goes_out_when_the_rate_limit_has_room_for_all_of_it() {
    let queues = "[points]\npriority = \"low\"\nattempts = \"infinite\"\nbackoff = \"next-tick\"\ntimeout_ms = 1_000\n\
                  rate_limit = { starts = 4, per_ms = 10_050 }\nbatch = { size = 3 }\nschedule = { every_ms = 1_000 }";
    with_queues(Queues::parse(queues).expect("it is allowed"), |handle| async move {
        created(&handle, ["a", "b", "c"].map(|id| JobRequest { queue: "points".into(), ..job(id) }).into()).await;
        let first = delivered(&handle, patient("p")).await;
        assert_eq!(first.leases.len(), 3);
        for lease in &first.leases {
            assert!(fail(&handle, lease).await);
        }
        let (again, took) = timed(delivered(&handle, patient("p"))).await;
        assert_eq!((again.delivery.batch, again.leases.len(), took), (first.delivery.batch, 3, 10_050));
    });
}

#[test]
fn a_wall_clock_that_jumps_forward_is_noticed_within_a_second() {
    run(
        Queues::default(),
        |writer| writer,
        |handle, _, ahead_ms| async move {
            created(&handle, vec![job("a")]).await;
            delivered(&handle, one("p")).await;
            let jump = async {
                sleep(1_500).await;
                ahead_ms.store(3_600_000, Ordering::Relaxed);
            };
            let ((again, took), ()) = tokio::join!(timed(delivered(&handle, patient("q"))), jump);
            assert_eq!(again.delivery.jobs[0].attempt, 2);
            assert!((1_500..=2_500).contains(&took), "{took} ms");
        },
    );
}

#[test]
fn after_a_failure_of_the_store_what_is_due_is_tried_again_every_second() {
    with_broker_and_file(|handle, other| async move {
        created(&handle, vec![job("a")]).await;
        delivered(&handle, Pull { lease_ms: Some(100), ..one("p") }).await;
        let trouble = async {
            sleep(50).await;
            other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
            sleep(1_500).await;
            other.execute_batch("ROLLBACK").expect("it was begun");
        };
        let ((again, took), ()) = tokio::join!(timed(delivered(&handle, patient("q"))), trouble);
        assert_eq!((again.delivery.jobs[0].attempt, took), (2, 2_100));
    });
}

#[test]
fn what_ended_long_ago_is_forgotten_within_a_minute_and_all_of_it_at_once() {
    run(
        Queues::default(),
        |writer| writer.keep_ended(90_000),
        |handle, _, _| async move {
            // More than one go forgets.
            let ids: Vec<_> = (0..2_500).map(|i| format!("j{i}")).collect();
            created(&handle, ids.iter().map(|id| job(id)).collect()).await;
            let cancels = ids.iter().map(|id| call(&handle, Request::Cancel { job: id.clone(), user: None }));
            futures_util::future::join_all(cancels).await;
            let newest = ends(&handle, 2_400, 0).await.last().expect("there are ends").seq;
            assert_eq!(newest, 2_500);
            call(&handle, Request::Told { through: newest }).await;
            sleep(90_000).await;
            assert!(row(&handle, "j0").await.is_some(), "its time is not over");
            sleep(31_500).await;
            assert!(row(&handle, "j0").await.is_none(), "a minute after the last look");
            assert!(row(&handle, "j2499").await.is_none(), "the rest follows at once");
            assert!(ends(&handle, 0, 0).await.is_empty());
        },
    );
}

#[test]
fn a_job_is_kept_for_thirty_days_after_its_end() {
    const DAY_MS: u64 = 86_400_000;
    run(
        Queues::default(),
        |writer| writer,
        |handle, _, ahead_ms| async move {
            created(&handle, vec![job("a")]).await;
            assert!(complete(&handle, &delivered(&handle, one("p")).await.leases[0]).await);
            ahead_ms.store(30 * DAY_MS - 3_600_000, Ordering::Relaxed);
            sleep(61_000).await;
            assert!(row(&handle, "a").await.is_some());
            ahead_ms.store(30 * DAY_MS, Ordering::Relaxed);
            sleep(61_000).await;
            assert!(row(&handle, "a").await.is_none());
        },
    );
}

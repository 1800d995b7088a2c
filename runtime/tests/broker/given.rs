//! Who is given what.

use std::sync::atomic::Ordering;

use kew_runtime::broker::{Granted, JobRequest, Pull, Request};
use kew_spec::queues::Queues;

use crate::{
    BEGIN_MS, ask, call, complete, created, delivered, fail, job, json, one, row, run_in, sleep, sync, with_broker,
    with_broker_and_file, with_queues,
};

fn ids(deliveries: &[Granted]) -> Vec<Vec<&str>> {
    deliveries.iter().map(|it| it.delivery.jobs.iter().map(|job| job.id.as_str()).collect()).collect()
}

fn mail(id: &str) -> JobRequest {
    JobRequest { queue: "email_notification".into(), ..job(id) }
}

fn enhance(id: &str) -> JobRequest {
    JobRequest { queue: "ai_enhancement".into(), ..job(id) }
}

#[test]
fn a_pull_gets_as_many_deliveries_as_it_has_slots_for() {
    with_broker(|handle| async move {
        created(&handle, ["a", "b", "c"].map(job).into()).await;
        assert_eq!(ids(&ask(&handle, Pull { slots: 0, ..one("p") }).await.deliveries).len(), 0);
        assert_eq!(ids(&ask(&handle, Pull { slots: 2, ..one("p") }).await.deliveries), [["a"], ["b"]]);
        assert_eq!(ids(&ask(&handle, Pull { slots: 2, ..one("p") }).await.deliveries), [["c"]]);
    });
}

#[test]
fn slots_are_filled_from_several_queues_the_higher_priority_first() {
    with_broker(|handle| async move {
        created(&handle, vec![sync("s", "entity"), enhance("e"), enhance("f"), job("a"), job("b")]).await;
        let three = ask(&handle, Pull { slots: 3, ..one("p") }).await.deliveries;
        assert_eq!(ids(&three), [["a"], ["b"], ["e"]]);
        let rest = ask(&handle, Pull { slots: 9, ..one("p") }).await.deliveries;
        assert_eq!(ids(&rest), [["f"], ["s"]]);
    });
}

#[test]
fn a_pull_gets_only_from_the_queues_it_names() {
    with_broker(|handle| async move {
        created(&handle, vec![job("a"), enhance("e")]).await;
        let named = Pull { queues: vec!["ai_enhancement".into(), "data_sync".into()], slots: 9, ..one("p") };
        assert_eq!(ids(&ask(&handle, named.clone()).await.deliveries), [["e"]]);
        assert_eq!(ids(&ask(&handle, named).await.deliveries).len(), 0);
    });
}

#[test]
fn a_delivery_says_what_its_handler_has_to_know() {
    with_broker(|handle| async move {
        created(&handle, vec![sync("s", "entity")]).await;
        sleep(40).await;
        let granted = delivered(&handle, one("p")).await;
        assert_eq!(granted.delivery.batch, granted.delivery.id, "it is no batch");
        assert_eq!((granted.delivery.queue.as_str(), granted.delivery.timeout_ms), ("data_sync", 120_000));
        assert_eq!((granted.lease_ms, granted.created_ms), (125_000, vec![BEGIN_MS]));
        let (it, lease) = (&granted.delivery.jobs[0], &granted.leases[0]);
        assert_eq!(
            (it.user.as_str(), it.attempt, it.key.as_deref(), it.payload.get()),
            ("ada", 1, Some("entity"), "1")
        );
        assert_eq!((lease.queue.as_str(), lease.job.as_str(), lease.attempt, lease.fence), ("data_sync", "s", 1, 1));
    });
}

#[test]
fn a_batch_holds_as_many_as_the_consumer_takes_and_the_policy_allows() {
    with_broker(|handle| async move {
        let names: Vec<_> = (0..250).map(|i| format!("m{i}")).collect();
        created(&handle, names.iter().map(|name| mail(name)).collect()).await;
        let sizes = |all: &[Granted]| all.iter().map(|it| it.delivery.jobs.len()).collect::<Vec<_>>();
        let few = Pull { batch_size_max: Some(30), ..one("p") };
        assert_eq!(sizes(&ask(&handle, few).await.deliveries), [30]);
        let many = Pull { batch_size_max: Some(5_000), slots: 9, ..one("p") };
        assert_eq!(sizes(&ask(&handle, many).await.deliveries), [100, 100]);
        let none = Pull { batch_size_max: Some(0), wait_ms: 5_000, ..one("p") };
        assert_eq!(sizes(&ask(&handle, none).await.deliveries), [1], "one is the least");
        assert_eq!(sizes(&ask(&handle, one("p")).await.deliveries), [19]);
    });
}

#[test]
fn a_pull_that_came_first_is_served_first() {
    with_broker(|handle| async move {
        let patient = |name: &str| ask(&handle, Pull { wait_ms: 1_000, ..one(name) });
        let late = async {
            sleep(10).await;
            created(&handle, vec![job("a")]).await;
            sleep(10).await;
            created(&handle, vec![job("b")]).await;
        };
        let (first, second, ()) = tokio::join!(patient("first"), patient("second"), late);
        assert_eq!((ids(&first.deliveries), ids(&second.deliveries)), (vec![vec!["a"]], vec![vec!["b"]]));
        assert_eq!((first.waited_ms, second.waited_ms), (10, 20));
    });
}

#[test]
fn a_rate_limit_lets_so_many_start_and_the_next_when_the_first_leaves_the_window() {
    with_broker(|handle| async move {
        let names: Vec<_> = (0..12).map(|i| format!("e{i}")).collect();
        created(&handle, names.iter().map(|name| enhance(name)).collect()).await;
        let pull = Pull { slots: 20, wait_ms: 10_000, ..one("p") };
        assert_eq!(ask(&handle, pull.clone()).await.deliveries.len(), 10);
        let rest = ask(&handle, pull).await;
        assert_eq!((rest.deliveries.len(), rest.waited_ms), (2, 1_000));
    });
}

#[test]
fn a_paused_queue_gives_nothing_until_it_is_resumed() {
    with_broker(|handle| async move {
        let pause = |paused| call(&handle, Request::Pause { queue: "pdf_generation".into(), paused });
        created(&handle, vec![job("a")]).await;
        pause(true).await;
        let late = async {
            sleep(300).await;
            pause(false).await;
        };
        let (granted, ()) = tokio::join!(ask(&handle, Pull { wait_ms: 1_000, ..one("p") }), late);
        assert_eq!((ids(&granted.deliveries), granted.waited_ms), (vec![vec!["a"]], 300));
    });
}

#[test]
fn a_redriven_dead_letter_waits_for_its_queues_tick_as_a_new_job_would() {
    let queues = "[nightly]\npriority = \"low\"\nattempts = 1\ntimeout_ms = 1_000\nbackoff = \"next-tick\"\n\
                  dead_letter_queue = \"nightly_dlq\"\nschedule = { every_ms = 60_000 }";
    with_queues(Queues::parse(queues).expect("it is allowed"), |handle| async move {
        created(&handle, vec![JobRequest { queue: "nightly".into(), ..job("a") }]).await;
        let patient = Pull { wait_ms: 600_000, ..one("p") };
        let first = delivered(&handle, patient.clone()).await;
        assert!(fail(&handle, &first.leases[0]).await);
        sleep(1_000).await;
        call(&handle, Request::Redrive { job: "a".into() }).await;
        let pulled = ask(&handle, patient).await;
        assert_eq!(pulled.waited_ms, 59_000);
        let again = &pulled.deliveries[0];
        assert_eq!((again.leases[0].attempt, again.leases[0].fence), (1, 2));
        assert!(complete(&handle, &again.leases[0]).await);
    });
}

#[test]
fn a_pull_that_was_given_many_bytes_gets_no_further_delivery() {
    with_broker(|handle| async move {
        let large = json(&format!("\"{}\"", "x".repeat(128 * 1_024)));
        let names: Vec<_> = (0..500).map(|i| format!("m{i}")).collect();
        let mails = names.iter().map(|name| JobRequest { payload: large.clone(), ..mail(name) });
        created(&handle, mails.collect()).await;
        let pull = Pull { slots: 9, ..one("p") };
        assert_eq!(ask(&handle, pull.clone()).await.deliveries.len(), 3, "of 12.5 MiB each");
        assert_eq!(ask(&handle, pull).await.deliveries.len(), 2);
    });
}

#[test]
fn a_rate_limit_whose_window_was_made_longer_does_not_stand_in_the_way_of_other_queues() {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let queues = |per_ms: u64| {
        let text = format!(
            "[limited]\npriority = \"high\"\nattempts = 1\ntimeout_ms = 1_000\nrate_limit = {{ starts = 1, per_ms = {per_ms} }}\n\
             [free]\npriority = \"low\"\nattempts = 1\ntimeout_ms = 1_000"
        );
        Queues::parse(&text).expect("it is allowed")
    };
    let of = |queue: &str, id: &str| JobRequest { queue: queue.into(), ..job(id) };
    let jobs = vec![of("limited", "a"), of("limited", "b"), of("free", "c")];
    run_in(
        folder.path(),
        queues(1_000),
        |writer| writer,
        |handle, _, _| async move {
            created(&handle, jobs).await;
            assert_eq!(delivered(&handle, one("p")).await.delivery.jobs[0].id, "a");
            sleep(2_000).await;
        },
    );
    run_in(
        folder.path(),
        queues(60_000),
        |writer| writer,
        |handle, _, ahead_ms| async move {
            ahead_ms.store(2_000, Ordering::Relaxed); // Else the store's time is that of its last command.
            assert_eq!(delivered(&handle, one("p")).await.delivery.jobs[0].id, "c");
            assert_eq!(ask(&handle, one("p")).await.deliveries.len(), 0);
        },
    );
}

#[test]
fn a_delivery_may_take_as_long_as_its_policy_says_however_long_that_is() {
    let queues = "[slow]\npriority = \"low\"\nattempts = 1\ntimeout_ms = 2_592_000_000";
    with_queues(Queues::parse(queues).expect("it is allowed"), |handle| async move {
        created(&handle, vec![JobRequest { queue: "slow".into(), ..job("a") }]).await;
        let granted = delivered(&handle, one("p")).await;
        assert!(granted.delivery.timeout_ms < granted.lease_ms, "else no processor begins it");
    });
}

#[test]
fn attempts_are_kept_in_full_of_jobs_that_may_become_dead_letters_alone() {
    with_broker_and_file(|handle, other| async move {
        created(&handle, vec![sync("s", "entity"), job("a")]).await;
        for granted in ask(&handle, Pull { slots: 2, ..one("p") }).await.deliveries {
            assert!(fail(&handle, &granted.leases[0]).await);
        }
        for id in ["s", "a"] {
            let row = row(&handle, id).await.expect("it is there");
            assert_eq!(row.error.as_deref(), Some("it broke"), "{id}");
        }
        let kept = other.query_row("SELECT group_concat(job) FROM failed_attempt", [], |row| row.get::<_, String>(0));
        assert_eq!(kept.as_deref(), Ok("a"));
    });
}

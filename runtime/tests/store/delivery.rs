//! Enqueue, claim, settle: who gets what, and when a lease holds.

use super::*;
use kew_spec::lifecycle::Status;

#[test]
fn a_new_job_is_pending_and_readable_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.enqueue(job("a", 7)), ("a".into(), How::Created));
    let row = bench.row("a");
    assert_eq!((row.status, row.retry_count, row.created_ms, row.updated_ms), (Status::Pending, 0, 7, 7));
    assert!(row.error.is_none() && row.result.is_none() && row.completed_ms.is_none());
}

#[test]
fn a_payload_is_kept_byte_for_byte() {
    let mut bench = Bench::new();
    for text in ["1.50", "-0", "1e5", "12345678901234567890", "\"7\"", "null", "{ \"a\" :1 }", "\"\\u0000é\""] {
        let payload = json(text);
        bench.enqueue(NewJob { id: text.into(), payload, ..job("", 0) });
        assert_eq!(bench.row(text).payload.get(), text);
        let Answer::Claimed(Some(claimed)) = bench.one(Command::Claim(claim(0))) else { panic!("it is ready") };
        assert_eq!(claimed.jobs[0].payload.get(), text);
        let outcome = Outcome::Completed(json(text));
        bench.settle(Settle { outcome, ..complete(&claimed.jobs[0].lease, 0) });
        assert_eq!(bench.row(text).result.unwrap().get(), text);
    }
}

#[test]
fn a_repeated_request_makes_one_job() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 1));
    assert_eq!(bench.enqueue(NewJob { payload: json("2"), ..job("a", 2) }), ("a".into(), How::Replayed));
    assert_eq!((bench.row("a").payload.get(), bench.row("a").updated_ms), ("{}", 1));
}

#[test]
fn an_idempotency_key_makes_one_job_of_one_request_of_one_user() {
    let mut bench = Bench::new();
    bench.enqueue(once("a", "key", "print", 0));
    assert_eq!(bench.enqueue(once("b", "key", "print", 99)), ("a".into(), How::Replayed));
    assert!(matches!(bench.one(Command::Enqueue(once("b", "key", "other", 99))), Answer::IdempotencyConflict));
    let other = NewJob { user: "bo".into(), ..once("b", "key", "other", 99) };
    assert_eq!(bench.enqueue(other), ("b".into(), How::Created));
    assert_eq!(bench.enqueue(once("c", "key", "print", 150)), ("a".into(), How::Replayed), "it is remembered anew");
    assert_eq!(bench.enqueue(once("c", "key", "other", 250)), ("c".into(), How::Created), "the first is past its time");
    assert_eq!(bench.enqueue(once("d", "key", "other", 251)), ("c".into(), How::Replayed));
}

#[test]
fn who_waited_longest_comes_first_and_nobody_early() {
    let mut bench = Bench::new();
    for (id, ready_ms) in [("late", 20), ("second", 10), ("third", 10), ("first", 5)] {
        bench.enqueue(NewJob { ready_ms, ..job(id, 0) });
    }
    assert!(bench.claim(claim(4)).is_empty());
    assert_eq!(ids(&bench.claim(Claim { max: 2, ..claim(10) })), ["first", "second"]);
    assert_eq!(ids(&bench.claim(Claim { max: 9, ..claim(19) })), ["third"]);
    assert!(bench.claim(Claim { queue: "other".into(), ..claim(99) }).is_empty());
}

#[test]
fn a_paused_queue_gives_nothing_until_it_is_resumed() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    bench.one(Command::Pause { queue: "q".into(), paused: true, now_ms: 0 });
    assert!(bench.claim(claim(1)).is_empty());
    assert!(bench.outlook(1).queues[0].paused);
    bench.one(Command::Pause { queue: "q".into(), paused: false, now_ms: 2 });
    assert_eq!(ids(&bench.claim(claim(2))), ["a"]);
}

#[test]
fn a_rate_limit_holds_in_every_half_open_window() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c", "d", "e"] {
        bench.enqueue(job(id, 0));
    }
    let limited = |now_ms| Claim { max: 9, rate: Some((3, 1_000)), ..claim(now_ms) };
    assert_eq!(bench.claim(Claim { max: 1, ..limited(10) }).len(), 1);
    assert_eq!(bench.claim(limited(600)).len(), 2, "as many as there is room for");
    assert_eq!(bench.outlook(600).queues[0].recent_claims_ms, [10, 600, 600]);
    assert!(bench.claim(limited(1_009)).is_empty());
    assert_eq!(bench.claim(limited(1_010)).len(), 1, "at its end a window no longer holds the claim it began with");
    assert_eq!(bench.outlook(1_010).queues[0].recent_claims_ms, [600, 600, 1_010]);
}

#[test]
fn a_batch_that_is_kept_is_tried_again_as_a_whole_and_alone() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c"] {
        bench.enqueue(job(id, 0));
    }
    let leases = bench.claim(Claim { max: 3, ..claim(1) });
    bench.enqueue(job("d", 2));
    for lease in &leases[..2] {
        assert!(bench.settle(Settle { keep_batch: true, ..fail(lease, Then::RetryAt(2), 2) }));
    }
    assert!(bench.settle(fail(&leases[2], Then::RetryAt(2), 2)), "this one leaves the batch");
    assert!(bench.outlook(2).queues[0].head_keeps_batch);
    let Answer::Claimed(Some(again)) = bench.one(Command::Claim(Claim { max: 9, ..claim(3) })) else { panic!() };
    assert_eq!(again.batch, "delivery-1");
    assert_eq!(again.jobs.iter().map(|job| job.lease.job.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(!bench.outlook(3).queues[0].head_keeps_batch);
    assert_eq!(ids(&bench.claim(Claim { max: 9, ..claim(3) })), ["c", "d"]);
}

#[test]
fn a_retry_waits_for_its_time_and_keeps_the_error_until_it_ends() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let first = bench.claim(claim(1)).remove(0);
    assert!(bench.settle(fail(&first, Then::RetryAt(50), 2)));
    let row = bench.row("a");
    assert_eq!((row.status, row.error.as_deref(), row.completed_ms), (Status::Failed, Some("it broke"), None));
    assert_eq!(bench.outlook(49).queues[0].next_ready_ms, Some(50));
    assert!(bench.claim(claim(49)).is_empty());
    let second = bench.claim(claim(50)).remove(0);
    assert_eq!((second.attempt, second.fence), (2, 2));
    let row = bench.row("a");
    assert_eq!((row.status, row.error.as_deref(), row.retry_count), (Status::Processing, Some("it broke"), 1));
    assert!(bench.settle(complete(&second, 51)));
    let row = bench.row("a");
    assert_eq!((row.status, row.error, row.completed_ms), (Status::Completed, None, Some(51)));
}

#[test]
fn a_lease_settles_once_and_only_its_own_attempt() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let lease = bench.claim(claim(0)).remove(0);
    for wrong in [
        LeaseId { queue: "other".into(), ..lease.clone() },
        LeaseId { job: "b".into(), ..lease.clone() },
        LeaseId { attempt: 2, ..lease.clone() },
        LeaseId { fence: 2, ..lease.clone() },
    ] {
        assert!(!bench.settle(complete(&wrong, 1)), "{wrong}");
    }
    assert!(bench.settle(complete(&lease, 1)));
    assert!(!bench.settle(fail(&lease, Then::Fail, 2)));
    assert_eq!(bench.row("a").status, Status::Completed);
}

#[test]
fn a_lease_that_ran_out_can_only_be_lost() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let lease = bench.claim(claim(0)).remove(0);
    assert_eq!(bench.outlook(999).next_lease_ms, Some(1_000));
    assert!(bench.outlook(999).expired.is_empty());
    assert_eq!(bench.outlook(1_000).expired, std::slice::from_ref(&lease));
    assert!(!bench.settle(complete(&lease, 1_000)));
    let lost = Settle { outcome: Outcome::Lost("gone".into()), ..fail(&lease, Then::RetryAt(1_001), 1_001) };
    assert!(bench.settle(lost.clone()));
    assert!(!bench.settle(lost));
    assert_eq!(bench.row("a").error.as_deref(), Some("gone"));
}

#[test]
fn an_update_is_never_dated_before_the_one_before_it() {
    let mut bench = Bench::new();
    bench.enqueue(NewJob { ready_ms: 0, ..job("a", 100) });
    let lease = bench.claim(claim(50)).remove(0);
    assert_eq!(bench.row("a").updated_ms, 100);
    bench.settle(complete(&lease, 60));
    assert_eq!((bench.row("a").updated_ms, bench.row("a").completed_ms), (100, Some(100)));
}

#[test]
fn a_batch_that_is_tried_again_is_given_whole_to_whoever_asks_for_fewer() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c"] {
        bench.enqueue(job(id, 0));
    }
    let first = Claim { max: 3, ..claim(0) };
    for lease in bench.claim(first.clone()) {
        bench.settle(Settle { keep_batch: true, ..fail(&lease, Then::RetryAt(1), 1) });
    }
    let Answer::Claimed(Some(again)) = bench.one(Command::Claim(claim(1))) else { panic!("it is ready") };
    assert_eq!((again.batch, again.jobs.len()), (first.delivery, 3));
}

#[test]
fn starts_are_remembered_for_as_long_as_their_window_however_long_that_is() {
    let mut bench = Bench::new();
    let day_ms = 24 * 3_600_000;
    for id in ["a", "b"] {
        bench.enqueue(job(id, 0));
    }
    let limited = |now_ms| Claim { rate: Some((1, day_ms)), ..claim(now_ms) };
    assert_eq!(ids(&bench.claim(limited(0))), ["a"]);
    let last_ms = day_ms - 1;
    bench.one(Command::Prune { ended_before_ms: 0, now_ms: last_ms });
    assert_eq!(bench.outlook(last_ms).queues[0].recent_claims_ms, [0]);
    assert!(bench.claim(limited(last_ms)).is_empty());
    assert_eq!(ids(&bench.claim(limited(day_ms))), ["b"]);
}

#[test]
fn a_thousand_lost_leases_of_one_queue_do_not_hide_those_of_another() {
    let mut bench = Bench::new();
    let many: Vec<_> = (0..1_001).map(|i| Command::Enqueue(job(&format!("j{i}"), 0))).collect();
    bench.try_all(&many).unwrap();
    bench.claim(Claim { max: 1_001, ..claim(0) });
    bench.enqueue(NewJob { queue: "other".into(), ..job("a", 1) });
    bench.claim(Claim { queue: "other".into(), ..claim(1) });
    let expired = bench.outlook(5_000).expired;
    assert_eq!(expired.iter().filter(|lease| lease.queue == "q").count(), 1_000);
    assert_eq!(expired.last().unwrap().queue, "other", "the oldest come first");
}

#[test]
fn what_is_written_for_several_jobs_at_once_is_each_ones_own() {
    let mut bench = Bench::new();
    let jobs = ["a", "b", "c", "d"].map(|id| NewJob { email: (id == "b").then(|| "ada@x".into()), ..job(id, 5) });
    let later = NewJob { now_ms: 9, ready_ms: 9, ..job("e", 9) };
    bench.try_all(&jobs.into_iter().chain([later]).map(Command::Enqueue).collect::<Vec<_>>()).unwrap();
    assert_eq!((bench.row("a").created_ms, bench.row("e").created_ms), (5, 9));
    let leases = bench.claim(Claim { max: 4, ..claim(9) });
    let settles = leases.iter().zip(["[1]", "[1]", "[2]", "[2]"]);
    let settles =
        settles.map(|(lease, result)| Settle { outcome: Outcome::Completed(json(result)), ..complete(lease, 10) });
    bench.try_all(&settles.map(Command::Settle).collect::<Vec<_>>()).unwrap();
    let results = ["a", "b", "c", "d"].map(|id| bench.row(id).result.unwrap().get().to_owned());
    assert_eq!(results, ["[1]", "[1]", "[2]", "[2]"]);
    let ends: Vec<_> = bench.ends().into_iter().map(|end| (end.seq, end.job, end.email.is_some())).collect();
    let expected = [(1, "a", false), (2, "b", true), (3, "c", false), (4, "d", false)];
    assert_eq!(ends, expected.map(|(seq, job, email)| (seq, job.to_owned(), email)));
}

#[test]
fn how_many_are_ready_is_right_whichever_way_the_time_goes() {
    let mut bench = Bench::new();
    for (id, ready_ms) in [("a", 10), ("b", 20), ("c", 20), ("d", 30)] {
        bench.enqueue(NewJob { ready_ms, ..job(id, 0) });
    }
    let ready = |bench: &mut Bench, now_ms| bench.outlook(now_ms).queues[0].ready;
    let seen = [30, 20, 10, 9, 25].map(|now_ms| ready(&mut bench, now_ms));
    assert_eq!(seen, [4, 3, 1, 0, 3]);
}

#[test]
fn a_start_is_forgotten_an_hour_after_its_window() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    bench.claim(Claim { rate: Some((1, 1_000)), ..claim(0) });
    let file = rusqlite::Connection::open(bench.path()).unwrap();
    let kept = || file.query_row("SELECT count(*) FROM rate_claim", [], |row| row.get::<_, u32>(0)).unwrap();
    for (now_ms, rows) in [(3_601_000, 1), (3_601_001, 0)] {
        bench.one(Command::Prune { ended_before_ms: 0, now_ms });
        assert_eq!(kept(), rows, "at {now_ms}");
    }
}

#[test]
fn a_batch_that_is_kept_waits_until_all_of_it_is_ready_and_none_of_it_is_leased() {
    let mut bench = Bench::new();
    ["a", "b", "c"].into_iter().for_each(|id| drop(bench.enqueue(job(id, 0))));
    let leases = bench.claim(Claim { max: 3, ..claim(0) });
    bench.settle(keep(&leases[0], 2, 1));
    bench.settle(keep(&leases[1], 5, 1));
    bench.enqueue(job("d", 2));
    let outlook = bench.outlook(6).queues.remove(0);
    assert_eq!((outlook.ready, outlook.head_keeps_batch, outlook.head_jobs), (1, false, 1), "c is leased");
    assert_eq!(bench.batch(Claim { max: 9, ..claim(3) }).0, "delivery-3", "nobody else waits for it");
    bench.settle(keep(&leases[2], 4, 4));
    let mut bench = bench.reopen();
    assert_eq!(bench.outlook(4).queues[0].next_ready_ms, Some(5));
    assert!(bench.claim(claim(4)).is_empty(), "b is not ready");
    let outlook = bench.outlook(5).queues.remove(0);
    assert_eq!((outlook.oldest_ready_ms, outlook.ready, outlook.head_jobs), (Some(5), 3, 3));
    let (batch, again) = bench.batch(claim(5));
    assert_eq!((batch.as_str(), ids(&again)), ("delivery-0", vec!["a", "c", "b"]));
}

#[test]
fn a_batch_that_is_kept_does_not_wait_for_a_job_that_has_ended() {
    for how in 0..5 {
        let mut bench = Bench::new();
        ["a", "b"].into_iter().for_each(|id| drop(bench.enqueue(job(id, 0))));
        let leases = bench.claim(Claim { max: 2, ..claim(0) });
        bench.settle(keep(&leases[0], 2, 1));
        assert!(bench.claim(claim(2)).is_empty(), "{how}");
        match how {
            0 => drop(bench.settle(complete(&leases[1], 3))),
            1 => drop(bench.settle(fail(&leases[1], Then::Fail, 3))),
            2 => drop(bench.settle(bury(&leases[1], 3))),
            3 => drop(bench.cancel("b", 3)),
            _ => {
                bench.settle(keep(&leases[1], 100, 3));
                bench.cancel("b", 3);
            }
        }
        let (batch, again) = bench.batch(claim(3));
        assert_eq!((batch.as_str(), ids(&again)), ("delivery-0", vec!["a"]), "{how}");
    }
}

#[test]
fn a_batch_that_is_kept_waits_until_the_rate_limit_leaves_room_for_all_of_it() {
    let mut bench = Bench::new();
    ["a", "b", "c"].into_iter().for_each(|id| drop(bench.enqueue(job(id, 0))));
    let limited = |starts, now_ms| Claim { max: 9, rate: Some((starts, 1_000)), ..claim(now_ms) };
    for lease in bench.claim(limited(4, 0)) {
        bench.settle(keep(&lease, 10, 1));
    }
    assert_eq!(bench.outlook(10).queues[0].head_jobs, 3);
    assert!(bench.claim(limited(4, 10)).is_empty(), "there is room for one");
    let (batch, again) = bench.batch(limited(4, 1_000));
    assert_eq!((batch.as_str(), again.len()), ("delivery-0", 3));
    for lease in &again {
        bench.settle(keep(lease, 1_010, 1_001));
    }
    // By now the limit is smaller than the batch.
    let (batch, part) = bench.batch(limited(2, 2_000));
    assert_eq!((batch.as_str(), ids(&part)), ("delivery-2000", vec!["a", "b"]), "a part is a batch of its own");
    let (batch, rest) = bench.batch(limited(2, 3_000));
    assert_eq!((batch.as_str(), ids(&rest)), ("delivery-0", vec!["c"]));
}

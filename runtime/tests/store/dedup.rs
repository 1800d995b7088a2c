//! One waiting job per entity, one that is processed, the newest payload.

use super::*;

#[test]
fn while_a_job_waits_the_newest_payload_wins() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    assert_eq!(bench.enqueue(sync("b", "2", 5)), ("a".into(), How::Coalesced));
    assert_eq!((bench.row("a").payload.get(), bench.row("a").updated_ms), ("2", 5));
    let Answer::Claimed(Some(claimed)) = bench.one(Command::Claim(claim(6))) else { panic!() };
    assert_eq!((claimed.jobs[0].payload.get(), claimed.jobs[0].version), ("2", 2));
}

#[test]
fn different_entities_and_queues_never_coalesce() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    assert_eq!(bench.enqueue(NewJob { key: Some("another".into()), ..sync("b", "2", 0) }).1, How::Created);
    assert_eq!(bench.enqueue(NewJob { queue: "another".into(), ..sync("c", "3", 0) }).1, How::Created);
    assert_eq!(bench.enqueue(job("d", 0)).1, How::Created);
    assert_eq!(bench.enqueue(job("e", 0)).1, How::Created, "without a key nothing is the same");
}

#[test]
fn while_a_job_is_processed_exactly_one_follows_it() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    let lease = bench.claim(claim(0)).remove(0);
    assert_eq!(bench.enqueue(sync("b", "2", 1)), ("b".into(), How::Created));
    assert_eq!(bench.enqueue(sync("c", "3", 2)), ("b".into(), How::Coalesced));
    assert!(bench.claim(claim(3)).is_empty(), "one is processed");
    assert_eq!(bench.outlook(3).queues[0].ready, 0);
    assert!(bench.settle(complete(&lease, 10)));
    assert_eq!(bench.outlook(10).queues[0].oldest_ready_ms, Some(1), "it has waited all the time");
    assert_eq!(ids(&bench.claim(claim(10))), ["b"]);
}

#[test]
fn a_job_that_waits_for_its_retry_still_counts_as_waiting() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    let lease = bench.claim(claim(0)).remove(0);
    bench.settle(fail(&lease, Then::RetryAt(50), 1));
    assert_eq!(bench.enqueue(sync("b", "2", 2)), ("a".into(), How::Coalesced));
    assert_eq!(bench.row("a").payload.get(), "2");
}

#[test]
fn with_a_follow_up_the_older_is_delivered_first_and_the_newer_takes_the_payload() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    let lease = bench.claim(claim(0)).remove(0);
    bench.enqueue(sync("b", "2", 1));
    bench.settle(fail(&lease, Then::RetryAt(50), 2));
    assert_eq!(bench.enqueue(sync("c", "3", 3)), ("b".into(), How::Coalesced));
    assert!(bench.claim(claim(49)).is_empty(), "the older one has to be first");
    let again = bench.claim(Claim { max: 9, ..claim(50) });
    assert_eq!(ids(&again), ["a"]);
    bench.settle(complete(&again[0], 51));
    assert_eq!(ids(&bench.claim(claim(51))), ["b"]);
}

#[test]
fn every_final_end_lets_the_next_one_go_on_at_once() {
    for how in 0..5 {
        let mut bench = Bench::new();
        bench.enqueue(sync("a", "1", 0));
        let lease = bench.claim(claim(0)).remove(0);
        bench.enqueue(sync("b", "2", 1));
        match how {
            0 => drop(bench.settle(complete(&lease, 5))),
            1 => drop(bench.settle(fail(&lease, Then::Fail, 5))),
            2 => drop(bench.settle(bury(&lease, 5))),
            3 => drop(bench.cancel("a", 5)),
            _ => {
                bench.settle(fail(&lease, Then::RetryAt(100), 2));
                bench.cancel("a", 5);
            }
        }
        assert_eq!(ids(&bench.claim(claim(5))), ["b"], "{how}");
    }
}

#[test]
fn a_follow_up_keeps_its_own_ready_time_if_that_is_later() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    let lease = bench.claim(claim(0)).remove(0);
    bench.enqueue(NewJob { ready_ms: 30, ..sync("b", "2", 1) });
    bench.settle(complete(&lease, 10));
    assert!(bench.claim(claim(29)).is_empty());
    assert_eq!(ids(&bench.claim(claim(30))), ["b"]);
}

#[test]
fn a_cancelled_follow_up_leaves_the_older_one_alone() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    let lease = bench.claim(claim(0)).remove(0);
    bench.enqueue(sync("b", "2", 1));
    assert_eq!(bench.cancel("b", 2), Ending::Done);
    assert!(bench.claim(claim(3)).is_empty());
    assert!(bench.settle(complete(&lease, 4)));
    assert_eq!(bench.enqueue(sync("c", "3", 5)).1, How::Created, "the key is free");
}

#[test]
fn an_idempotency_key_stands_for_the_job_that_took_the_payload() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    let again = |id: &str, now_ms| NewJob { key: Some("entity".into()), ..once(id, "key", "print", now_ms) };
    assert_eq!(bench.enqueue(again("b", 1)), ("a".into(), How::Coalesced));
    assert_eq!(bench.enqueue(again("c", 2)), ("a".into(), How::Replayed));
}

#[test]
fn a_repeated_request_is_no_newer_payload() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    assert_eq!(bench.enqueue(sync("b", "2", 1)), ("a".into(), How::Coalesced));
    assert_eq!(bench.enqueue(sync("c", "3", 2)), ("a".into(), How::Coalesced));
    assert_eq!(bench.enqueue(sync("b", "2", 3)), ("a".into(), How::Replayed));
    assert_eq!(bench.row("a").payload.get(), "3");
    let lease = bench.claim(claim(4)).remove(0);
    assert_eq!(bench.enqueue(sync("b", "2", 5)), ("a".into(), How::Replayed), "nor does it follow the job that runs");
    bench.settle(complete(&lease, 6));
    assert_eq!(bench.enqueue(sync("b", "2", 7)), ("a".into(), How::Replayed), "nor is it a new job after that");
    assert_eq!(bench.enqueue(sync("b", "2", 101)), ("b".into(), How::Created), "after its time it is");
}

#[test]
fn a_job_that_waits_takes_nothing_of_another_user() {
    let mut bench = Bench::new();
    let bens =
        |id: &str, now_ms| NewJob { user: "ben".into(), email: Some("b@example.org".into()), ..sync(id, "2", now_ms) };
    bench.enqueue(sync("a", "1", 0));
    assert!(matches!(bench.one(Command::Enqueue(bens("b", 1))), Answer::OthersEntity));
    assert_eq!((bench.row("a").payload.get(), bench.row("a").updated_ms), ("1", 0));
    let lease = bench.claim(claim(2)).remove(0);
    assert_eq!(bench.enqueue(bens("b", 3)).1, How::Created, "while it runs, the other's may follow it");
    assert!(matches!(bench.one(Command::Enqueue(sync("c", "3", 4))), Answer::OthersEntity));
    bench.settle(complete(&lease, 5));
    assert_eq!(ids(&bench.claim(claim(5))), ["b"]);
}

#[test]
fn a_mail_is_sent_to_the_address_that_was_given_last() {
    let mut bench = Bench::new();
    bench.enqueue(NewJob { email: Some("old@example.org".into()), ..sync("a", "1", 0) });
    bench.enqueue(NewJob { email: Some("new@example.org".into()), ..sync("b", "2", 0) });
    bench.enqueue(sync("c", "3", 0));
    bench.cancel("a", 1);
    assert_eq!(bench.ends()[0].email.as_deref(), Some("new@example.org"));
}

#[test]
fn a_job_that_takes_a_newer_payload_leaves_the_batch_that_it_was_tried_in() {
    for reopens in [false, true] {
        let mut bench = Bench::new();
        bench.enqueue(sync("a", "1", 0));
        bench.enqueue(NewJob { key: Some("another".into()), ..sync("b", "1", 0) });
        for lease in bench.claim(Claim { max: 2, ..claim(0) }) {
            bench.settle(keep(&lease, 2, 1));
        }
        assert_eq!(bench.enqueue(sync("c", "2", 2)), ("a".into(), How::Coalesced));
        if reopens {
            bench = bench.reopen();
        }
        let outlook = bench.outlook(3).queues.remove(0);
        assert_eq!((outlook.ready, outlook.head_jobs), (2, 1));
        // Whoever has stored the first batch under its id takes the newer payload for another.
        let (newer, kept) = (bench.batch(Claim { max: 9, ..claim(3) }), bench.batch(Claim { max: 9, ..claim(4) }));
        assert_eq!((newer.0.as_str(), ids(&newer.1)), ("delivery-3", vec!["a"]));
        assert_eq!((kept.0.as_str(), ids(&kept.1)), ("delivery-0", vec!["b"]));
    }
}

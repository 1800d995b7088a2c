//! Final ends: what is kept, what is told, what can be brought back.

use super::*;
use kew_spec::lifecycle::Status;

#[test]
fn every_final_end_is_told_once_in_its_order() {
    let mut bench = Bench::new();
    for id in ["done", "failed", "dead", "retried"] {
        bench.enqueue(job(id, 0));
    }
    let leases = bench.claim(Claim { max: 9, ..claim(0) });
    bench.settle(complete(&leases[0], 1));
    bench.settle(fail(&leases[1], Then::Fail, 2));
    bench.settle(bury(&leases[2], 3));
    bench.settle(fail(&leases[3], Then::RetryAt(9), 4));
    let ends = bench.ends();
    let seen: Vec<_> = ends.iter().map(|end| (end.seq, end.job.as_str(), end.status, end.ended_ms)).collect();
    let expected =
        [(1, "done", Status::Completed, 1), (2, "failed", Status::Failed, 2), (3, "dead", Status::Failed, 3)];
    assert_eq!(seen, expected);
    assert_eq!(ends[0].error, None);
    assert_eq!((ends[2].error.as_deref(), ends[2].dead_letter_queue.as_deref()), (Some("it broke"), Some("dlq")));
}

#[test]
fn a_dead_letter_keeps_everything_that_is_known_of_it() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let first = bench.claim(claim(1)).remove(0);
    bench.settle(Settle { outcome: Outcome::TimedOut("slow".into()), ..fail(&first, Then::RetryAt(2), 2) });
    let second = bench.claim(claim(3)).remove(0);
    bench.settle(bury(&second, 4));
    let letter = bench.dead_letters().remove(0);
    assert_eq!((letter.job.id.as_str(), letter.died_ms, letter.job.payload.get()), ("a", 4, "{}"));
    assert_eq!(letter.job.dead_letter_queue.as_deref(), Some("dlq"));
    let attempt = |attempt, outcome: &str, error: &str, started_ms, ended_ms| FailedAttempt {
        attempt,
        outcome: outcome.into(),
        error: error.into(),
        started_ms,
        ended_ms,
    };
    assert_eq!(letter.attempts, [attempt(1, "timed-out", "slow", 1, 2), attempt(2, "failed", "it broke", 3, 4)]);
}

#[test]
fn a_redriven_job_goes_back_with_fresh_attempts_and_no_old_lease_fits_it() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let dead = bench.claim(claim(0)).remove(0);
    bench.settle(bury(&dead, 1));
    assert_eq!(bench.redrive("a", 2), Ending::Done);
    assert!(bench.dead_letters().is_empty());
    let row = bench.row("a");
    assert_eq!((row.status, row.error, row.retry_count, row.completed_ms), (Status::Pending, None, 0, None));
    let fresh = bench.claim(claim(2)).remove(0);
    assert_eq!((fresh.attempt, fresh.fence), (1, 2));
    assert!(!bench.settle(complete(&dead, 3)));
    bench.settle(bury(&fresh, 4));
    assert_eq!(bench.dead_letters()[0].attempts.len(), 1, "those since it was redriven");
}

#[test]
fn a_dead_letter_stays_dead_while_its_key_is_taken() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 0));
    let lease = bench.claim(claim(0)).remove(0);
    bench.settle(bury(&lease, 1));
    bench.enqueue(sync("b", "2", 2));
    assert_eq!(bench.redrive("a", 3), Ending::KeyTaken);
    bench.cancel("b", 4);
    assert_eq!(bench.redrive("a", 5), Ending::Done);
}

#[test]
fn a_purged_dead_letter_leaves_its_row() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let lease = bench.claim(claim(0)).remove(0);
    bench.settle(bury(&lease, 1));
    let purge = || Command::Purge { job: "a".into(), now_ms: 2 };
    assert_eq!(bench.ending(purge()), Ending::Done);
    assert!(bench.dead_letters().is_empty());
    assert_eq!((bench.row("a").status, bench.row("a").dead_letter_queue), (Status::Failed, None));
    assert_eq!(bench.ending(purge()), Ending::NotAllowed);
    assert_eq!(bench.redrive("a", 3), Ending::NotAllowed);
    assert_eq!(bench.redrive("nobody", 3), Ending::NotFound);
}

#[test]
fn a_job_that_has_not_ended_can_be_cancelled_by_its_user_or_an_operator() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let theirs = Command::Cancel { job: "a".into(), user: Some("bo".into()), now_ms: 1 };
    assert_eq!(bench.ending(theirs), Ending::NotFound);
    let lease = bench.claim(claim(1)).remove(0);
    let own = Command::Cancel { job: "a".into(), user: Some("ada".into()), now_ms: 2 };
    assert_eq!(bench.ending(own), Ending::Done);
    let row = bench.row("a");
    assert_eq!((row.status, row.error.as_deref(), row.completed_ms), (Status::Failed, Some("cancelled"), Some(2)));
    assert!(!bench.settle(complete(&lease, 3)), "its late answer changes nothing");
    assert_eq!(bench.cancel("a", 4), Ending::NotAllowed);
    assert_eq!(bench.cancel("nobody", 4), Ending::NotFound);
    assert_eq!(bench.ends().len(), 1);
}

#[test]
fn an_end_is_forgotten_when_it_is_old_and_has_been_told() {
    let mut bench = Bench::new();
    for (id, now_ms) in [("a", 10), ("b", 20), ("c", 30)] {
        bench.enqueue(job(id, now_ms));
        bench.cancel(id, now_ms);
    }
    let mut left = |command| {
        bench.one(command);
        bench.ends().len()
    };
    let prune = |ended_before_ms| Command::Prune { ended_before_ms, now_ms: 100 };
    assert_eq!(left(prune(100)), 3, "nothing has been told");
    assert_eq!(left(Command::Told { through: 2, now_ms: 40 }), 3);
    assert_eq!(left(Command::Told { through: 1, now_ms: 50 }), 3, "what was told stays told");
    assert_eq!(left(prune(100)), 1);
    assert!(matches!(bench.read(Query::Told), Rows::Told { through: 2, newest: 3 }));
}

#[test]
fn a_job_is_forgotten_when_its_last_end_is_old_and_it_is_no_dead_letter() {
    let mut bench = Bench::new();
    for id in ["done", "dead", "redriven"] {
        bench.enqueue(job(id, 0));
    }
    let mut leases = bench.claim(Claim { max: 3, ..claim(0) }).into_iter();
    bench.settle(complete(&leases.next().unwrap(), 10));
    for lease in leases {
        bench.settle(bury(&lease, 10));
    }
    bench.redrive("redriven", 20);
    let again = bench.claim(claim(20)).remove(0);
    assert_eq!(again.job, "redriven");
    bench.enqueue(job("live", 25));
    bench.settle(complete(&again, 30));
    let mut left = |ended_before_ms| {
        bench.one(Command::Prune { ended_before_ms, now_ms: 100 });
        let Rows::Jobs(rows) = bench.read(Query::JobsOf { user: "ada".into(), after: None, limit: 9 }) else {
            panic!()
        };
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(left(10), ["live", "redriven", "dead", "done"], "at its very time it is still kept");
    assert_eq!(left(11), ["live", "redriven", "dead"]);
    assert_eq!(left(31), ["live", "dead"]);
    assert_eq!(bench.ending(Command::Purge { job: "dead".into(), now_ms: 110 }), Ending::Done);
    assert!(matches!(bench.read(Query::Job { job: "dead".into() }), Rows::Jobs(rows) if rows.is_empty()));
}

#[test]
fn lists_come_in_pages() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c"] {
        bench.enqueue(job(id, 0));
    }
    bench.enqueue(NewJob { user: "bo".into(), ..job("d", 0) });
    for lease in bench.claim(Claim { max: 3, ..claim(0) }) {
        bench.settle(bury(&lease, 1));
    }
    let mut page = |after: Option<&str>| match bench.read(Query::JobsOf {
        user: "ada".into(),
        after: after.map(Into::into),
        limit: 2,
    }) {
        Rows::Jobs(rows) => rows.into_iter().map(|row| row.id).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!((page(None), page(Some("b"))), (vec!["c".into(), "b".into()], vec!["a".into()]));
    let mut page = |after: Option<&str>| match bench.read(Query::DeadLetters {
        dead_letter_queue: "dlq".into(),
        after: after.map(Into::into),
        limit: 2,
    }) {
        Rows::DeadLetters(rows) => rows.into_iter().map(|row| row.job.id).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!((page(None), page(Some("b"))), (vec!["a".into(), "b".into()], vec!["c".into()]));
}

#[test]
fn depths_count_who_waits_and_who_is_processed() {
    let mut bench = Bench::new();
    for (id, now_ms) in [("a", 1), ("b", 2), ("c", 3)] {
        bench.enqueue(job(id, now_ms));
    }
    bench.claim(claim(5));
    bench.one(Command::Pause { queue: "empty".into(), paused: true, now_ms: 6 });
    let Rows::Depths(depths) = bench.read(Query::Depths) else { panic!() };
    let empty = Depth { queue: "empty".into(), waiting: 0, processing: 0, oldest_created_ms: None, paused: true };
    let full = Depth { queue: "q".into(), waiting: 2, processing: 1, oldest_created_ms: Some(1), paused: false };
    assert_eq!(depths, [empty, full]);
}

#[test]
fn a_job_that_completed_or_was_cancelled_leaves_its_row_and_its_end_and_nothing_else() {
    let mut bench = Bench::new();
    for id in ["done", "cancelled"] {
        bench.enqueue(once(id, id, "print", 0));
    }
    for lease in bench.claim(Claim { max: 2, ..claim(0) }) {
        bench.settle(fail(&lease, Then::RetryAt(1), 1));
    }
    let again = bench.claim(claim(2)).remove(0);
    bench.settle(complete(&again, 3));
    bench.cancel("cancelled", 3);
    bench.one(Command::Prune { ended_before_ms: 0, now_ms: 100 });
    let connection = rusqlite::Connection::open(bench.path()).unwrap();
    let left = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!((left("job_status"), left("job_end")), (2, 2));
    assert_eq!((left("live"), left("failed_attempt"), left("dead_letter"), left("idempotency")), (0, 0, 0, 0));
}

#[test]
fn attempts_are_kept_where_a_dead_letter_may_show_them_and_nowhere_else() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    for (now_ms, keep_attempts) in [(1, false), (3, true), (5, false)] {
        let lease = bench.claim(Claim { keep_attempts, ..claim(now_ms) }).remove(0);
        // What a restart finds in the file is as much.
        bench = bench.reopen();
        bench.settle(fail(&lease, Then::RetryAt(now_ms + 2), now_ms + 1));
        let row = bench.row("a");
        assert_eq!(
            (row.error.as_deref(), row.retry_count),
            (Some("it broke"), lease.attempt - 1),
            "its last error is shown"
        );
    }
    let last = bench.claim(claim(7)).remove(0);
    bench.settle(bury(&last, 8));
    let kept = bench.dead_letters().remove(0).attempts;
    assert_eq!(kept.iter().map(|it| it.attempt).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn an_old_end_behind_a_newer_one_is_forgotten_with_it() {
    let mut bench = Bench::new();
    // Between the second and the third the clock was set back.
    for (id, ended_ms) in [("first", 10), ("newer", 50), ("old", 20)] {
        bench.enqueue(job(id, 0));
        bench.cancel(id, ended_ms);
    }
    let mut left = |ended_before_ms| {
        bench.one(Command::Prune { ended_before_ms, now_ms: 100 });
        let rows = ["first", "newer", "old"].map(|id| bench.jobs(id));
        rows.into_iter().flatten().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(left(30), ["newer", "old"]);
    assert!(left(51).is_empty());
}

#[test]
fn an_end_that_has_not_been_told_outlives_its_job_over_several_prunes() {
    let mut bench = Bench::new();
    for (id, ended_ms) in [("a", 10), ("b", 20)] {
        bench.enqueue(job(id, 0));
        let lease = bench.claim(claim(ended_ms)).remove(0);
        bench.settle(complete(&lease, ended_ms));
    }
    for ended_before_ms in [15, 25] {
        bench.one(Command::Prune { ended_before_ms, now_ms: 100 });
    }
    assert!(bench.jobs("a").is_empty() && bench.jobs("b").is_empty());
    let ends: Vec<_> = bench.ends().into_iter().map(|end| (end.job, end.user)).collect();
    assert_eq!(ends, ["a", "b"].map(|id| (id.to_owned(), "ada".to_owned())));
}

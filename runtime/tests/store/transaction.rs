//! All or nothing, and going on after a failure.

use super::*;

#[test]
fn commands_of_one_transaction_see_each_other() {
    let mut bench = Bench::new();
    let answers = bench.try_all(&[Command::Enqueue(job("a", 0)), Command::Claim(claim(1))]).unwrap();
    assert!(matches!(&answers[1], Answer::Claimed(Some(claimed)) if claimed.jobs[0].lease.job == "a"));
    assert!(bench.try_all(&[]).unwrap().is_empty());
}

#[test]
fn what_is_applied_is_seen_by_the_store_alone_until_it_is_committed() {
    let mut bench = Bench::new();
    bench.apply(&[Command::Enqueue(job("a", 0))]).unwrap();
    assert_eq!(bench.outlook(0).queues[0].ready, 1);
    assert!(bench.jobs("a").is_empty());
    bench.apply(&[Command::Claim(claim(1))]).unwrap();
    bench.commit().unwrap();
    assert_eq!(bench.row("a").status, Status::Processing);
    assert!(bench.commit().is_ok(), "there is nothing more to commit");
}

#[test]
fn what_was_not_committed_is_gone_when_the_store_is_opened_again() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    bench.apply(&[Command::Claim(claim(1)), Command::Enqueue(job("b", 1))]).unwrap();
    let mut bench = bench.reopen();
    assert_eq!(bench.row("a").status, Status::Pending);
    assert!(bench.jobs("b").is_empty());
    assert_eq!(bench.claim(claim(2)).len(), 1);
}

#[test]
fn a_failure_takes_back_what_was_applied_before_it_in_the_same_transaction() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let other = rusqlite::Connection::open(bench.path()).unwrap();
    other.execute("UPDATE job_status SET payload = NULL", []).unwrap();
    bench.apply(&[Command::Enqueue(job("b", 1))]).unwrap();
    bench.apply(&[Command::Claim(claim(2))]).unwrap_err();
    bench.commit().unwrap();
    assert!(bench.jobs("b").is_empty());
    assert_eq!(bench.outlook(2).queues[0].ready, 1);
}

#[test]
fn a_job_that_is_cancelled_twice_in_one_transaction_ends_once() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let cancel = Command::Cancel { job: "a".into(), user: None, now_ms: 1 };
    let answers = bench.try_all(&[cancel.clone(), cancel]).unwrap();
    assert!(matches!(answers[..], [Answer::Ended(Ending::Done), Answer::Ended(Ending::NotAllowed)]), "{answers:?}");
    let Rows::Ends(ends) = bench.read(Query::Ends { after: 0, limit: 10 }) else { panic!() };
    assert_eq!(ends.len(), 1);
}

#[test]
fn a_command_that_fails_takes_the_whole_transaction_back_and_the_store_goes_on() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    assert_eq!(bench.outlook(0).queues[0].ready, 1);
    let other = rusqlite::Connection::open(bench.path()).unwrap();
    other.execute("UPDATE job_status SET payload = NULL", []).unwrap();
    let error = bench.try_all(&[Command::Enqueue(job("b", 5)), Command::Claim(claim(6))]).unwrap_err();
    assert_eq!(error.context, "claim from q");
    assert!(bench.jobs("b").is_empty());
    assert_eq!(bench.store.last_ms().now_or_never().unwrap().unwrap(), 0);
    assert_eq!(bench.outlook(6).queues[0].ready, 1, "what was counted along is taken back too");
    other.execute("UPDATE job_status SET payload = '{}'", []).unwrap();
    assert_eq!(bench.enqueue(job("b", 5)).1, How::Created);
}

#[test]
fn a_store_that_is_written_by_another_program_says_so_and_goes_on_after_it() {
    let mut bench = Bench::new();
    let other = rusqlite::Connection::open(bench.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = bench.try_all(&[Command::Enqueue(job("a", 0))]).unwrap_err();
    assert_eq!(error.context, "begin a transaction");
    assert!(error.reason.starts_with("another program is using the file, end it"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(bench.enqueue(job("a", 0)).1, How::Created);
}

#[test]
fn the_time_of_the_last_command_is_kept_and_never_goes_back() {
    let mut bench = Bench::new();
    bench.one(Command::Prune { ended_before_ms: 0, now_ms: 70 });
    bench.one(Command::Prune { ended_before_ms: 0, now_ms: 50 });
    assert_eq!(bench.store.last_ms().now_or_never().unwrap().unwrap(), 70);
}

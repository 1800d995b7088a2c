//! What faults of a disk that has power do to commits.

use kew_sim::disk::{Disk, Faults, Geometry, Loss, Slow, SyncFailure, Trigger};

use super::*;

#[test]
fn a_disk_that_lies_about_sync_is_noticed() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    disk.set_faults(Faults { sync_lies: Trigger::Always, ..Faults::default() });
    assert_eq!(run(&db, 60), 60, "a lie reports success");
    disk.power_cut(Loss::subset(512));
    drop(db);
    disk.heal();
    assert_ne!(reopen(&disk), Some(found(60)));
}

#[test]
fn a_full_disk_refuses_a_commit_and_takes_it_when_there_is_room_again() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    disk.set_faults(Faults { capacity_bytes: Some(60_000), ..Faults::default() });
    let fitted = run(&db, 1000);
    assert!((1..1000).contains(&fitted));
    let refused = insert(&db, fitted + 1).unwrap_err();
    assert!(is(&refused, ErrorCode::DiskFull), "{refused}");
    disk.heal();
    insert(&db, fitted + 1).unwrap();
    disk.power_cut(Loss::DropAll);
    drop(db);
    assert_eq!(reopen(&disk), Some(found(fitted + 1)));
}

#[test]
fn a_commit_whose_sync_failed_may_or_may_not_be_there() {
    let outcome = |loss| {
        let disk = Disk::new(HOST, 1);
        let db = open(FULL).unwrap();
        assert_eq!(run(&db, 10), 10);
        disk.set_faults(Faults { sync_fails: Trigger::Next, ..Faults::default() });
        let failed = insert(&db, 11).unwrap_err();
        assert!(is(&failed, ErrorCode::SystemIoFailure), "{failed}");
        disk.power_cut(loss);
        drop(db);
        reopen(&disk)
    };
    assert_eq!(outcome(Loss::DropAll), Some(found(10)));
    assert_eq!(outcome(Loss::KeepAll), Some(found(11)));
}

#[test]
fn a_sync_that_fails_and_forgets_is_not_mended_by_the_next_one() {
    /// SQLite syncs a WAL's header apart from its commits.
    const HEADER_BYTES: usize = 32;
    let wal_bytes = |sync_failure| {
        let disk = Disk::new(HOST, 1);
        let db = open(NORMAL).unwrap();
        assert_eq!(run(&db, 5), 5);
        let sync_fails = Trigger::Next;
        disk.set_faults(Faults { sync_fails, sync_failure, ..Faults::default() });
        assert!(db.query_row("PRAGMA wal_checkpoint", [], |_| Ok(())).is_err());
        db.query_row("PRAGMA wal_checkpoint", [], |_| Ok(())).unwrap();
        assert_eq!(disk.stats().faults, 1);
        disk.power_cut(Loss::DropAll);
        drop(db);
        // The checkpoint copied what the cache showed, so look at the WAL alone.
        disk.files()["queue.db-wal"].len()
    };
    assert!(wal_bytes(SyncFailure::Retryable) > HEADER_BYTES);
    assert_eq!(wal_bytes(SyncFailure::Forgets), HEADER_BYTES);
}

#[test]
fn what_a_failed_sync_forgets_takes_later_commits_with_it_only_without_powersafe_overwrite() {
    let left = |powersafe_overwrite| {
        let disk = Disk::with_geometry(HOST, 1, Geometry { powersafe_overwrite, ..Geometry::default() });
        let db = open(FULL).unwrap();
        assert_eq!(run(&db, 3), 3);
        let (sync_fails, sync_failure) = (Trigger::Next, SyncFailure::Forgets);
        disk.set_faults(Faults { sync_fails, sync_failure, ..Faults::default() });
        assert!(insert(&db, 4).is_err());
        (4..=6).for_each(|id| assert!(insert(&db, id).is_ok()));
        disk.power_cut(Loss::DropAll);
        drop(db);
        reopen(&disk)
    };
    assert_eq!(left(true), Some(found(6)), "the failed frames are written again");
    // A commit is padded to the end of a sector, and what the padding has beyond it waits for the next commit's sync.
    // That one forgets it, nothing writes it again, and the log ends there.
    assert_eq!(left(false), Some(found(3)), "commits that were acknowledged after the failure are gone");
}

#[test]
fn a_directory_sync_that_lies_loses_a_new_log_and_every_commit_in_it() {
    let left = |directory_sync_lies| {
        let disk = Disk::new(HOST, 1);
        let db = open(FULL).unwrap();
        assert_eq!(run(&db, 1), 1);
        db.close().unwrap();
        disk.set_faults(Faults { directory_sync_lies, ..Faults::default() });
        let db = open(FULL).unwrap();
        (2..=5).for_each(|id| assert!(insert(&db, id).is_ok(), "a lie reports success"));
        disk.power_cut(Loss::DropAll);
        drop(db);
        reopen(&disk)
    };
    assert_eq!(left(Trigger::Never), Some(found(5)));
    assert_eq!(left(Trigger::Always), Some(found(1)), "sound, and as if nothing had been acknowledged");
}

#[test]
fn the_nth_sync_fails_and_no_other() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    let nth = disk.stats().syncs + 3;
    disk.set_faults(Faults { sync_fails: Trigger::At(nth), ..Faults::default() });
    assert_eq!(run(&db, 10), 2);
    insert(&db, 3).unwrap();
    assert_eq!(disk.stats().faults, 1);
}

#[test]
fn a_failed_read_is_an_error_and_passes() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    assert_eq!(run(&db, 50), 50);
    db.close().unwrap();
    for fault in [
        Faults { read_fails: Trigger::Always, ..Faults::default() },
        Faults { read_short: Trigger::Always, ..Faults::default() },
    ] {
        disk.set_faults(fault);
        assert!(open(FULL).and_then(|db| look(&db)).is_err(), "{fault:?}");
        disk.heal();
        assert_eq!(open(FULL).and_then(|db| look(&db)).unwrap(), found(50));
    }
}

#[test]
fn a_failed_write_rolls_the_commit_back() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    disk.set_faults(Faults { write_fails: Trigger::Next, ..Faults::default() });
    assert_eq!(run(&db, 1), 0);
    assert_eq!(run(&db, 3), 3);
    disk.power_cut(Loss::DropAll);
    drop(db);
    assert_eq!(reopen(&disk), Some(found(3)));
}

#[test]
fn a_slow_disk_adds_up_what_it_owes() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    disk.set_faults(Faults { slow: Slow { sync_us: 4_000, ..Slow::default() }, ..Faults::default() });
    assert_eq!(disk.take_delay().as_micros(), 0);
    let syncs = disk.stats().syncs;
    insert(&db, 1).unwrap();
    let owed = u128::from(disk.stats().syncs - syncs) * 4_000;
    assert_eq!(disk.take_delay().as_micros(), owed);
    assert_eq!(disk.take_delay().as_micros(), 0);
}

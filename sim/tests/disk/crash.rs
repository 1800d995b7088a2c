//! What the death of the process and a power cut leave, and that dead handles are dead.

use kew_sim::disk::{Disk, Loss};

use super::*;

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    for setting in [FULL, NORMAL, OFF, EXCLUSIVE, ROLLBACK] {
        let disk = Disk::new(HOST, 1);
        let db = open(setting).unwrap();
        assert_eq!(run(&db, 20), 20);
        disk.kill();
        drop(db);
        assert_eq!(reopen(&disk), Some(found(20)), "{}", setting.synchronous);
    }
}

#[test]
fn a_power_cut_keeps_every_commit_at_full() {
    for setting in [FULL, EXCLUSIVE, ROLLBACK] {
        let disk = Disk::new(HOST, 1);
        let db = open(setting).unwrap();
        assert_eq!(run(&db, 20), 20);
        disk.power_cut(Loss::DropAll);
        drop(db);
        assert_eq!(reopen(&disk), Some(found(20)), "{}", setting.journal);
    }
}

#[test]
fn a_power_cut_loses_commits_at_normal_and_leaves_a_sound_database() {
    let disk = Disk::new(HOST, 1);
    let db = open(NORMAL).unwrap();
    assert_eq!(run(&db, 20), 20);
    disk.power_cut(Loss::DropAll);
    drop(db);
    let left = reopen(&disk).expect("readable");
    assert!(left.rows < 20 && left.prefix && left.sound, "{left:?}");
}

#[test]
fn what_a_killed_process_did_not_sync_is_lost_to_a_later_power_cut() {
    let disk = Disk::new(HOST, 1);
    let db = open(NORMAL).unwrap();
    assert_eq!(run(&db, 10), 10);
    disk.kill();
    disk.power_cut(Loss::DropAll);
    drop(db);
    assert!(reopen(&disk).expect("readable").rows < 10);
}

#[test]
fn a_deleted_journal_does_not_come_back_once_the_wal_is_synced() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    assert_eq!(run(&db, 1), 1);
    disk.power_cut(Loss::DropAll);
    drop(db);
    assert!(!disk.files().contains_key("queue.db-journal"), "it would roll the database back");
    assert_eq!(reopen(&disk), Some(found(1)));
}

#[test]
fn handles_of_a_boot_that_is_over_are_dead() {
    for power in [false, true] {
        let disk = Disk::new(HOST, 1);
        let old = open(OFF).unwrap();
        assert_eq!(run(&old, 5), 5);
        old.execute_batch("BEGIN; INSERT INTO job VALUES (99, 'in flight')").unwrap();
        if power {
            disk.power_cut(Loss::KeepAll)
        } else {
            disk.kill()
        }
        assert!(Disk::open(&path()).and_then(|db| look(&db)).is_err(), "the disk is down");
        let (files, stats) = (disk.files(), disk.stats());
        assert!(old.execute_batch("COMMIT").is_err());
        assert!(look(&old).is_err());
        drop(old);
        assert!(disk.files() == files && disk.stats() == stats, "a dead handle did something");
        assert_eq!(reopen(&disk), Some(found(5)));
    }
}

#[test]
fn a_dead_connection_that_is_dropped_late_spares_the_next_boot() {
    for setting in [FULL, ROLLBACK] {
        let disk = Disk::new(HOST, 1);
        let old = open(setting).unwrap();
        old.execute_batch("BEGIN IMMEDIATE; INSERT INTO job VALUES (1, 'in flight')").unwrap();
        disk.kill();
        disk.restart();
        let new = open(setting).unwrap();
        assert_eq!(run(&new, 3), 3);
        assert!(old.execute_batch("COMMIT").is_err());
        drop(old);
        insert(&new, 4).unwrap();
        assert_eq!(look(&new).unwrap(), found(4));
    }
}

#[test]
fn a_dead_connection_opens_no_journal_on_the_next_boots_disk() {
    let disk = Disk::new(HOST, 1);
    let old = open(ROLLBACK).unwrap();
    old.execute_batch("BEGIN IMMEDIATE").unwrap();
    disk.kill();
    disk.restart();
    assert!(insert(&old, 1).is_err());
    drop(old);
    assert!(!disk.files().contains_key("queue.db-journal"));
}

#[test]
fn a_graceful_close_leaves_only_the_database() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    assert_eq!(run(&db, 5), 5);
    db.close().unwrap();
    assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), ["queue.db"]);
    disk.power_cut(Loss::DropAll);
    assert_eq!(reopen(&disk), Some(found(5)));
}

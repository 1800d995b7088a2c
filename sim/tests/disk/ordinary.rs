//! What a database expects of any disk: several connections, temporary files, time.

use kew_sim::disk::{Disk, Geometry, Loss, VFS, set_now_ms};
use rusqlite::OpenFlags;

use super::*;

#[test]
fn a_reader_keeps_its_snapshot_while_the_writer_commits() {
    let _disk = Disk::new(HOST, 1);
    let writer = open(FULL).unwrap();
    assert_eq!(run(&writer, 1), 1);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = Connection::open_with_flags_and_vfs(path(), flags, VFS).unwrap();
    let count = |db: &Connection| -> i64 { db.query_row("SELECT count(*) FROM job", [], |row| row.get(0)).unwrap() };
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&reader), 1);
    (2..100).for_each(|id| assert!(insert(&writer, id).is_ok()));
    assert_eq!((count(&reader), count(&writer)), (1, 99));
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&reader), 99);
    assert!(insert(&reader, 100).is_err(), "it is read-only");
}

#[test]
fn a_second_writer_is_told_that_the_database_is_busy() {
    let _disk = Disk::new(HOST, 1);
    for setting in [FULL, ROLLBACK] {
        let (first, second) = (open(setting).unwrap(), open(setting).unwrap());
        second.busy_timeout(std::time::Duration::from_secs(3600)).unwrap();
        first.execute_batch("BEGIN IMMEDIATE").unwrap();
        let refused = second.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        assert!(is(&refused, ErrorCode::DatabaseBusy), "{refused}");
        first.execute_batch("COMMIT").unwrap();
        second.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
    }
}

#[test]
fn vacuum_and_large_sorts_find_room_for_their_temporary_files() {
    let disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    db.pragma_update(None, "cache_size", 10).unwrap();
    db.pragma_update(None, "temp_store", "FILE").unwrap();
    assert_eq!(run(&db, 300), 300);
    db.execute_batch("CREATE INDEX by_body ON job (body); DELETE FROM job WHERE id > 10").unwrap();
    db.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert_eq!(look(&db).unwrap(), found(10));
    assert!(disk.files()["queue.db"].len() < 50_000);
    disk.power_cut(Loss::DropAll);
    drop(db);
    assert_eq!(reopen(&disk), Some(found(10)));
}

#[test]
fn a_log_that_is_never_synced_is_folded_and_still_drops_and_keeps_exactly() {
    let written = |loss| {
        let disk = Disk::new(HOST, 1);
        let db = open(Setting { journal: "MEMORY", ..OFF }).unwrap();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)
                    INSERT INTO job SELECT i, printf('%0*d', 400 + ?1, i) FROM n";
        for round in 0..60 {
            db.execute("DELETE FROM job", []).unwrap();
            db.execute(fill, [round]).unwrap();
        }
        let before = disk.files();
        assert!(before["queue.db"].len() < 1 << 20);
        assert!(disk.stats().bytes_written > 10 << 20, "{:?}", disk.stats());
        disk.power_cut(loss);
        drop(db);
        (before, disk.files())
    };
    let (before, after) = written(Loss::KeepAll);
    assert!(before == after);
    let (_, after) = written(Loss::DropAll);
    assert!(after.is_empty(), "nothing was ever synced");
}

#[test]
fn sql_reads_the_simulated_clock() {
    let _disk = Disk::new(HOST, 1);
    let db = open(FULL).unwrap();
    set_now_ms(1_750_000_000_123);
    let sql = "SELECT unixepoch(), strftime('%f', 'now')";
    let now: (i64, String) = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(now, (1_750_000_000, "40.123".to_owned()));
}

#[test]
fn a_disk_declares_its_geometry() {
    let geometry = Geometry { sector_bytes: 512, powersafe_overwrite: true };
    let promised = Disk::with_geometry(HOST, 1, geometry);
    run(&open(FULL).unwrap(), 20);
    let strict = Disk::new(HOST, 1);
    run(&open(FULL).unwrap(), 20);
    let (promised, strict) = (promised.stats().bytes_written, strict.stats().bytes_written);
    assert!(promised < strict, "padding: {promised} < {strict}");
}

#[test]
fn names_that_nothing_ever_syncs_do_not_pile_up() {
    let disk = Disk::new(HOST, 1);
    let db = open(Setting { synchronous: "OFF", ..ROLLBACK }).unwrap();
    assert_eq!(run(&db, 2000), 2000);
    assert_eq!(disk.stats().directory_syncs, 0);
    disk.power_cut(Loss::KeepAll);
    drop(db);
    assert_eq!(reopen(&disk), Some(found(2000)));
}

#[test]
fn a_new_disk_takes_the_place_of_a_hosts_old_one() {
    Disk::new(HOST, 1);
    let old = open(FULL).unwrap();
    let disk = Disk::new(HOST, 1);
    assert!(insert(&old, 1).is_err());
    drop(old);
    assert!(disk.files().is_empty());
    assert!(Disk::of("another host").is_none());
}

//! Same seed, same bytes. Alone in its program: SQLite's random generator is one per process,
//! and tests beside this one would draw from it.

use std::collections::BTreeMap;

use kew_sim::disk::{Disk, Loss, install, reset_prng};

/// The files of a run that was cut at one operation, with what the cut tore.
fn torn(seed: u64) -> BTreeMap<String, Vec<u8>> {
    install();
    reset_prng(seed);
    let disk = Disk::new("broker", seed);
    disk.cut_at(40);
    let db = Disk::open(&Disk::path("broker", "queue.db")).expect("a fresh disk opens");
    let work = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
                CREATE TABLE job (id INTEGER PRIMARY KEY, key BLOB);
                INSERT INTO job VALUES (1, randomblob(9000)); INSERT INTO job VALUES (2, random());
                DELETE FROM job; INSERT INTO job VALUES (1, randomblob(90000));";
    assert!(db.execute_batch(work).is_err(), "the cut is within the run");
    disk.power_cut(Loss::subset(512));
    drop(db);
    disk.files()
}

#[test]
fn the_same_seed_tears_the_same_bytes() {
    let first = torn(7);
    assert!(first.values().any(|bytes| !bytes.is_empty()), "something survived to compare");
    assert!(first == torn(7));
    assert!(first != torn(8));
}

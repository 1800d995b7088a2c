//! Whose file it is, who may open it, what is in it.

use super::*;
use rusqlite::Connection;

fn refusal(path: &std::path::Path) -> String {
    let before = std::fs::read(path).unwrap();
    let error = Sqlite::open(path, &SqliteOptions::default()).unwrap_err().to_string();
    assert!(std::fs::read(path).unwrap() == before, "the file has changed");
    error
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "remember the milk ".repeat(100)).unwrap();
    assert!(refusal(&path).contains("no SQLite database"));
}

#[test]
fn another_programs_database_is_left_alone() {
    for setup in [
        "CREATE TABLE songs (title)",
        "PRAGMA application_id = 7; CREATE TABLE songs (title)",
        "PRAGMA journal_mode = WAL; CREATE TABLE songs (title); INSERT INTO songs VALUES ('one')",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("songs.db");
        let theirs = Connection::open(&path).unwrap();
        theirs.execute_batch(setup).unwrap();
        assert!(refusal(&path).contains("another program's database"), "{setup}");
        drop(theirs);
        assert!(refusal(&path).contains("another program's database"), "{setup}");
    }
}

#[test]
fn what_a_newer_kew_wrote_is_left_alone() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 0));
    let path = bench.path();
    let Bench { folder, store, reader } = bench;
    drop((store, reader));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 1_000).unwrap();
    let error = refusal(&path);
    assert!(error.contains("a newer Kew wrote it (tables of version 1000"), "{error}");
    drop(folder);
}

#[test]
fn one_store_has_one_writer() {
    let bench = Bench::new();
    let error = Sqlite::open(bench.path(), &SqliteOptions::default()).unwrap_err().to_string();
    assert!(error.contains("another process has it open"), "{error}");
    let path = bench.path();
    let Bench { folder, store, reader } = bench;
    drop((store, reader));
    Sqlite::open(path, &SqliteOptions::default()).unwrap();
    drop(folder);
}

#[test]
fn a_store_that_is_opened_again_knows_everything() {
    let mut bench = Bench::new();
    bench.enqueue(sync("a", "1", 5));
    let lease = bench.claim(Claim { rate: Some((3, 1_000)), ..claim(6) }).remove(0);
    bench.enqueue(sync("b", "2", 7));
    let before = bench.outlook(7);
    let mut bench = bench.reopen();
    assert_eq!(bench.outlook(7), before);
    assert_eq!(bench.store.last_ms().now_or_never().unwrap().unwrap(), 7);
    assert!(bench.settle(complete(&lease, 8)));
    let Answer::Claimed(Some(claimed)) = bench.one(Command::Claim(claim(9))) else { panic!() };
    assert_eq!(claimed.jobs[0].version, 2, "versions go on where they were");
}

#[test]
fn a_store_that_was_vacuumed_goes_on_where_it_was() {
    let mut bench = Bench::new();
    ["a", "b", "c", "d"].into_iter().for_each(|id| drop(bench.enqueue(job(id, 0))));
    for now_ms in [1, 2] {
        let lease = bench.claim(claim(now_ms)).remove(0);
        assert!(bench.settle(complete(&lease, now_ms)));
    }
    let lease = bench.claim(claim(3)).remove(0);
    bench.one(Command::Prune { ended_before_ms: 2, now_ms: 3 });
    let path = bench.path();
    let Bench { folder, store, reader } = bench;
    drop((store, reader));
    // Jobs are found by their rows' numbers, which must not close up over the gap of the one that was forgotten.
    Connection::open(&path).unwrap().execute_batch("VACUUM").unwrap();
    let store = Sqlite::open(path, &SqliteOptions::default()).unwrap();
    let reader = store.reader().unwrap();
    let mut bench = Bench { folder, store, reader };
    assert!(bench.settle(complete(&lease, 4)));
    let Answer::Claimed(Some(claimed)) = bench.one(Command::Claim(claim(5))) else { panic!() };
    assert_eq!(claimed.jobs[0].lease.job, "d");
    let Rows::Ends(ends) = bench.read(Query::Ends { after: 0, limit: 10 }) else { panic!() };
    assert_eq!(ends.iter().map(|end| end.job.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let error = Sqlite::open("/nowhere/at/all/kew.db", &SqliteOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("open the store /nowhere/at/all/kew.db: its folder has to exist"), "{error}");
}

#[test]
fn through_a_vfs_of_ones_own_there_is_no_file_beside_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { vfs: Some("unix-dotfile".into()), ..SqliteOptions::default() };
    let error = Sqlite::open(folder.path().join("kew.db"), &options).unwrap_err();
    assert!(error.reason.contains("no shared memory"), "{error}");
    let options = SqliteOptions { vfs: Some("unix".into()), ..SqliteOptions::default() };
    let store = Sqlite::open(folder.path().join("own.db"), &options).unwrap();
    store.reader().unwrap();
    assert!(!folder.path().join("own.db.lock").exists());
}

#[test]
fn the_seeds_table_is_there_column_for_column() {
    let bench = Bench::new();
    let connection = Connection::open(bench.path()).unwrap();
    let mut columns = connection
        .prepare(
            "SELECT name || ' ' || type || iif(\"notnull\", ' NOT NULL', '') || iif(pk, ' PRIMARY KEY', '')
                         || coalesce(' DEFAULT ' || dflt_value, '')
                  FROM pragma_table_info('job_status')",
        )
        .unwrap();
    let columns: Vec<String> = columns.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let seed = [
        "id TEXT PRIMARY KEY",
        "type TEXT NOT NULL",
        "status TEXT NOT NULL",
        "user_id TEXT NOT NULL",
        "payload JSON",
        "result JSON",
        "error TEXT",
        "retry_count INTEGER DEFAULT 0",
        "created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
        "updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
        "completed_at TIMESTAMP",
    ];
    assert_eq!(columns, seed);
}

#[test]
fn times_are_kept_as_people_read_them() {
    let mut bench = Bench::new();
    bench.enqueue(job("a", 951_827_696_789));
    let connection = Connection::open(bench.path()).unwrap();
    let row = connection.query_row("SELECT created_at, typeof(created_at) FROM job_status", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    assert_eq!(row.unwrap(), ("2000-02-29 12:34:56.789".into(), "text".into()));
}

#[test]
fn a_file_that_another_program_keeps_to_itself_is_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("songs.db");
    let theirs = Connection::open(&path).unwrap();
    theirs.execute_batch("CREATE TABLE songs (title); BEGIN EXCLUSIVE").unwrap();
    let error = Sqlite::open(&path, &SqliteOptions::default()).unwrap_err().to_string();
    assert!(error.contains("another program is using the file"), "{error}");
}

#[test]
fn a_failure_says_what_was_to_be_done() {
    let mut bench = Bench::new();
    let other = Connection::open(bench.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = bench.try_all(&[Command::Enqueue(job("a", 0))]).unwrap_err().to_string();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON queue_state BEGIN SELECT RAISE(ABORT, 'not now'); END";
    other.execute_batch(&format!("ROLLBACK; {refuse}; ALTER TABLE job_end RENAME TO no_end")).unwrap();
    assert!(error.starts_with("begin"), "{error}");
    let paused = Command::Pause { queue: "q".into(), paused: true, now_ms: 0 };
    let error = bench.try_all(&[paused]).unwrap_err();
    assert_eq!((error.context.as_str(), error.reason.as_str()), ("pause q", "not now"));
    let error = bench.reader.read(&Query::Ends { after: 7, limit: 1 }).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.context, "read the ends after 7");
}

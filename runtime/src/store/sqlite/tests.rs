//! The plans that SQLite makes for the statements whose cost must not grow with the history or the backlog: each goes
//! through an index, none reads a whole table, none sorts. And stores of earlier versions.

use std::rc::Rc;

use rusqlite::types::Value;
use rusqlite::{Connection, Statement, StatementStatus, ffi};

use super::lines::Lines;
use super::{
    SqliteOptions, Synchronous, claim, enqueue, finish, live, open, outlook, prune, read, statement, together,
};

/// The statements whose cost must not grow, and what their plan has to name.
const STATEMENTS: &[(&str, &str)] = &[
    (claim::CHOSEN, "SEARCH live USING INTEGER PRIMARY KEY"),
    (claim::CHOSEN, "SEARCH job_status USING INTEGER PRIMARY KEY"),
    (together::LEASE, "SEARCH live USING INTEGER PRIMARY KEY"),
    (together::PROCESS, "SEARCH job_status USING INTEGER PRIMARY KEY"),
    (together::COMPLETE, "SEARCH job_status USING INTEGER PRIMARY KEY"),
    (together::DELETE, "SEARCH live USING INTEGER PRIMARY KEY"),
    (claim::USED, "at_ms>?"),
    (enqueue::NEWEST, "live_key"),
    (finish::BLOCKED, "live_key"),
    (live::BY_ID, "SEARCH live USING INTEGER PRIMARY KEY"),
    (live::BY_ID, "sqlite_autoindex_job_status_1"),
    (outlook::RECENT_CLAIMS, "at_ms>?"),
    (prune::OLD_ENDS, "SEARCH job_end USING INTEGER PRIMARY KEY"),
    (read::ENDS, "SEARCH job_end USING INTEGER PRIMARY KEY"),
    (read::ENDS, "SEARCH job_status USING INTEGER PRIMARY KEY"),
    (read::JOBS_OF, "job_status_user"),
    (read::JOBS_OF_AFTER, "job_status_user"),
    (read::DEAD_LETTERS, "dead_letter_by_queue"),
];

fn store() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let (connection, _lock) = open::writer(&folder.path().join("kew.db"), &SqliteOptions::default()).unwrap();
    (folder, connection)
}

/// Binds a one to every parameter, or a list that holds one where `sql` wants a list, and runs the statement to its end.
/// Returns the texts in a column of its rows.
fn run(statement: &mut Statement<'_>, sql: &str, column: usize) -> String {
    for parameter in 1..=statement.parameter_count() {
        if sql.contains(&format!("rarray(?{parameter})")) {
            statement.raw_bind_parameter(parameter, Rc::new(vec![Value::Integer(1)])).unwrap();
        } else {
            statement.raw_bind_parameter(parameter, 1).unwrap();
        }
    }
    let mut rows = statement.raw_query();
    let mut text = String::new();
    while let Some(row) = rows.next().unwrap() {
        text.push_str(row.get_ref(column).unwrap().as_str().unwrap_or_default());
        text.push('\n');
    }
    text
}

#[test]
fn every_statement_of_the_hot_path_goes_through_an_index_and_sorts_nothing() {
    let (_folder, connection) = store();
    for (sql, index) in STATEMENTS {
        let plan =
            run(&mut connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("the statement is SQL"), sql, 3);
        assert!(plan.contains(index), "{index} is not used by {sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql} sorts:\n{plan}");
        // The numbers that are handed in are read from their beginning to their end.
        let given = |line: &&str| line.contains("VIRTUAL TABLE");
        assert!(
            !plan.lines().filter(|line| !given(line)).any(|line| line.contains("SCAN")),
            "{sql} reads everything:\n{plan}"
        );
    }
}

#[test]
fn no_statement_of_the_hot_path_is_planned_anew_when_it_is_bound() {
    let (_folder, connection) = store();
    for (sql, _) in STATEMENTS {
        let mut statement = connection.prepare(sql).expect("the statement is SQL");
        // The first run may find that the tables are new.
        run(&mut statement, sql, 0);
        statement.reset_status(StatementStatus::RePrepare);
        for _ in 0..3 {
            statement.clear_bindings();
            run(&mut statement, sql, 0);
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
    }
}

#[test]
fn a_look_for_old_ends_costs_the_same_however_many_are_kept() {
    let (_folder, connection) = store();
    let many = "WITH RECURSIVE end (seq) AS (SELECT 2 UNION ALL SELECT seq + 1 FROM end LIMIT 1000)
                INSERT INTO job_end (seq, job_seq, status, ended_ms) SELECT seq, seq, 'completed', 9 FROM end";
    connection.execute_batch(many).unwrap();
    let mut statement = connection.prepare(prune::OLD_ENDS).unwrap();
    for parameter in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(parameter, 1).unwrap();
    }
    // Of all the ends none came before the time 1; that is seen at the first.
    drop(statement.raw_query().next());
    let steps = statement.get_status(StatementStatus::VmStep);
    assert!(steps < 100, "{steps} steps");
}

#[test]
fn a_connection_is_set_up_as_it_was_asked_for() {
    for (synchronous, number) in [(Synchronous::Full, 2), (Synchronous::Normal, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { synchronous, checkpoint_pages: 77, ..SqliteOptions::default() };
        let (connection, _lock) = open::writer(&folder.path().join("kew.db"), &options).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        let seen = ["synchronous", "temp_store", "cache_size", "wal_autocheckpoint"].map(pragma);
        assert_eq!(seen, [number, 2, -32_768, 77]);
    }
}

#[test]
fn a_failure_of_the_disk_or_the_file_says_what_to_do() {
    for (code, advice) in [
        (ffi::SQLITE_FULL, "make room"),
        (ffi::SQLITE_BUSY, "another program is using the file"),
        (ffi::SQLITE_LOCKED, "another program is using the file"),
        (ffi::SQLITE_READONLY, "may not be written"),
        (ffi::SQLITE_PERM, "may not be written"),
        (ffi::SQLITE_CANTOPEN, "has to exist"),
        (ffi::SQLITE_CORRUPT, "restore it from a backup"),
        (ffi::SQLITE_IOERR_FSYNC, "the disk failed"),
    ] {
        let said = statement::reason(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(said.contains(advice) && said.ends_with(&format!("SQLite's code {code})")), "{said}");
    }
}

/// What the first version left behind: of three jobs one has ended, one is leased, and one waits whose number had run
/// ahead of its row's because payloads were coalesced; and a dead letter.
const FIRST_VERSION: &str = "
    INSERT INTO job_status (id, type, status, user_id, payload, retry_count, created_at, updated_at) VALUES
      ('a', 'pdf', 'completed',  'u', '{}', 0, '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.000'),
      ('b', 'pdf', 'processing', 'u', '{}', 0, '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.000'),
      ('c', 'pdf', 'pending',    'u', '{}', 0, '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.000'),
      ('d', 'pdf', 'failed',     'u', '{}', 0, '2026-01-01 00:00:00.000', '2026-01-01 00:00:00.000');
    INSERT INTO live (seq, job, queue, user_id, version, created_ms, wanted_ms, ready_ms, attempt, fence, lease_until_ms)
    VALUES (2, 'b', 'pdf', 'u', 2, 5, 5, NULL, 1, 1, 90), (7, 'c', 'pdf', 'u', 7, 6, 6, 6, 0, 0, NULL);
    INSERT INTO dead_letter (job, dead_letter_queue, died_ms, queue, user_id, version, created_ms, live_seq, fence)
    VALUES ('d', 'dead', 8, 'pdf', 'u', 8, 7, 8, 3);
    INSERT INTO queue_state (queue, paused) VALUES ('pdf', 1);
    INSERT INTO job_end (job, queue, user_id, status, ended_ms) VALUES ('a', 'pdf', 'u', 'completed', 9);
    DELETE FROM job_end;
    UPDATE meta SET value = 8 WHERE key = 'version';";

#[test]
fn a_store_of_the_first_version_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kew.db");
    let old = Connection::open(&path).unwrap();
    let pragmas = format!("PRAGMA application_id = {}; PRAGMA user_version = 1;", open::APPLICATION_ID);
    old.execute_batch(&[open::MIGRATIONS[0], FIRST_VERSION, &pragmas].concat()).unwrap();
    drop(old);
    let (connection, _lock) = open::writer(&path, &SqliteOptions::default()).unwrap();
    let numbers = |sql: &str| connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let live: (i64, i64) = numbers("SELECT min(seq), max(seq) FROM live");
    assert_eq!(live, (2, 3), "live jobs have the numbers of their rows");
    assert_eq!(numbers("SELECT live_seq, (SELECT value FROM meta WHERE key = 'ended') FROM dead_letter"), (4, 1));
    let depths = read::read(&connection, &crate::store::Query::Depths).unwrap();
    let crate::store::Rows::Depths(depths) = depths else { panic!("{depths:?}") };
    let depth = &depths[0];
    assert_eq!((depth.waiting, depth.processing, depth.oldest_created_ms, depth.paused), (1, 1, Some(5), true));
    let lines = Lines::read(&connection).unwrap();
    assert!(lines.leased("b").is_some());
    assert_eq!(lines.of("pdf").unwrap().head(10).unwrap().0, (6, 3));
}

//! A test of the plans that SQLite makes for the statements whose cost must not grow with the history or the backlog:
//! each goes through an index, none reads a whole table, none sorts.

use rusqlite::{Connection, Statement, StatementStatus};

use super::{SqliteOptions, claim, enqueue, finish, open, outlook, read, ready, settle};

/// The statements whose cost must not grow, and what their plan has to name.
const STATEMENTS: &[(&str, &str)] = &[
    (claim::HEAD, "live_ready"),
    (claim::FRESH, "live_ready"),
    (claim::KEPT, "live_batch"),
    (claim::USED, "at_ms>?"),
    (enqueue::NEWEST, "live_key"),
    (finish::BLOCKED, "live_key"),
    (settle::LIVE, "sqlite_autoindex_live_1"),
    (ready::COUNT, "live_ready"),
    (outlook::FIRST_QUEUE, "live_queue"),
    (outlook::NEXT_QUEUE, "live_queue"),
    (outlook::EXPIRED, "live_lease"),
    (outlook::NEXT_LEASE, "live_lease"),
    (outlook::NEXT_READY, "live_ready"),
    (outlook::RECENT_CLAIMS, "at_ms>?"),
    (read::JOBS_OF, "job_status_user"),
    (read::JOBS_OF_AFTER, "job_status_user"),
    (read::LIVE, "live_queue"),
    (read::DEAD_LETTERS, "dead_letter_by_queue"),
];

fn store() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let (connection, _lock) = open::writer(&folder.path().join("kew.db"), &SqliteOptions::default()).unwrap();
    (folder, connection)
}

/// Binds a one to every parameter and runs the statement to its end. Returns the texts in a column of its rows.
fn run(statement: &mut Statement<'_>, column: usize) -> String {
    for parameter in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(parameter, 1).unwrap();
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
        let plan = run(&mut connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("the statement is SQL"), 3);
        assert!(plan.contains(index), "{index} is not used by {sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql} sorts:\n{plan}");
        assert!(!plan.contains("SCAN"), "{sql} reads everything:\n{plan}");
    }
}

#[test]
fn no_statement_of_the_hot_path_is_planned_anew_when_it_is_bound() {
    let (_folder, connection) = store();
    for (sql, _) in STATEMENTS {
        let mut statement = connection.prepare(sql).expect("the statement is SQL");
        // The first run may find that the tables are new.
        run(&mut statement, 0);
        statement.reset_status(StatementStatus::RePrepare);
        for _ in 0..3 {
            statement.clear_bindings();
            run(&mut statement, 0);
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
    }
}

//! A test of the plans that SQLite makes for the statements whose cost must not grow with the history or the backlog:
//! each goes through an index of its own, none reads a whole table, none sorts.

use rusqlite::Connection;

use super::{SqliteOptions, claim, enqueue, finish, open, outlook, read, ready, settle};

/// The plan, one step a line.
fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // What a parameter is may change the plan, so none is left unbound.
    for parameter in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(parameter, 1).unwrap();
    }
    let mut rows = statement.raw_query();
    let mut plan = String::new();
    while let Some(row) = rows.next().unwrap() {
        plan.push_str(&row.get::<_, String>(3).unwrap());
        plan.push('\n');
    }
    plan
}

#[test]
fn every_statement_of_the_hot_path_goes_through_an_index_and_sorts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (connection, _lock) = open::writer(&folder.path().join("kew.db"), &SqliteOptions::default()).unwrap();
    let statements = [
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
    for (sql, index) in statements {
        let plan = plan(&connection, sql);
        assert!(plan.contains(index), "{index} is not used by {sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql} sorts:\n{plan}");
        assert!(!plan.contains("SCAN"), "{sql} reads everything:\n{plan}");
    }
}

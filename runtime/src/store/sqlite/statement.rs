//! Statements as the rest of the store writes them: prepared once and kept, with the row's reading beside the SQL. And
//! what a failure of SQLite looks like to people.

use rusqlite::{Connection, ErrorCode, OptionalExtension, Params, Result, Row};

use crate::store::Error;

/// Runs prepared statements.
pub(super) trait Statements {
    /// Runs a statement and returns how many rows it changed.
    fn run(&self, sql: &str, params: impl Params) -> Result<usize>;

    /// The first row, if there is one.
    fn one<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<Option<T>>;

    /// All rows.
    fn all<T>(&self, sql: &str, params: impl Params, read: impl FnMut(&Row<'_>) -> Result<T>) -> Result<Vec<T>>;

    /// Whether there is a row.
    fn any(&self, sql: &str, params: impl Params) -> Result<bool> {
        Ok(self.one(sql, params, |_| Ok(()))?.is_some())
    }
}

impl Statements for Connection {
    fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    fn one<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<Option<T>> {
        self.prepare_cached(sql)?.query_row(params, read).optional()
    }

    fn all<T>(&self, sql: &str, params: impl Params, read: impl FnMut(&Row<'_>) -> Result<T>) -> Result<Vec<T>> {
        self.prepare_cached(sql)?.query_map(params, read)?.collect()
    }
}

/// Does `work` within one transaction: all of it takes place or, unless the commit itself fails, nothing.
pub(super) fn atomically<T>(
    connection: &Connection,
    begin: &str,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    connection.run(begin, []).map_err(|error| failed("begin a transaction", &error))?;
    let done = work().and_then(|value| {
        connection.run("COMMIT", []).map_err(|error| failed("commit", &error))?;
        Ok(value)
    });
    // Some failures roll back by themselves. Whether this one works is of no use to know beside the failure before it.
    if done.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    done
}

/// A failure of SQLite while doing `what`, which reads after "failed to".
pub(super) fn failed(what: impl Into<String>, error: &rusqlite::Error) -> Error {
    Error { context: what.into(), reason: reason(error) }
}

/// What went wrong and what to do about it.
pub(super) fn reason(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full, make room",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program is using the file, end it",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "the file may not be written",
        Some(ErrorCode::CannotOpen) => "its folder has to exist and to be writable",
        Some(ErrorCode::DatabaseCorrupt) => "the file is damaged, restore it from a backup",
        Some(ErrorCode::SystemIoFailure) => "the disk failed",
        _ => return error.to_string(),
    };
    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
    format!("{advice} ({error}, SQLite's code {code})")
}

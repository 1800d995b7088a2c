//! Statements as the rest of the store writes them: prepared once and kept, with the row's reading beside the SQL. And
//! what a failure of SQLite looks like to people.

use std::cell::RefCell;

use rusqlite::{CachedStatement, Connection, Error as Failure, ErrorCode, OptionalExtension, Params, Result, Row};

use crate::store::Error;

/// Runs prepared statements.
pub(super) trait Statements {
    /// Hands the prepared statement to `work`.
    fn with<T>(&self, sql: &'static str, work: impl FnOnce(&mut CachedStatement<'_>) -> Result<T>) -> Result<T>;

    /// Runs a statement and returns how many rows it changed.
    fn run(&self, sql: &'static str, params: impl Params) -> Result<usize> {
        self.with(sql, |statement| statement.execute(params))
    }

    /// Runs a statement that changes one row, which must be there.
    fn change(&self, sql: &'static str, params: impl Params) -> Result<()> {
        match self.run(sql, params)? {
            1 => Ok(()),
            changed => Err(Failure::StatementChangedRows(changed)),
        }
    }

    /// The first row, if there is one.
    fn one<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.with(sql, |statement| statement.query_row(params, read).optional())
    }

    /// Hands every row to `read`.
    fn each(&self, sql: &'static str, params: impl Params, mut read: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        self.with(sql, |statement| {
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()? {
                read(row)?;
            }
            Ok(())
        })
    }

    /// All rows.
    fn all<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.with(sql, |statement| statement.query_map(params, read)?.collect())
    }

    /// Whether there is a row.
    fn any(&self, sql: &'static str, params: impl Params) -> Result<bool> {
        Ok(self.one(sql, params, |_| Ok(()))?.is_some())
    }
}

impl Statements for Connection {
    fn with<T>(&self, sql: &'static str, work: impl FnOnce(&mut CachedStatement<'_>) -> Result<T>) -> Result<T> {
        work(&mut self.prepare_cached(sql)?)
    }
}

/// The statements of one transaction. Each is looked for in the connection's cache once, by its text, and from then on
/// found by where that text stands in the program: for a statement that is run a thousand times in a transaction, the
/// cache costs a quarter of running it.
pub(super) struct Prepared<'a> {
    connection: &'a Connection,
    statements: RefCell<Vec<(&'static str, CachedStatement<'a>)>>,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, statements: RefCell::default() }
    }
}

impl Statements for Prepared<'_> {
    fn with<T>(&self, sql: &'static str, work: impl FnOnce(&mut CachedStatement<'_>) -> Result<T>) -> Result<T> {
        let mut statements = self.statements.borrow_mut();
        let known = statements.iter().position(|(text, _)| std::ptr::eq(*text, sql));
        let place = match known {
            Some(place) => place,
            None => {
                statements.push((sql, self.connection.prepare_cached(sql)?));
                statements.len() - 1
            }
        };
        work(&mut statements[place].1)
    }
}

/// Does `work` within one transaction: all of it takes place or, unless the commit itself fails, nothing.
pub(super) fn atomically<T>(
    connection: &Connection,
    begin: &'static str,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    connection.run(begin, []).map_err(|error| failed("begin a transaction", &error))?;
    let done = work().and_then(|value| {
        connection.run("COMMIT", []).map_err(|error| failed("commit", &error))?;
        Ok(value)
    });
    if done.is_err() {
        roll_back(connection);
    }
    done
}

/// Takes back the transaction that is under way, if there is one, after a failure.
pub(super) fn roll_back(connection: &Connection) {
    // Some failures roll back by themselves. Whether this one works is of no use to know beside the failure before it.
    if !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
}

/// A failure of SQLite while doing `what`, which reads after "failed to".
pub(super) fn failed(what: impl Into<String>, error: &Failure) -> Error {
    Error { context: what.into(), reason: reason(error) }
}

/// What went wrong and what to do about it.
pub(super) fn reason(error: &Failure) -> String {
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

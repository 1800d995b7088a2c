//! The embedded store: one SQLite file, one connection that writes, any number that read.
//!
//! What is applied between two commits is one transaction. SQL never asks for the time or for chance, and there are no
//! triggers. The file holds all there is; what claims are chosen by is kept in memory beside it, so that a job costs a few
//! statements, each of which finds its row by number, and the same few however much waits or has ended.
//!
//! - `open` finds out whose file it is and prepares it, `migrations/` says what is in it, `value` how values look there.
//! - `lines` is what is kept in memory, `live` the rows that it is read from.
//! - `enqueue`, `claim`, `settle`, `finish`, `dead_letter`, `upkeep` and `prune` carry out commands; they know
//!   [`Transaction`].
//! - `together` is what they have written for many jobs in one statement.
//! - `outlook` and `read` answer questions.

mod claim;
mod dead_letter;
mod enqueue;
mod finish;
mod lines;
mod live;
mod open;
mod outlook;
mod prune;
mod read;
mod settle;
mod statement;
#[cfg(test)]
mod tests;
mod together;
mod transaction;
mod upkeep;
mod value;

use std::fs::File;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::Connection;

use super::{Answer, Command, Error, Outlook, Query, Reader, Rows, Store};
use lines::Lines;
use statement::{failed, roll_back};
use transaction::Open;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The name of a registered VFS instead of the operating system's files. No lock file is made then: whoever brings
    /// the VFS sees to it that one process writes.
    pub vfs: Option<String>,
    /// What a commit survives.
    pub synchronous: Synchronous,
    /// After how many pages in the write-ahead log they are moved into the file.
    pub checkpoint_pages: u32,
}

impl Default for SqliteOptions {
    /// The operating system's files, safe against a loss of power, and SQLite's own 1,000 pages.
    fn default() -> Self {
        Self { vfs: None, synchronous: Synchronous::Full, checkpoint_pages: 1_000 }
    }
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// A loss of power.
    #[default]
    Full,
    /// The end of the process. A loss of power may take the last commits, never more than the last.
    Normal,
}

/// The writing side of an SQLite store.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    /// What is live; absent after a failure, until it is read again.
    lines: Option<Lines>,
    /// The transaction that is under way.
    open: Option<Open>,
    path: PathBuf,
    vfs: Option<String>,
    /// Held for as long as the store is open. Declared last, so that it is let go after the connection has closed.
    _lock: Option<File>,
}

impl Sqlite {
    /// Opens the store at `path`, which is made if it does not exist and brought up to date if it is older.
    ///
    /// # Errors
    ///
    /// If the file is another program's or a newer Kew's (it stays as it is), if another process has it open, or if it
    /// cannot be opened or written.
    pub fn open(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let (connection, lock) = open::writer(path, options)?;
        let (path, vfs) = (path.into(), options.vfs.clone());
        let mut store = Self { connection, lines: None, open: None, path, vfs, _lock: lock };
        store.attempt(|_, _, _| Ok(()))?;
        Ok(store)
    }

    /// Does `work` with what is live, as it is known or read from the file. A failure takes back the transaction that is
    /// under way, and what is known along with it.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&Connection, &mut Lines, &mut Option<Open>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let lines = match self.lines.take() {
            Some(lines) => Ok(lines),
            None => Lines::read(&self.connection).map_err(|error| failed("read what is live", &error)),
        };
        let done = lines.and_then(|mut lines| {
            let done = work(&self.connection, &mut lines, &mut self.open)?;
            self.lines = Some(lines);
            Ok(done)
        });
        if done.is_err() {
            self.open = None;
            roll_back(&self.connection);
        }
        done
    }

    /// A reading side with a connection of its own.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened once more.
    pub fn reader(&self) -> Result<SqliteReader, Error> {
        let connection = open::reader(&self.path, self.vfs.as_deref())?;
        Ok(SqliteReader { connection })
    }
}

impl Store for Sqlite {
    fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
        async move { self.attempt(|connection, lines, open| transaction::apply(connection, lines, open, commands)) }
            .boxed()
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.attempt(transaction::commit) }.boxed()
    }

    fn outlook(&mut self, now_ms: u64) -> BoxFuture<'_, Result<Outlook, Error>> {
        async move { self.attempt(|connection, lines, _| outlook::outlook(connection, lines, now_ms)) }.boxed()
    }

    fn last_ms(&mut self) -> BoxFuture<'_, Result<u64, Error>> {
        async move { upkeep::last_ms(&self.connection) }.boxed()
    }
}

/// The reading side of an SQLite store.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
}

impl Reader for SqliteReader {
    fn read<'a>(&'a mut self, query: &'a Query) -> BoxFuture<'a, Result<Rows, Error>> {
        async move { read::read(&self.connection, query) }.boxed()
    }
}

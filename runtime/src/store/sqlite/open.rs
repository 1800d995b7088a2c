//! Opening the file: finding out whose it is before anything in it changes, keeping other processes out, bringing its
//! tables up to date.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::statement::{atomically, failed, reason};
use super::{SqliteOptions, Synchronous};
use crate::store::Error;

/// What marks a file as a store of Kew: the letters `kew` and a one.
pub(super) const APPLICATION_ID: i32 = 0x6B65_7701;

/// The steps from an empty file to today's tables. A file's `user_version` is how many of them it has seen, so a step
/// that was released never changes; a new one is added instead.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_lines_in_memory.sql"),
    include_str!("migrations/0003_slim_rows.sql"),
];

/// How many prepared statements are kept: more than there are.
const STATEMENTS: usize = 128;

/// Opens the connection that writes, and holds the lock beside the file if it is the operating system's.
pub(super) fn writer(path: &Path, options: &SqliteOptions) -> Result<(Connection, Option<File>), Error> {
    let opening = || format!("open the store {}", path.display());
    let fault = |error: rusqlite::Error| failed(opening(), &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = connect(path, flags, options.vfs.as_deref()).map_err(fault)?;
    // Until it is known whose file this is, closing it must not move anything from its log into it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fault)?;
    check(&connection).map_err(|reason| Error { context: opening(), reason })?;
    let lock = match options.vfs {
        None => Some(lock(path).map_err(|reason| Error { context: opening(), reason })?),
        Some(_) => None,
    };
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(fault)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(fault)?;
    if mode != "wal" {
        let reason = "its place offers no shared memory, which the write-ahead log needs; choose a local disk";
        return Err(Error { context: opening(), reason: reason.into() });
    }
    rusqlite::vtab::array::load_module(&connection).map_err(fault)?;
    configure(&connection, options).map_err(fault)?;
    migrate(&connection)?;
    Ok((connection, lock))
}

/// Opens a connection that only reads.
pub(super) fn reader(path: &Path, vfs: Option<&str>) -> Result<Connection, Error> {
    let fault = |error: rusqlite::Error| failed(format!("open the store {} to read it", path.display()), &error);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, vfs).map_err(fault)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(fault)?;
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    // A connection is never used by two threads at once: `&mut self` sees to it, SQLite's own mutex is not needed.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    // One process writes, so nobody is worth waiting for; and waiting would take time that nobody passed in.
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else SQLite plans a statement anew whenever a limit or a time is bound to it, which costs more than running it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Refuses a file that is not ours to write.
fn check(connection: &Connection) -> Result<(), String> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let application = match number("PRAGMA application_id") {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Err("the file is no SQLite database; give the path of a store, or one that does not exist".into());
        }
        other => other.map_err(|error| reason(&error))?,
    };
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(|error| reason(&error))?;
    let version = number("PRAGMA user_version").map_err(|error| reason(&error))?;
    let known = MIGRATIONS.len() as i64;
    if application == i64::from(APPLICATION_ID) && version <= known || application == 0 && tables == 0 {
        Ok(())
    } else if application == i64::from(APPLICATION_ID) {
        Err(format!("a newer Kew wrote it (tables of version {version}, this Kew knows {known}); run that Kew"))
    } else {
        Err("the file is another program's database; give the path of a store, or one that does not exist".into())
    }
}

/// Takes the lock beside the file. The operating system lets go of it however the process ends, so there is never a
/// stale one. It is not the file's own: SQLite locks that, and its locks are lost when a second handle is closed.
fn lock(path: &Path) -> Result<File, String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let file = File::options().write(true).create(true).truncate(false).open(&beside);
    let file = file.map_err(|error| format!("its lock {} cannot be opened: {error}", beside.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err("another process has it open; stop that one, or talk to it".into()),
        Err(TryLockError::Error(error)) => Err(format!("its lock {} cannot be taken: {error}", beside.display())),
    }
}

fn configure(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // A simulated disk has no names for temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // 32 MiB: the pages of tens of thousands of live jobs, and the upper levels of what is larger.
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", options.checkpoint_pages, |_| Ok(()))
}

/// Runs the steps that the file has not seen yet, each in a transaction of its own.
fn migrate(connection: &Connection) -> Result<(), Error> {
    for (seen, step) in MIGRATIONS.iter().enumerate() {
        let bringing = || format!("bring the store to version {}", seen + 1);
        atomically(connection, "BEGIN IMMEDIATE", || {
            let version: i64 = connection
                .pragma_query_value(None, "user_version", |row| row.get(0))
                .map_err(|error| failed(bringing(), &error))?;
            if version == seen as i64 {
                let pragmas = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};", seen + 1);
                connection.execute_batch(&[step, pragmas.as_str()].concat()).map_err(|e| failed(bringing(), &e))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

//! The other system, when there is none: one SQLite table that keeps each entity's newest payload.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kew_runtime::processor::Failure;
use rusqlite::{Connection, OptionalExtension, params};

use super::Synced;
use crate::clock::{Now, unix_ms};

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL; -- a job is completed by what this returns
CREATE TABLE IF NOT EXISTS entity (
  key TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  payload TEXT NOT NULL,
  updated_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT, WITHOUT ROWID;";

/// One statement, so that no other process can come between the look and the write.
const UPSERT: &str = "
INSERT INTO entity (key, version, payload, updated_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (key) DO UPDATE
SET version = excluded.version, payload = excluded.payload, updated_at = excluded.updated_at
WHERE excluded.version > entity.version";

/// How long a write waits for another process's, in milliseconds. Writes take one; a waiting one holds up its thread.
const BUSY_MS: u64 = 2_000;

#[derive(Debug)]
pub(super) struct Table {
    connection: Mutex<Connection>,
    now: Now,
}

impl Table {
    pub(super) fn open(path: &Path, now: Now) -> Result<Self, String> {
        let open = || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let connection = open().map_err(|e: rusqlite::Error| format!("{}: {e}", path.display()))?;
        Ok(Self { connection: Mutex::new(connection), now })
    }

    pub(super) fn put(&self, key: &str, version: u64, payload: &str) -> Result<Synced, Failure> {
        self.upsert(key, version, payload).map_err(|e| Failure::new(format!("could not write the entity {key:?}: {e}")))
    }

    fn upsert(&self, key: &str, version: u64, payload: &str) -> rusqlite::Result<Synced> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let number = i64::try_from(version).unwrap_or(i64::MAX); // SQLite has no larger integers
        let at = unix_ms((self.now)());
        connection.prepare_cached(UPSERT)?.execute(params![key, number, payload, at])?;
        let mut select = connection.prepare_cached("SELECT version FROM entity WHERE key = ?1")?;
        let there: Option<i64> = select.query_row([key], |row| row.get(0)).optional()?;
        let there = there.and_then(|v| u64::try_from(v).ok()).unwrap_or(version);
        // The same version is this very payload, delivered again.
        Ok(if there > version { Synced::SupersededBy(there) } else { Synced::Version(version) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn table(dir: &tempfile::TempDir) -> Table {
        Table::open(&dir.path().join("sync.sqlite"), || UNIX_EPOCH).unwrap()
    }

    fn stored(table: &Table) -> (i64, String) {
        let connection = table.connection.lock().unwrap();
        connection
            .query_row("SELECT version, payload FROM entity WHERE key = 'a'", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    }

    #[test]
    fn a_newer_payload_replaces_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let table = table(&dir);
        table.put("a", 1, "{\"n\":1}").unwrap();
        assert_eq!(table.put("a", 2, "{\"n\":2}").unwrap(), Synced::Version(2));
        assert_eq!(stored(&table), (2, "{\"n\":2}".into()));
    }

    #[test]
    fn an_older_payload_never_replaces_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let table = table(&dir);
        table.put("a", 7, "{\"n\":7}").unwrap();
        assert_eq!(table.put("a", 3, "{\"n\":3}").unwrap(), Synced::SupersededBy(7));
        assert_eq!(stored(&table), (7, "{\"n\":7}".into()));
    }

    #[test]
    fn the_same_version_again_is_synced_again() {
        let dir = tempfile::tempdir().unwrap();
        let table = table(&dir);
        table.put("a", 1, "{}").unwrap();
        assert_eq!(table.put("a", 1, "{}").unwrap(), Synced::Version(1));
    }

    #[test]
    fn what_was_synced_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        table(&dir).put("a", 4, "{}").unwrap();
        assert_eq!(table(&dir).put("a", 3, "{}").unwrap(), Synced::SupersededBy(4));
    }
}

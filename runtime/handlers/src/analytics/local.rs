//! The analytics store, when there is none: two SQLite tables, one transaction a batch.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kew_runtime::processor::Failure;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{Event, Point};
use crate::clock::{Now, unix_ms};

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL; -- events are completed by what this returns
CREATE TABLE IF NOT EXISTS batch (
  id TEXT PRIMARY KEY,
  stored_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
  id TEXT PRIMARY KEY,
  batch TEXT NOT NULL REFERENCES batch (id),
  index1 TEXT,
  blobs TEXT NOT NULL, -- a JSON array, as are the doubles
  doubles TEXT NOT NULL
) STRICT, WITHOUT ROWID;";

/// How long a batch waits for another process's, in milliseconds.
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

    pub(super) fn store(&self, batch: &str, events: &[Event<'_>]) -> Result<(), Failure> {
        self.insert(batch, events).map_err(|e| Failure::new(format!("could not store the batch {batch}: {e}")))
    }

    /// A batch or an event that is there already is left alone, so either may come again in any company.
    fn insert(&self, batch: &str, events: &[Event<'_>]) -> rusqlite::Result<()> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let at = unix_ms((self.now)());
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("INSERT OR IGNORE INTO batch VALUES (?1, ?2)", params![batch, at])?;
        let insert = "INSERT OR IGNORE INTO event VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut statement = transaction.prepare_cached(insert)?;
        for Event { id, point } in events {
            let Point { blobs, doubles, indexes } = point;
            let index = indexes.first();
            statement.execute(params![id, batch, index, array(blobs), array(doubles)])?;
        }
        drop(statement);
        transaction.commit()
    }
}

fn array(items: &impl serde::Serialize) -> String {
    serde_json::to_string(items).expect("strings and finite numbers are JSON")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn table(dir: &tempfile::TempDir) -> Table {
        Table::open(&dir.path().join("analytics.sqlite"), || UNIX_EPOCH).unwrap()
    }

    fn event(id: &str) -> Event<'_> {
        let point = Point { blobs: vec![Some("b".into()), None], doubles: vec![1.5], indexes: vec!["i".into()] };
        Event { id, point }
    }

    fn rows(table: &Table, name: &str) -> i64 {
        let count = format!("SELECT COUNT(*) FROM {name}");
        table.connection.lock().unwrap().query_row(&count, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_batch_that_comes_twice_is_stored_once() {
        let dir = tempfile::tempdir().unwrap();
        let table = table(&dir);
        table.store("b1", &[event("e1"), event("e2")]).unwrap();
        table.store("b1", &[event("e1"), event("e2")]).unwrap();
        assert_eq!((rows(&table, "batch"), rows(&table, "event")), (1, 2));
    }

    #[test]
    fn an_event_that_comes_in_two_batches_is_stored_once() {
        let dir = tempfile::tempdir().unwrap();
        let table = table(&dir);
        table.store("b1", &[event("e1"), event("e2")]).unwrap();
        table.store("b2", &[event("e2"), event("e3")]).unwrap();
        assert_eq!(rows(&table, "event"), 3);
    }
}

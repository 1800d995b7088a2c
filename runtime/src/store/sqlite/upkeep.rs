//! What concerns no single job: the store's own numbers, pausing a queue, how many jobs the queues hold.

use rusqlite::{Result, params};

use super::lines::Lines;
use super::statement::{Statements, failed};
use super::transaction::Transaction;
use super::value::Nat;
use crate::store::Error;

/// One of the store's own numbers.
pub(super) fn number(connection: &impl Statements, key: &str) -> Result<u64> {
    let value = connection.one("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))?;
    value.map(|Nat(value)| value).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Sets one of the store's own numbers, unless it is greater already: none of them ever goes back.
pub(super) fn raise(connection: &impl Statements, key: &str, value: u64) -> Result<()> {
    connection.run("UPDATE meta SET value = ?2 WHERE key = ?1 AND value < ?2", params![key, Nat(value)])?;
    Ok(())
}

/// The latest time that any command carried.
pub(super) fn last_ms(connection: &impl Statements) -> Result<u64, Error> {
    number(connection, "last_ms").map_err(|error| failed("read the time of the last command", &error))
}

/// Pauses or resumes a queue.
pub(super) fn pause(transaction: &mut Transaction<'_, '_>, queue: &str, paused: bool) -> Result<()> {
    let sql = "INSERT INTO queue_state (queue, paused) VALUES (?1, ?2)
               ON CONFLICT (queue) DO UPDATE SET paused = excluded.paused";
    transaction.connection.change(sql, params![queue, paused])?;
    transaction.lines.pause(queue, paused);
    Ok(())
}

/// Writes down how many jobs the queues hold that have changed.
pub(super) fn note_depths(connection: &impl Statements, lines: &mut Lines) -> Result<()> {
    for (queue, count) in lines.changed() {
        let oldest = match count.oldest {
            Some(seq) => connection.one("SELECT created_ms FROM live WHERE seq = ?1", [Nat(seq)], |row| row.get(0))?,
            None => None::<Nat>,
        };
        let sql = "INSERT INTO queue_state (queue, waiting, processing, oldest_created_ms) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (queue) DO UPDATE SET waiting = excluded.waiting, processing = excluded.processing,
                                                     oldest_created_ms = excluded.oldest_created_ms";
        connection.run(sql, params![queue, Nat(count.waiting), Nat(count.processing), oldest])?;
    }
    Ok(())
}

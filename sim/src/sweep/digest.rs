//! What a database says, as one number: every value of every table, whatever the pages look like. Two moments of a run
//! are told apart by it.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// FNV-1a's beginning and multiplier. The databases that are compared come of one run and are a few thousand: 64 bits
/// tell them apart, and nobody makes collisions on purpose.
const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01B3;

/// The digest of a database.
pub(super) fn digest(connection: &Connection) -> rusqlite::Result<u64> {
    let mut tables = connection.prepare_cached("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    tables.iter().try_fold(BASIS, |state, table| add_table(connection, state, table))
}

fn add_table(connection: &Connection, state: u64, table: &str) -> rusqlite::Result<u64> {
    // In the order of the table itself: by rowid, or by primary key where there is none.
    let mut rows = connection.prepare_cached(&format!("SELECT * FROM {table}"))?;
    let columns = rows.column_count();
    let mut rows = rows.query([])?;
    let mut state = add(state, table.as_bytes());
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            state = add_value(state, row.get_ref(column)?);
        }
    }
    Ok(state)
}

fn add_value(state: u64, value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::Null => add(state, b"n"),
        ValueRef::Integer(number) => add(add(state, b"i"), &number.to_le_bytes()),
        ValueRef::Real(number) => add(add(state, b"r"), &number.to_bits().to_le_bytes()),
        ValueRef::Text(bytes) => add(add(add(state, b"t"), bytes), b"\0"),
        ValueRef::Blob(bytes) => add(add(add(state, b"b"), bytes), b"\0"),
    }
}

fn add(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(PRIME))
}

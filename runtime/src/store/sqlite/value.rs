//! How values of the store look in the database: numbers, timestamps and JSON. Each is a wrapper for the moment in
//! which a value is bound to a statement or read from a row.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, Value, ValueRef};
use rusqlite::{Result, Row};
use serde_json::value::RawValue;

use crate::timestamp;

/// A `u64`. SQLite's integers have a sign; what is beyond `i64::MAX` (292 million years of milliseconds) is bound as
/// that, so that a time without end stays one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nat(pub(super) u64);

impl From<Nat> for Value {
    fn from(Nat(number): Nat) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl ToSql for Nat {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned((*self).into()))
    }
}

impl FromSql for Nat {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// Milliseconds since the Unix epoch, as the text in `job_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(pub(super) u64);

impl ToSql for Stamp {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(timestamp::sql(self.0).into())
    }
}

impl FromSql for Stamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        timestamp::parse_sql(text).map(Self).map_err(|error| FromSqlError::Other(error.into()))
    }
}

/// JSON, byte for byte.
///
/// The seed's column type `JSON` has SQLite's numeric affinity: the text `1.50` would become the number 1.5. Of all
/// JSON only a number looks like one, so numbers are bound as bytes, which no affinity touches, and all else as text.
pub(super) struct Json<'a>(pub(super) &'a RawValue);

impl ToSql for Json<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let text = self.0.get();
        let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let value = if is_number { ValueRef::Blob(text.as_bytes()) } else { ValueRef::Text(text.as_bytes()) };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// Reads a column that was written as [`Json`].
pub(super) fn json(row: &Row<'_>, column: usize) -> Result<Box<RawValue>> {
    optional_json(row, column)?.ok_or_else(|| wrong(column, Type::Null, "it is NULL".into()))
}

/// Reads a column that was written as [`Json`] or is `NULL`.
pub(super) fn optional_json(row: &Row<'_>, column: usize) -> Result<Option<Box<RawValue>>> {
    let value = row.get_ref(column)?;
    let bytes = match value {
        ValueRef::Null => return Ok(None),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => return Err(wrong(column, value.data_type(), "it is a bare number".into())),
    };
    serde_json::from_slice(bytes).map(Some).map_err(|error| wrong(column, value.data_type(), error.into()))
}

/// Reads a column that holds a word of `job_status`: a [`kew_spec::lifecycle::Status`].
pub(super) fn word<T: std::str::FromStr<Err = String>>(row: &Row<'_>, column: usize) -> Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error: String| wrong(column, Type::Text, error.into()))
}

fn wrong(column: usize, is: Type, why: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, is, why)
}

//! The one place of this crate that reads the time. Handlers take it as a function, so tests give their own.

use std::time::{SystemTime, UNIX_EPOCH};

/// Reads a clock.
pub(crate) type Now = fn() -> SystemTime;

/// The machine's clock: for what others read (the date of a mail, the age of a row), never for a decision.
#[expect(clippy::disallowed_methods, reason = "handlers run outside the simulator, and nothing is decided by it")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970; 0 before.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

//! How many jobs of each queue are ready. Counting them anew for every claim would cost thousands of rows each time, so
//! the count is kept, and every change of a `ready_ms` told to it.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result, params};

use super::statement::Statements;
use super::value::Nat;

/// How many jobs become ready in a time.
pub(super) const COUNT: &str = "
    SELECT count(*) FROM live
    WHERE queue = ?1 AND ready_ms > ?2 AND ready_ms <= ?3";

/// Counts of the jobs that are ready, as far as they have been asked for.
#[derive(Debug, Default)]
pub(super) struct Ready {
    queues: BTreeMap<String, Count>,
}

/// How many jobs of a queue have a `ready_ms` of at most `through_ms`.
#[derive(Debug)]
struct Count {
    through_ms: u64,
    jobs: u64,
}

impl Ready {
    /// A job's `ready_ms` became another.
    pub(super) fn moved(&mut self, queue: &str, from_ms: Option<u64>, to_ms: Option<u64>) {
        let Some(count) = self.queues.get_mut(queue) else { return };
        let counts = |ms: Option<u64>| ms.is_some_and(|ms| ms <= count.through_ms);
        match (counts(from_ms), counts(to_ms)) {
            (true, false) => count.jobs -= 1,
            (false, true) => count.jobs += 1,
            _ => {}
        }
    }

    /// How many jobs of `queue` are ready at `now_ms`. Only those are looked at that became so since it was last asked.
    pub(super) fn at(&mut self, connection: &Connection, queue: &str, now_ms: u64) -> Result<u64> {
        let before = self.queues.get(queue).filter(|count| count.through_ms <= now_ms);
        if let Some(count) = before.filter(|count| count.through_ms == now_ms) {
            return Ok(count.jobs);
        }
        let since_ms = before.map_or(-1, |count| count.through_ms as i64);
        let Nat(more) =
            connection.one(COUNT, params![queue, since_ms, Nat(now_ms)], |row| row.get(0))?.unwrap_or(Nat(0));
        let jobs = before.map_or(0, |count| count.jobs) + more;
        self.queues.insert(queue.to_owned(), Count { through_ms: now_ms, jobs });
        Ok(jobs)
    }

    /// Forgets everything: it will be counted anew.
    pub(super) fn forget(&mut self) {
        self.queues.clear();
    }
}

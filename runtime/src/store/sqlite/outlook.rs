//! What waits and what falls due. Asked after every claim, so each line of it is a look into an index.

use rusqlite::{Connection, Result, Row, params};

use super::claim::HEAD;
use super::ready::Ready;
use super::statement::{Statements, atomically, failed};
use super::upkeep::{self, State};
use super::value::Nat;
use crate::store::{Error, LeaseId, Outlook, QueueOutlook};

/// How many ready jobs are counted at most: `BATCH_SIZE_MAX`, more than any batch can take.
const READY_MAX: u64 = 10_000;

/// The first queue that has live jobs, by name.
pub(super) const FIRST_QUEUE: &str = "SELECT min(queue) FROM live";

/// The queue after that one.
pub(super) const NEXT_QUEUE: &str = "SELECT min(queue) FROM live WHERE queue > ?1";

/// Leases that have run out, at most as many as one answer holds.
pub(super) const EXPIRED: &str = "
    SELECT queue, job, attempt, fence FROM live
    WHERE lease_until_ms <= ?1
    ORDER BY lease_until_ms, seq LIMIT 1000";

/// When the next lease runs out.
pub(super) const NEXT_LEASE: &str = "
    SELECT lease_until_ms FROM live
    WHERE lease_until_ms > ?1
    ORDER BY lease_until_ms LIMIT 1";

/// When the next job of a queue becomes ready.
pub(super) const NEXT_READY: &str = "
    SELECT ready_ms FROM live
    WHERE queue = ?1 AND ready_ms > ?2
    ORDER BY ready_ms LIMIT 1";

/// The claims in the window that ends now.
pub(super) const RECENT_CLAIMS: &str = "
    SELECT at_ms, jobs FROM rate_claim
    WHERE queue = ?1 AND at_ms > ?2 - ?3
    ORDER BY at_ms";

/// What waits and what falls due, as of `now_ms`.
pub(super) fn outlook(connection: &Connection, ready: &mut Ready, now_ms: u64) -> Result<Outlook, Error> {
    // One transaction: not for consistency, as nobody else writes, but to lock the file once and not for each statement.
    atomically(connection, "BEGIN", || {
        look(connection, ready, now_ms).map_err(|error| failed("see what waits", &error))
    })
}

fn look(connection: &Connection, ready: &mut Ready, now_ms: u64) -> Result<Outlook> {
    let names = live_queues(connection)?;
    let queues =
        names.into_iter().map(|queue| queue_outlook(connection, ready, queue, now_ms)).collect::<Result<_>>()?;
    let expired = connection.all(EXPIRED, [Nat(now_ms)], lease)?;
    let next_lease_ms = connection.one(NEXT_LEASE, [Nat(now_ms)], ms)?;
    Ok(Outlook { queues, expired, next_lease_ms })
}

/// The queues that have live jobs, found by jumping from one name to the next instead of reading all entries.
pub(super) fn live_queues(connection: &Connection) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let next: Option<Option<String>> = match names.last() {
            None => connection.one(FIRST_QUEUE, [], |row| row.get(0))?,
            Some(last) => connection.one(NEXT_QUEUE, [last], |row| row.get(0))?,
        };
        let Some(name) = next.flatten() else { return Ok(names) };
        names.push(name);
    }
}

fn queue_outlook(connection: &Connection, ready: &mut Ready, queue: String, now_ms: u64) -> Result<QueueOutlook> {
    let of_queue = params![queue, Nat(now_ms)];
    let head = connection.one(HEAD, of_queue, |row| Ok((ms(row)?, row.get::<_, Option<String>>(1)?)))?;
    let State { is_paused, rate_window_ms } = upkeep::state(connection, &queue)?;
    Ok(QueueOutlook {
        paused: is_paused,
        oldest_ready_ms: head.as_ref().map(|head| head.0),
        ready: ready.at(connection, &queue, now_ms)?.min(READY_MAX) as u32,
        head_keeps_batch: head.is_some_and(|head| head.1.is_some()),
        next_ready_ms: connection.one(NEXT_READY, of_queue, ms)?,
        recent_claims_ms: recent_claims(connection, &queue, now_ms, rate_window_ms)?,
        queue,
    })
}

/// One entry for each job that was claimed in the window.
fn recent_claims(connection: &Connection, queue: &str, now_ms: u64, window_ms: u64) -> Result<Vec<u64>> {
    if window_ms == 0 {
        return Ok(Vec::new());
    }
    let params = params![queue, Nat(now_ms), Nat(window_ms)];
    let claims = connection.all(RECENT_CLAIMS, params, |row| Ok((ms(row)?, row.get::<_, u32>(1)?)))?;
    Ok(claims.into_iter().flat_map(|(at_ms, jobs)| std::iter::repeat_n(at_ms, jobs as usize)).collect())
}

fn ms(row: &Row<'_>) -> Result<u64> {
    row.get(0).map(|Nat(ms)| ms)
}

fn lease(row: &Row<'_>) -> Result<LeaseId> {
    Ok(LeaseId { queue: row.get(0)?, job: row.get(1)?, attempt: row.get(2)?, fence: row.get(3)? })
}

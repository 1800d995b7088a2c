//! What waits and what falls due. Asked after every claim, so it comes from memory, but for what few queues have: a rate
//! limit.

use rusqlite::{Connection, Result, Row, params};

use super::lines::Lines;
use super::statement::{Statements, failed};
use super::value::Nat;
use crate::store::{Error, Outlook, QueueOutlook};

/// How many ready jobs are counted at most: `BATCH_SIZE_MAX`, more than any batch can take.
const READY_MAX: u64 = 10_000;

/// How many leases of a queue that have run out one answer holds at most.
const EXPIRED_MAX: usize = 1_000;

/// The claims in the window that ends now.
pub(super) const RECENT_CLAIMS: &str = "
    SELECT at_ms, jobs FROM rate_claim
    WHERE queue = ?1 AND at_ms > ?2 - ?3
    ORDER BY at_ms";

/// What waits and what falls due, as of `now_ms`.
pub(super) fn outlook(connection: &Connection, lines: &mut Lines, now_ms: u64) -> Result<Outlook, Error> {
    look(connection, lines, now_ms).map_err(|error| failed("see what waits", &error))
}

fn look(connection: &Connection, lines: &mut Lines, now_ms: u64) -> Result<Outlook> {
    let names: Vec<_> = lines.live().map(str::to_owned).collect();
    let queues =
        names.into_iter().map(|queue| queue_outlook(connection, lines, queue, now_ms)).collect::<Result<_>>()?;
    Ok(Outlook { queues, expired: lines.expired(now_ms, EXPIRED_MAX), next_lease_ms: lines.next_lease_ms(now_ms) })
}

fn queue_outlook(connection: &Connection, lines: &mut Lines, queue: String, now_ms: u64) -> Result<QueueOutlook> {
    let ready = lines.ready(&queue, now_ms).min(READY_MAX) as u32;
    let line = lines.of(&queue);
    let head = line.and_then(|line| line.head(now_ms));
    Ok(QueueOutlook {
        paused: line.is_some_and(|line| line.is_paused),
        oldest_ready_ms: head.map(|((ready_ms, _), _)| ready_ms),
        ready,
        head_keeps_batch: head.is_some_and(|(_, batch)| batch.is_some()),
        head_jobs: head.map_or(0, |(_, batch)| line.zip(batch).map_or(1, |(line, batch)| line.size(batch) as u32)),
        next_ready_ms: line.and_then(|line| line.next_ready_ms(now_ms)),
        recent_claims_ms: recent_claims(connection, &queue, now_ms, line.map_or(0, |line| line.window_ms))?,
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

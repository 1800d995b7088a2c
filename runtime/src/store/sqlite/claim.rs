//! Giving jobs to a processor: how many the rate limit leaves, which ones, and the lease on each.

use std::rc::Rc;

use rusqlite::types::Value;
use rusqlite::{Result, Row, params};
use serde_json::value::RawValue;

use super::live::{Live, select_live};
use super::statement::Statements;
use super::transaction::Transaction;
use super::value::{Nat, json};
use crate::store::{Claim, Claimed, ClaimedJob};

/// Jobs that are about to be given, in the order in which they were chosen: what is known of them, and their payloads.
pub(super) const CHOSEN: &str = select_live!(
    ", payload",
    "FROM rarray(?1) AS chosen
     CROSS JOIN live ON seq = chosen.value
     CROSS JOIN job_status ON job_status.rowid = seq"
);

/// How many claims lie in the window that ends now. A claim counts until `at_ms + window`, and not at that time any more.
pub(super) const USED: &str = "
    SELECT coalesce(sum(jobs), 0) FROM rate_claim
    WHERE queue = ?1 AND at_ms > ?2 - ?3";

/// What a claim gives: which batch, and how many of the jobs that were chosen.
struct Chosen {
    batch: Option<String>,
    jobs: usize,
}

/// Makes a delivery for each of `claims` for which anything is deliverable.
pub(super) fn claim(transaction: &mut Transaction<'_, '_>, claims: &[&Claim]) -> Result<Vec<Option<Claimed>>> {
    let mut places = Vec::new();
    let chosen = claims.iter().map(|claim| choose(transaction, claim, &mut places)).collect::<Result<Vec<_>>>()?;
    let mut waiting = look_up(transaction, places)?.into_iter();
    let given = claims.iter().zip(chosen).map(|(claim, chosen)| {
        let Chosen { batch, jobs } = chosen?;
        let name = batch.as_ref().unwrap_or(&claim.delivery).clone();
        let jobs = waiting.by_ref().take(jobs).map(|waits| lease(transaction, claim, &batch, waits)).collect();
        Some(Claimed { batch: name, jobs })
    });
    Ok(given.collect())
}

/// Takes the jobs that `claim` gives out of their line, and adds their numbers to `places`.
fn choose(transaction: &mut Transaction<'_, '_>, claim: &Claim, places: &mut Vec<Value>) -> Result<Option<Chosen>> {
    let room = room(transaction.connection, claim)?;
    let Some(line) = transaction.lines.of(&claim.queue) else { return Ok(None) };
    if claim.max.min(room) == 0 || line.is_paused {
        return Ok(None);
    }
    let Some((_, kept)) = line.head(claim.now_ms) else { return Ok(None) };
    let kept = kept.map(|kept| (line.size(kept), String::from(&**kept)));
    let limit = match &kept {
        None => room.min(claim.max),
        // A part of a batch under the batch's id would pass for the whole of it.
        Some((size, _)) if is_short(claim, room, *size) => return Ok(None),
        Some(_) => room,
    };
    let kept_id = kept.as_ref().map(|(_, id)| id.as_str());
    let chosen = line.places(kept_id, claim.now_ms, limit);
    note_rate(transaction, claim, chosen.len())?;
    for place in &chosen {
        transaction.lines.leave(&claim.queue, *place, kept_id);
        places.push(Nat(place.1).into());
    }
    let whole = kept.filter(|(size, _)| *size == chosen.len()).map(|(_, id)| id);
    let batch = whole.or_else(|| claim.is_batch.then(|| claim.delivery.clone()));
    Ok(Some(Chosen { batch, jobs: chosen.len() }))
}

/// Whether a batch of `size` jobs has to wait until the rate limit leaves room for all of them. One that is larger than
/// the limit itself, which was made smaller since, would wait for ever: its parts go out as batches of their own.
fn is_short(claim: &Claim, room: u32, size: usize) -> bool {
    claim.rate.is_some_and(|(starts, _)| (room as usize) < size && size <= starts as usize)
}

/// The jobs of these numbers, and their payloads.
fn look_up(transaction: &Transaction<'_, '_>, places: Vec<Value>) -> Result<Vec<(Live, Box<RawValue>)>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let count = places.len();
    let read = |row: &Row<'_>| Ok((Live::read(row)?, json(row, Live::COLUMNS)?));
    let found = transaction.connection.all(CHOSEN, [Rc::new(places)], read)?;
    if found.len() == count { Ok(found) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

/// Begins an attempt of a job that waited.
fn lease(
    transaction: &mut Transaction<'_, '_>,
    claim: &Claim,
    batch: &Option<String>,
    (waited, payload): (Live, Box<RawValue>),
) -> ClaimedJob {
    let live = Live {
        ready_ms: None,
        attempt: waited.attempt + 1,
        fence: waited.fence + 1,
        batch: batch.clone(),
        started_ms: claim.keep_attempts.then_some(claim.now_ms),
        lease_until_ms: Some(claim.lease_until_ms),
        ..waited
    };
    let stamp = transaction.stamp(claim.now_ms);
    transaction.together.lease(&live, claim.lease_until_ms, stamp);
    let (user, key) = (live.user.clone(), live.key.clone());
    let Live { version, created_ms, .. } = live;
    let given = ClaimedJob { lease: live.lease(), user, version, key, payload, created_ms };
    transaction.lines.lease(live);
    given
}

/// How many more jobs the rate limit leaves.
fn room(connection: &impl Statements, claim: &Claim) -> Result<u32> {
    let Some((starts, window_ms)) = claim.rate else { return Ok(u32::MAX) };
    let params = params![claim.queue, Nat(claim.now_ms), Nat(window_ms)];
    let used = connection.one(USED, params, |row| row.get(0))?.unwrap_or(0u32);
    Ok(starts.saturating_sub(used))
}

fn note_rate(transaction: &mut Transaction<'_, '_>, claim: &Claim, jobs: usize) -> Result<()> {
    let Some((_, window_ms)) = claim.rate else { return Ok(()) };
    let connection = transaction.connection;
    let sql = "INSERT INTO rate_claim (queue, at_ms, jobs) VALUES (?1, ?2, ?3)
               ON CONFLICT (queue, at_ms) DO UPDATE SET jobs = jobs + excluded.jobs";
    connection.run(sql, params![claim.queue, Nat(claim.now_ms), Nat(jobs as u64)])?;
    if transaction.lines.set_window(&claim.queue, window_ms) {
        let sql = "INSERT INTO queue_state (queue, rate_window_ms) VALUES (?1, ?2)
                   ON CONFLICT (queue) DO UPDATE SET rate_window_ms = excluded.rate_window_ms";
        connection.change(sql, params![claim.queue, Nat(window_ms)])?;
    }
    Ok(())
}

//! What an enqueue becomes: the waiting job of its entity, a follow-up of the one that runs, or a new job.

use super::super::Seen;
use super::super::ledger::{Ledger, Live};
use super::super::number::{Job, Key, Queue};
use super::{COALESCE, DISTINCT, FOLLOW_UP, RELEASED};
use crate::history::{Accepted, How};
use crate::verdict::Notes;

/// `known` says whether the entity `key` had a job before.
pub(super) fn see(seen: &Seen<'_>, it: &Accepted, key: Key, known: bool, notes: &mut Notes) {
    let queue = seen.named.queue;
    if it.how != How::Replayed && seen.ledger.line(queue).is_some_and(|line| line.has_other_key(key)) {
        notes.exercised(DISTINCT);
    }
    let jobs = Jobs::of(seen.ledger, queue, key);
    match it.how {
        How::Created => judge_created(seen, it, &jobs, known, notes),
        How::Coalesced => judge_coalesced(seen, it, &jobs, notes),
        How::Replayed => {}
    }
}

/// The live jobs of one entity.
struct Jobs<'a> {
    /// The one that waits, the newest if there are several.
    waiting: Option<(Job, &'a Live)>,
    /// The one that runs.
    leased: Option<(Job, &'a Live)>,
}

impl<'a> Jobs<'a> {
    fn of(ledger: &'a Ledger, queue: Queue, key: Key) -> Self {
        let line = ledger.line(queue);
        let jobs = line.into_iter().flat_map(|line| line.of_key(key));
        let mut found = Self { waiting: None, leased: None };
        for job in jobs {
            let Some(live) = ledger.live(job) else {
                continue;
            };
            if live.leased().is_some() {
                found.leased = Some((job, live));
            } else {
                found.waiting = Some((job, live));
            }
        }
        found
    }
}

fn judge_created(seen: &Seen<'_>, it: &Accepted, jobs: &Jobs<'_>, known: bool, notes: &mut Notes) {
    let Accepted { job, key, .. } = it;
    let key = key.as_deref().unwrap_or_default();
    match (jobs.waiting, jobs.leased) {
        (None, None) if known => notes.exercised(RELEASED),
        (None, None) => {}
        (None, Some(_)) => notes.exercised(FOLLOW_UP),
        (Some((waiting, live)), leased) => {
            let waiting = seen.ledger.job_name(waiting);
            let how = if live.attempts.is_empty() { "waits" } else { "waits for its retry" };
            let says = format!("{waiting} {how} for {key}, but a further enqueue made a new job, {job}");
            notes.exercised(COALESCE);
            notes.broken(COALESCE, says, live.lines_and(seen.line));
            if let Some((running, _)) = leased {
                let running = seen.ledger.job_name(running);
                let says = format!(
                    "while {running} is processing for {key} there is one waiting job, {waiting}, but {job} was made too"
                );
                notes.exercised(FOLLOW_UP);
                notes.broken(FOLLOW_UP, says, live.lines_and(seen.line));
            }
        }
    }
}

fn judge_coalesced(seen: &Seen<'_>, it: &Accepted, jobs: &Jobs<'_>, notes: &mut Notes) {
    let key = it.key.as_deref().unwrap_or_default();
    let Some(target) = seen.ledger.live(seen.named.job) else {
        return judge_gone(seen, it, notes);
    };
    if target.key != seen.named.key || target.queue != seen.named.queue {
        let theirs = target.key.map_or("no entity", |key| seen.ledger.known.keys.text(key));
        let queue = seen.ledger.queue_name(target.queue);
        let says = format!("an enqueue for {key} of {} went to {}, a job for {theirs} of {queue}", it.queue, it.job);
        notes.exercised(DISTINCT);
        return notes.broken(DISTINCT, says, target.lines_and(seen.line));
    }
    if jobs.leased.is_some_and(|(_, live)| surely_runs(seen, it, live)) {
        notes.exercised(FOLLOW_UP);
    }
    if surely_runs(seen, it, target) {
        let says = format!(
            "{} is processing for {key} and has its payload already, but an enqueue was added to it and made no \
             waiting job",
            it.job
        );
        return notes.broken(FOLLOW_UP, says, target.lines_and(seen.line));
    }
    notes.exercised(COALESCE);
    if target.user != seen.named.user && !seen.ledger.header.inferred {
        let owner = seen.ledger.known.users.text(target.user);
        let says = format!(
            "an enqueue of {} for {key} was added to {}, a job of {owner}: {owner} sees a payload that is not their own, \
             and {} can see nothing of theirs",
            it.user, it.job, it.user
        );
        notes.broken(COALESCE, says, target.lines_and(seen.line));
    }
    if let Some((waiting, _)) = jobs.waiting.filter(|(waiting, _)| *waiting != seen.named.job) {
        let waiting = seen.ledger.job_name(waiting);
        let says =
            format!("an enqueue for {key} went to {}, but the newest job that waits for it is {waiting}", it.job);
        notes.broken(COALESCE, says, target.lines_and(seen.line));
    }
}

/// Whether a lease of `live` surely holds when the queue takes `it` in. One whose time is over need not: that it has run
/// out is settled later.
fn surely_runs(seen: &Seen<'_>, it: &Accepted, live: &Live) -> bool {
    let now = it.clock + seen.ledger.slack().clock_error_ms;
    live.leased().is_some_and(|attempt| now < attempt.lease_until)
}

/// An enqueue went to a job that is not live.
fn judge_gone(seen: &Seen<'_>, it: &Accepted, notes: &mut Notes) {
    let key = it.key.as_deref().unwrap_or_default();
    if let Some(end) = seen.ledger.ended(seen.named.job) {
        let says = format!(
            "{} ended at {} ({:?}), but a later enqueue for {key} was added to it and made no new job",
            it.job, end.at, end.how
        );
        notes.exercised(RELEASED);
        notes.broken(RELEASED, says, vec![end.line, seen.line]);
    } else {
        let says = format!("an enqueue for {key} was added to {}, a job that never was", it.job);
        notes.exercised(COALESCE);
        notes.broken(COALESCE, says, vec![seen.line]);
    }
}

//! In which order deliveries were granted. What is seen is when handlers were heard of, each through a pipe of its own, so
//! starts that are close together may have been granted the other way round. Of the orders that are left the one is taken
//! that accuses least: the more urgent first, then the larger batch, then who has waited longest.

use std::cmp::Reverse;

use kew_spec::history::{Given, Started, What};

use super::{Inference, Job};

/// How far ahead starts are looked at, in events: plenty for what is under way at once.
const EVENTS_MAX: usize = 2_000;

/// How far apart the starts of a limited queue may be to count as close.
const LIMITED_MS: u64 = 50;

/// Where a delivery stands in the order; the least goes first.
type Rank = (Reverse<u64>, Reverse<usize>, u64);

impl Inference<'_> {
    /// Grants the delivery that is seen to start at `index`, after those that may have been granted before it.
    pub(super) fn grant_in_order(&mut self, index: usize, at: u64, it: &Started) {
        let own = self.rank(it, at);
        let mut before: Vec<_> =
            self.close_by(index, at).into_iter().map(|other| (self.rank(&other, at), other)).collect();
        before.retain(|(rank, other)| *rank < own && !self.share_entity(it, other));
        before.sort_by_key(|(rank, _)| *rank);
        for (_, other) in before {
            self.grant_ahead(at, &other);
        }
        self.grant(at, it);
    }

    /// A new job was made for `key` although one waits: that one had been granted before, if it starts soon.
    pub(super) fn grant_waiting(&mut self, index: usize, at: u64, queue: &str, key: &str) {
        let is_it = |job: &Job| job.queue == queue && job.key.as_deref() == Some(key) && waits(job);
        let Some(id) = self.jobs.iter().find(|(_, job)| is_it(job)).map(|(id, _)| id.clone()) else { return };
        let found = self.close_by(index, at).into_iter().find(|other| other.jobs.iter().any(|given| given.job == id));
        if let Some(other) = found {
            self.grant_ahead(at, &other);
        }
    }

    fn grant_ahead(&mut self, at: u64, it: &Started) {
        if it.jobs.iter().all(|given| self.jobs.get(&given.job).is_some_and(waits)) {
            it.jobs.iter().for_each(|given| self.coalesce_before(at, given));
            self.granted_ahead.extend(it.delivery.clone());
            self.grant(at, it);
        }
    }

    /// Deliveries that are seen to start soon after `index`, and could have been granted by then.
    fn close_by(&self, index: usize, at: u64) -> Vec<Started> {
        let clock = self.clock(at);
        let soon = self.events[index + 1..].iter().take(EVENTS_MAX).take_while(|event| {
            let struck = matches!(&event.what, What::Fault(_) | What::Processor(_));
            event.at <= at + self.known.late_ms && !struck
        });
        let starts = soon.filter_map(|event| match &event.what {
            What::Started(it) => Some((event.at, it)),
            _ => None,
        });
        let could = |(started_at, it): &(u64, &Started)| {
            // Where starts are limited, moving one by much would break the limit.
            let limited = self.policy(&it.queue).is_none_or(|policy| policy.rate_limit.is_some());
            let far = limited && at + LIMITED_MS < *started_at;
            let known = it.delivery.as_ref().is_some_and(|delivery| self.granted_ahead.contains(delivery));
            let due = |job: &Job| waits(job) && job.due_clock <= clock && !self.is_behind(job);
            let brought = it.jobs.iter().all(|given| self.is_brought(given));
            !far && !known && brought && it.jobs.iter().all(|given| self.jobs.get(&given.job).is_some_and(due))
        };
        starts.filter(could).map(|(_, it)| it.clone()).collect()
    }

    /// Whether somebody has asked for what this job is given: a payload that is still to come cannot have been granted.
    fn is_brought(&self, given: &Given) -> bool {
        let asked = |what: &What| matches!(what, What::Enqueue(it) if it.payload == given.payload);
        let accepted = self.jobs.get(&given.job).is_some_and(|job| job.payload == given.payload);
        accepted || self.asked.values().any(asked)
    }

    /// Whether two deliveries hold jobs of one entity: of those one goes after the other has ended.
    fn share_entity(&self, one: &Started, other: &Started) -> bool {
        let entities = |it: &Started| -> Vec<_> {
            let jobs = it.jobs.iter().filter_map(|given| self.jobs.get(&given.job));
            jobs.filter_map(|job| Some((job.queue.clone(), job.key.clone()?))).collect()
        };
        let ones = entities(one);
        entities(other).iter().any(|entity| ones.contains(entity))
    }

    /// Whether another job of its entity is at work or waits: then it goes after that one, or nobody knows which goes first.
    fn is_behind(&self, job: &Job) -> bool {
        let deduplicates = self.policy(&job.queue).is_some_and(|policy| policy.deduplication);
        let of_key = |other: &&Job| other.queue == job.queue && other.key == job.key && other.over.is_none();
        deduplicates && job.key.is_some() && 1 < self.jobs.values().filter(of_key).count()
    }

    fn rank(&self, it: &Started, at: u64) -> Rank {
        let since = it.jobs.iter().filter_map(|given| self.jobs.get(&given.job)).map(|job| job.due_clock).min();
        let since = since.unwrap_or(u64::MAX);
        let waited = self.clock(at).saturating_sub(since);
        let level = self.policy(&it.queue).map_or(0, |policy| policy.priority.level_after(waited));
        (Reverse(level), Reverse(it.jobs.len()), since)
    }
}

/// Whether nobody holds the job, and it has not ended.
fn waits(job: &Job) -> bool {
    job.over.is_none() && job.attempts.last().is_none_or(|last| last.ended)
}

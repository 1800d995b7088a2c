//! Which delivery is to be given next: the queue whose longest waiting job has the highest priority among those that may
//! deliver, and of it the jobs that wait longest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Lie;
use super::room::{Job, Lane, Room, Stage};

/// How long a job waits for its level to rise by one.
const AGING_MS: u64 = 30_000;

/// What to do next.
pub(super) enum Next {
    /// Deliver these jobs of one queue together.
    Deliver { queue: String, jobs: Vec<String> },
    /// Nothing, and unless something happens nothing before this.
    Wait { until_ms: Option<u64> },
}

/// What one queue could do.
enum Offer {
    /// Deliver so many of those that wait longest.
    Ready { jobs: Vec<String>, since_ms: u64 },
    /// Nothing before this.
    Later(u64),
    /// Nothing.
    Nothing,
}

impl Room {
    /// What to do at `now`.
    pub(super) fn next(&self, now: u64) -> Next {
        if self.slots <= self.running.len() {
            return Next::Wait { until_ms: None };
        }
        let (mut ready, mut until_ms) = (Vec::new(), None);
        for (queue, lane) in &self.lanes {
            match self.offer(lane, now) {
                Offer::Ready { jobs, since_ms } => {
                    let rank = (self.level(lane, now - since_ms), Reverse(since_ms));
                    ready.push((rank, queue, jobs));
                }
                Offer::Later(at) => until_ms = Some(until_ms.map_or(at, |other: u64| other.min(at))),
                Offer::Nothing => {}
            }
        }
        match ready.into_iter().max_by_key(|(rank, ..)| *rank) {
            Some((_, queue, jobs)) => Next::Deliver { queue: queue.clone(), jobs },
            None => Next::Wait { until_ms },
        }
    }

    /// How urgent a queue is whose longest waiting job waits for so long.
    fn level(&self, lane: &Lane, waited_ms: u64) -> u64 {
        let own = lane.policy.priority as u64;
        match self.lie {
            Some(Lie::PriorityInverted) => 3 - own,
            Some(Lie::NoAging) => own,
            _ => own + waited_ms / AGING_MS,
        }
    }

    fn offer(&self, lane: &Lane, now: u64) -> Offer {
        if lane.paused {
            return Offer::Nothing;
        }
        let waiting = self.waiting(lane);
        let Some(&(since_ms, ..)) = waiting.first() else { return Offer::Nothing };
        let due = waiting.partition_point(|(due_ms, ..)| *due_ms <= now);
        if due == 0 {
            return Offer::Later(since_ms);
        }
        let size = lane.policy.batch.as_ref().map_or(1, |batch| batch.size as usize);
        let waits_until = since_ms + lane.policy.batch.as_ref().and_then(|it| it.wait_ms).map_or(0, |ms| self.wait(ms));
        let full = size <= due && !self.lies(Lie::FullBatchWaits);
        if !full && now < waits_until {
            let next = waiting.get(due).map_or(u64::MAX, |(due_ms, ..)| *due_ms);
            return Offer::Later(waits_until.min(next));
        }
        let may = match self.allowance(lane, now) {
            Ok(may) => may,
            Err(at) => return Offer::Later(at),
        };
        let take = match self.lie {
            Some(Lie::BatchTooLarge) if 1 < size => due.min(size + 1),
            Some(Lie::OneRunPerTick) if lane.policy.schedule.is_some() => {
                waiting.partition_point(|(due_ms, ..)| *due_ms == since_ms).min(size)
            }
            _ => due.min(size).min(may),
        };
        let mut jobs: Vec<_> = waiting.iter().take(due).map(|(_, _, name)| (*name).clone()).collect();
        if self.lies(Lie::NewestFirst) {
            jobs.reverse();
        }
        jobs.truncate(take);
        Offer::Ready { jobs, since_ms }
    }

    /// Waiting jobs that no older job of their entity blocks, the longest waiting first.
    fn waiting<'a>(&self, lane: &'a Lane) -> Vec<(u64, u64, &'a String)> {
        let mut first: BTreeMap<&str, u64> = BTreeMap::new();
        if lane.policy.deduplication && !self.lies(Lie::TwoOfOneEntity) {
            for job in lane.jobs.values().filter(|job| job.is_live()) {
                let Some(key) = &job.key else { continue };
                let oldest = first.entry(key).or_insert(job.number);
                *oldest = job.number.min(*oldest);
            }
        }
        let blocked = |job: &Job| {
            let oldest = job.key.as_deref().and_then(|key| first.get(key));
            oldest.is_some_and(|oldest| *oldest < job.number)
        };
        let mut waiting: Vec<_> = lane
            .jobs
            .iter()
            .filter_map(|(name, job)| match job.stage {
                Stage::Waiting { due_ms } if !blocked(job) => Some((due_ms, job.number, name)),
                _ => None,
            })
            .collect();
        waiting.sort_unstable();
        waiting
    }

    /// How long the oldest job of a batch waits for others.
    fn wait(&self, wait_ms: u64) -> u64 {
        if self.lies(Lie::BatchWaitsLong) { 3 * wait_ms + 2_500 } else { wait_ms }
    }

    /// How many jobs the limit lets start at `now`, or when it lets the next one.
    fn allowance(&self, lane: &Lane, now: u64) -> Result<usize, u64> {
        let Some(limit) = &lane.policy.rate_limit else { return Ok(usize::MAX) };
        let starts = match self.lie {
            Some(Lie::LimitPerWorker) => 3 * limit.starts as usize,
            Some(Lie::LimitHalfUsed) => (limit.starts as usize).div_ceil(2),
            _ => limit.starts as usize,
        };
        let per_ms = if self.lies(Lie::WindowTooShort) { limit.per_ms / 2 } else { limit.per_ms };
        let within: Vec<_> = lane.starts.iter().filter(|start| now < *start + per_ms).collect();
        match within.len() {
            held if held < starts => Ok(starts - held),
            held => Err(within[held - starts] + per_ms),
        }
    }
}

//! What follows an attempt: the end, another attempt, or the end of all attempts.

use kew_spec::queues::Attempts;

use super::Lie;
use super::room::{Attempt, Dead, Room, Stage};
use crate::protocol::{Ending, JobResult};

impl Room {
    /// A handler has ended by its own word.
    pub(super) fn finish(&mut self, delivery: u64, results: &[JobResult], now: u64) {
        let Some(it) = self.running.remove(&delivery) else { return };
        let failed = results.iter().find(|result| result.result == Ending::Failed);
        for job in &it.jobs {
            let own = results.iter().find(|result| result.job == *job);
            let own = failed.filter(|_| self.lies(Lie::BatchFailsWhole)).or(own);
            match own {
                Some(JobResult { result: Ending::Completed, .. }) => self.complete(job, now),
                Some(JobResult { error, .. }) => self.fail(job, error.clone().unwrap_or_default(), now),
                None => self.fail(job, "the handler said nothing of it".into(), now),
            }
        }
    }

    /// A handler was stopped at its timeout.
    pub(super) fn time_out(&mut self, delivery: u64, timeout_ms: u64, now: u64) {
        let Some(it) = self.running.remove(&delivery) else { return };
        for job in &it.jobs {
            self.fail(job, format!("timed out after {timeout_ms} ms"), now);
        }
    }

    /// A handler that was stopped has ended after all. True if anything follows from that; nothing must.
    pub(super) fn finish_late(&mut self, results: &[JobResult], now: u64) -> bool {
        if !self.lies(Lie::LateResultCounts) {
            return false;
        }
        for result in results.iter().filter(|result| result.result == Ending::Completed) {
            self.running.retain(|_, delivery| !delivery.jobs.contains(&result.job));
            if let Some(job) = self.find(&result.job) {
                job.stage = Stage::Running;
            }
            self.complete(&result.job, now);
        }
        true
    }

    fn complete(&mut self, name: &str, now: u64) {
        let forgets = self.lies(Lie::AckLost);
        let Some(job) = self.find(name).filter(|job| job.stage == Stage::Running) else { return };
        job.updated_ms = now;
        if forgets && job.attempts.len() == 1 {
            job.stage = Stage::Waiting { due_ms: now };
            return;
        }
        job.stage = Stage::Completed;
        (job.error, job.completed_ms) = (None, Some(now));
    }

    fn fail(&mut self, name: &str, error: String, now: u64) {
        let Some(queue) = self.queue_of(name) else { return };
        let Some(job) = self.find(name).filter(|job| job.stage == Stage::Running) else { return };
        if let Some(last) = job.attempts.last_mut() {
            *last = Attempt { error: error.clone(), ended_ms: now };
        }
        (job.error, job.updated_ms) = (Some(error), now);
        let attempts = job.attempts.len() as u32;
        if self.allows(&queue, attempts) {
            let due_ms = self.retry_ms(&queue, attempts, now);
            self.wait_again(&queue, name, due_ms);
        } else {
            self.give_up(&queue, name, now);
        }
    }

    /// Whether another attempt follows so many.
    fn allows(&self, queue: &str, attempts: u32) -> bool {
        let Some(lane) = self.lanes.get(queue) else { return false };
        match (lane.policy.attempts, self.lie) {
            (Attempts::Limited(max), Some(Lie::OneTooMany)) => attempts < max + 1,
            (Attempts::Limited(max), Some(Lie::OneTooFew)) => attempts + 1 < max,
            (Attempts::Limited(max), _) => attempts < max,
            (Attempts::Infinite(_), Some(Lie::GivesUpInfinite)) => attempts < 3,
            (Attempts::Infinite(_), _) => true,
        }
    }

    fn wait_again(&mut self, queue: &str, name: &str, due_ms: u64) {
        let last = if self.lies(Lie::OldWriteLast) { Some(self.number()) } else { None };
        let shares = self.lies(Lie::CounterShared);
        let buries = self.lies(Lie::DeadTooSoon);
        let Ok(lane) = self.lane(queue) else { return };
        let Some(job) = lane.jobs.get_mut(name) else { return };
        job.stage = Stage::Waiting { due_ms };
        job.number = last.unwrap_or(job.number);
        if buries {
            let (payload, error) = (job.payload.clone(), job.error.clone());
            lane.dead.push(Dead { job: name.to_owned(), payload, error, attempts: Vec::new() });
        }
        let other = lane.jobs.iter_mut().find(|(other, job)| other.as_str() != name && job.waits());
        if let Some((_, other)) = other.filter(|_| shares) {
            other.attempts.push(Attempt::default());
        }
    }

    fn give_up(&mut self, queue: &str, name: &str, now: u64) {
        let elsewhere = self.lies(Lie::DeadElsewhere);
        let lie = self.lie;
        let Ok(lane) = self.lane(queue) else { return };
        let Some(job) = lane.jobs.get_mut(name) else { return };
        job.stage = Stage::Failed;
        job.completed_ms = Some(now);
        let keeps = lane.policy.dead_letter_queue.is_some();
        let (mut error, attempts) = (job.error.clone(), job.attempts.clone());
        if lie == Some(Lie::DeadForgets) {
            error = attempts.first().map(|_| "it failed".to_owned());
        }
        let dead = || Dead {
            job: name.to_owned(),
            payload: job.payload.clone(),
            error: error.clone(),
            attempts: attempts.clone(),
        };
        let letters = match lie {
            _ if !keeps => 0,
            Some(Lie::DeadLost) => 0,
            Some(Lie::DeadTwice) => 2,
            _ => 1,
        };
        let new: Vec<_> = std::iter::repeat_with(dead).take(letters.max(usize::from(elsewhere))).collect();
        if keeps {
            lane.dead.extend(new);
        } else if let Some(other) = self.lanes.values_mut().find(|other| other.policy.dead_letter_queue.is_some()) {
            other.dead.extend(new);
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut super::room::Job> {
        self.lanes.values_mut().find_map(|lane| lane.jobs.get_mut(name))
    }

    fn queue_of(&self, name: &str) -> Option<String> {
        self.lanes.iter().find(|(_, lane)| lane.jobs.contains_key(name)).map(|(queue, _)| queue.clone())
    }
}

//! What an enqueue becomes: a job of its own, or the one that is there already.

use super::Lie;
use super::room::{Job, Room, Stage};
use crate::protocol;

impl Room {
    /// Takes a job in. Answers with the job that it went to, if it made none.
    pub(super) fn accept(&mut self, job: protocol::Job, now: u64) -> Result<Option<String>, String> {
        let user = if self.lies(Lie::KeyOfAll) { String::new() } else { job.user.clone() };
        let lane = self.lane(&job.queue)?;
        if lane.jobs.contains_key(&job.job) {
            return Err(format!("there is a job {} already", job.job));
        }
        let idempotent = job.idempotency_key.clone().map(|key| (user, key));
        let made = idempotent.as_ref().and_then(|key| lane.idempotent.get(key)).cloned();
        if let Some(made) = made.filter(|_| !self.lies(Lie::IdempotencyIgnored)) {
            return Ok(Some(made));
        }
        let went_to = match self.waits_already(&job) {
            Some(other) => {
                self.coalesce(&job, &other, now);
                Some(other)
            }
            None => {
                self.create(&job, now);
                None
            }
        };
        if let Some(key) = idempotent {
            let made = went_to.clone().unwrap_or_else(|| job.job.clone());
            self.lane(&job.queue)?.idempotent.insert(key, made);
        }
        Ok(went_to)
    }

    /// The job that waits for the same entity, the newest if there are several.
    fn waits_already(&self, job: &protocol::Job) -> Option<String> {
        let lane = self.lanes.get(&job.queue).filter(|lane| lane.policy.deduplication)?;
        let key = job.key.as_ref()?;
        let takes = |it: &Job| match self.lie {
            Some(Lie::NeverCoalesces) => false,
            Some(Lie::JoinsRunning) => it.is_live(),
            Some(Lie::NotReleased) => it.waits() || it.stage == Stage::Cancelled || it.stage == Stage::Failed,
            _ => it.waits(),
        };
        let same = |it: &Job| it.key.as_ref() == Some(key) || self.lies(Lie::StrangersCoalesce);
        let found = lane.jobs.iter().filter(|(_, it)| same(it) && takes(it));
        found.max_by_key(|(_, it)| it.number).map(|(name, _)| name.clone())
    }

    /// The newest payload wins.
    fn coalesce(&mut self, job: &protocol::Job, other: &str, now: u64) {
        if self.lies(Lie::OldestWins) {
            return;
        }
        if let Ok(other) = self.job(&job.queue, other) {
            other.payload.clone_from(&job.payload);
            other.updated_ms = now;
        }
    }

    fn create(&mut self, job: &protocol::Job, now: u64) {
        let (number, due_ms) = (self.number(), self.ready_ms(&job.queue, now));
        let payload = self.payload(job);
        // Where several queues wait for each other, a play would wait long for what was lost.
        let lost = self.lies(Lie::LostOnEnqueue) && number.is_multiple_of(3) && self.lanes.len() == 1;
        let ghost = self.lies(Lie::Ghost) && number.is_multiple_of(3);
        let Some(lane) = self.lanes.get_mut(&job.queue).filter(|_| !lost) else { return };
        let new = |key: Option<String>| Job {
            number,
            payload: payload.clone(),
            key,
            stage: Stage::Waiting { due_ms },
            attempts: Vec::new(),
            error: None,
            created_ms: now,
            updated_ms: now,
            completed_ms: None,
        };
        lane.jobs.insert(job.job.clone(), new(job.key.clone()));
        if ghost {
            lane.jobs.insert(format!("{}-ghost", job.job), new(None));
        }
    }

    /// The payload as it is kept: as it came.
    fn payload(&self, job: &protocol::Job) -> String {
        match self.lie {
            Some(Lie::PayloadTidied) => job.payload.split_whitespace().collect(),
            Some(Lie::PayloadSwapped) => {
                let last = self.lanes.get(&job.queue).and_then(|lane| lane.jobs.values().max_by_key(|it| it.number));
                last.map_or_else(|| job.payload.clone(), |last| last.payload.clone())
            }
            _ => job.payload.clone(),
        }
    }
}

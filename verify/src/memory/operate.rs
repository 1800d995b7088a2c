//! What clients read and operators do: status, dead letters, redrive, cancel, pause.

use kew_spec::history::DeadAttempt;
use kew_spec::lifecycle::Status;
use serde_json::json;

use super::Lie;
use super::room::{Attempt, Dead, Room, Stage};
use crate::protocol::{DeadJob, Standing, Which};

impl Room {
    /// All dead letters of a queue.
    pub(super) fn dead_letters(&mut self, queue: &str) -> Result<Vec<DeadJob>, String> {
        Ok(self.lane(queue)?.dead.iter().map(letter).collect())
    }

    /// How a job stands.
    pub(super) fn status(&mut self, which: &Which, now: u64) -> Result<Standing, String> {
        let (lie, again) = (self.lie, self.random(2) == 0);
        let Ok(job) = self.job(&which.queue, &which.job) else { return Ok(Standing::default()) };
        if lie == Some(Lie::HiddenAtFirst) && now < job.created_ms + 1_500 {
            return Ok(Standing::default());
        }
        let status = match job.stage {
            Stage::Completed if lie == Some(Lie::WorkedOnAgain) && again => Status::Processing,
            Stage::Running => Status::Processing,
            Stage::Waiting { .. } if job.attempts.is_empty() => Status::Pending,
            Stage::Waiting { .. } | Stage::Failed | Stage::Cancelled => Status::Failed,
            Stage::Completed => Status::Completed,
        };
        let begun = job.attempts.len() as u32;
        let first = job.attempts.first().filter(|first| !first.error.is_empty()).map(|first| first.error.clone());
        Ok(Standing {
            status: Some(status),
            is_final: !job.is_live() && status != Status::Processing,
            retry_count: Some(if lie == Some(Lie::RetryCountOff) { begun } else { begun.saturating_sub(1) }),
            error: if lie == Some(Lie::FirstErrorStays) { first.or(job.error.clone()) } else { job.error.clone() },
            result: (status == Status::Completed).then(|| json!("done")),
            created_at: Some(job.created_ms),
            updated_at: Some(if lie == Some(Lie::TimeGoesBack) { u64::MAX / 2 - now } else { job.updated_ms }),
            completed_at: job.completed_ms.filter(|_| lie != Some(Lie::EndWithoutTime) && status != Status::Processing),
            dead_letter_queue: None,
        })
    }

    /// Puts a dead letter back.
    pub(super) fn redrive(&mut self, which: &Which, now: u64) -> Result<(), String> {
        let (keeps, spent) = (self.lies(Lie::RedriveCopies), self.lies(Lie::RedriveSpent));
        let due_ms = self.ready_ms(&which.queue, now);
        let lane = self.lane(&which.queue)?;
        let dead = lane.dead.iter().position(|dead| dead.job == which.job);
        let place = dead.ok_or_else(|| format!("{} is no dead letter", which.job))?;
        if !keeps {
            lane.dead.remove(place);
        }
        let job = self.job(&which.queue, &which.job)?;
        let left = if spent { job.attempts.len().saturating_sub(1) } else { 0 };
        job.attempts.truncate(left);
        job.stage = Stage::Waiting { due_ms };
        (job.error, job.completed_ms, job.updated_ms) = (None, None, now);
        Ok(())
    }

    /// Ends a job that has not ended.
    pub(super) fn cancel(&mut self, which: &Which, now: u64) -> Result<(), String> {
        let ignores = self.lies(Lie::CancelIgnored);
        let job = self.job(&which.queue, &which.job)?;
        if !job.is_live() {
            return Err(format!("{} has ended", which.job));
        }
        if ignores {
            return Ok(());
        }
        job.stage = Stage::Cancelled;
        (job.error, job.completed_ms, job.updated_ms) = (Some("cancelled".into()), Some(now), now);
        self.stop(&which.job);
        Ok(())
    }

    /// Stops the handler that works on `job` alone. In a batch it goes on for the others.
    fn stop(&mut self, job: &str) {
        let alone = self.running.iter().find(|(_, delivery)| delivery.jobs.len() == 1 && delivery.jobs[0] == job);
        let Some(number) = alone.map(|(number, _)| *number) else { return };
        if let Some(stop) = self.running.remove(&number).and_then(|delivery| delivery.stop) {
            let _ = stop.send(()); // It may have ended in this moment.
        }
    }

    /// Gives no deliveries of a queue, or goes on.
    pub(super) fn pause(&mut self, queue: &str, paused: bool) -> Result<(), String> {
        self.lane(queue)?.paused = paused;
        Ok(())
    }
}

fn letter(dead: &Dead) -> DeadJob {
    let attempt = |(place, it): (usize, &Attempt)| DeadAttempt {
        attempt: place as u32 + 1,
        error: it.error.clone(),
        ended_at: it.ended_ms,
    };
    let attempts = dead.attempts.iter().enumerate().map(attempt).collect();
    DeadJob {
        job: dead.job.clone(),
        payload: dead.payload.clone(),
        error: dead.error.clone(),
        attempts: Some(attempts),
    }
}

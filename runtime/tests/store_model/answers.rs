//! What the model answers to questions: the outlook and the rows.

use std::collections::BTreeSet;

use kew_runtime::store::*;

use super::model::{Job, Model};

/// What the model answers to questions.
impl Model {
    pub(crate) fn last_ms(&self) -> u64 {
        self.last_ms
    }

    fn live(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| job.is_live)
    }

    pub(crate) fn outlook(&self, now_ms: u64) -> Outlook {
        let names: BTreeSet<_> = self.live().map(|job| job.row.queue.clone()).collect();
        let leases = || self.live().filter_map(|job| Some((job.lease.as_ref()?.until_ms, job.order, job.lease_id())));
        let mut expired: Vec<_> = leases().filter(|lease| lease.0 <= now_ms).collect();
        expired.sort();
        Outlook {
            queues: names.into_iter().map(|queue| self.queue_outlook(queue, now_ms)).collect(),
            expired: expired.into_iter().map(|lease| lease.2).collect(),
            next_lease_ms: leases().map(|lease| lease.0).filter(|&until_ms| now_ms < until_ms).min(),
        }
    }

    fn queue_outlook(&self, queue: String, now_ms: u64) -> QueueOutlook {
        let ready = self.ready(&queue, now_ms);
        let kept = self.kept(&ready);
        let later = self.waiting(&queue).into_iter().map(|(ready_ms, _)| ready_ms);
        let recent = self
            .claims
            .get(&queue)
            .map(|(claims, window_ms)| claims.iter().copied().filter(|at_ms| now_ms < at_ms + window_ms).collect());
        QueueOutlook {
            paused: self.paused.contains(&queue),
            oldest_ready_ms: ready.first().map(|(ready_ms, _)| *ready_ms),
            ready: ready.len() as u32,
            head_keeps_batch: kept.is_some(),
            head_jobs: kept.unwrap_or(ready.len().min(1)) as u32,
            next_ready_ms: later.filter(|&ready_ms| now_ms < ready_ms).min(),
            recent_claims_ms: recent.unwrap_or_default(),
            queue,
        }
    }

    pub(crate) fn read(&self, query: &Query) -> Rows {
        match query {
            Query::Job { job } => Rows::Jobs(self.find(job).map(|at| self.jobs[at].row.clone()).into_iter().collect()),
            Query::JobsOf { user, after, limit } => {
                let before = after.as_ref().map(|after| self.find(after).map_or(0, |at| at));
                let older = self.jobs[..before.unwrap_or(self.jobs.len())].iter().rev();
                let theirs = older.filter(|job| job.row.user_id == *user).take(*limit as usize);
                Rows::Jobs(theirs.map(|job| job.row.clone()).collect())
            }
            Query::Depths => Rows::Depths(self.depths()),
            Query::DeadLetters { dead_letter_queue, after, limit } => {
                let mut dead: Vec<_> = self.jobs.iter().filter(|job| job.died.is_some()).collect();
                dead.retain(|job| job.row.dead_letter_queue.as_ref() == Some(dead_letter_queue));
                dead.sort_by_key(|job| job.died);
                let passed = after.as_ref().map(|after| {
                    let found = self.find(after).and_then(|at| self.jobs[at].died);
                    dead.iter().filter(|job| found.is_none_or(|found| job.died <= Some(found))).count()
                });
                let rows = dead.into_iter().skip(passed.unwrap_or(0)).take(*limit as usize);
                Rows::DeadLetters(rows.map(dead_letter).collect())
            }
            Query::DeadLetter { job } => {
                let job = self.find(job).map(|at| &self.jobs[at]).filter(|job| job.died.is_some());
                Rows::DeadLetters(job.map(dead_letter).into_iter().collect())
            }
            Query::Ends { after, limit } => {
                let later = self.ends.iter().filter(|end| *after < end.seq);
                Rows::Ends(later.take(*limit as usize).cloned().collect())
            }
            Query::Told => Rows::Told { through: self.told, newest: self.ended },
        }
    }

    fn depths(&self) -> Vec<Depth> {
        let live = self.live().map(|job| job.row.queue.clone());
        let names: BTreeSet<_> = live.chain(self.paused.iter().cloned()).collect();
        let depth = |queue: String| {
            let jobs: Vec<_> = self.live().filter(|job| job.row.queue == queue).collect();
            let processing = jobs.iter().filter(|job| job.lease.is_some()).count() as u64;
            Depth {
                paused: self.paused.contains(&queue),
                waiting: jobs.len() as u64 - processing,
                processing,
                oldest_created_ms: jobs.iter().map(|job| job.row.created_ms).min(),
                queue,
            }
        };
        names.into_iter().map(depth).collect()
    }
}

fn dead_letter(job: &Job) -> DeadLetterRow {
    let (_, died_ms) = job.died.expect("only dead letters are asked for");
    DeadLetterRow { job: job.row.clone(), died_ms, attempts: job.attempts.clone() }
}

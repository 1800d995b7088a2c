//! What faults do to deliveries: which were lost, and which nobody lived to tell of.

use kew_spec::history::{AttemptOutcome, Given, Started};

use super::ahead::Ahead;
use super::{Inference, Job};

impl Inference<'_> {
    /// Something has struck `hosts` until `heals_at`. What they held is lost if it is delivered again and its handler was
    /// not heard of well after that: what a handler says while its host is struck may never have arrived. A handler that
    /// was not struck keeps its lease until its timeout, and a delivery before that has two owners.
    pub(super) fn lose(&mut self, index: usize, at: u64, hosts: &[String], heals_at: u64) {
        let all = hosts.iter().any(|host| !host.starts_with("processor-"));
        let is_lost = |id: &String, job: &Job| {
            let open = job.attempts.last().filter(|last| !last.ended && job.over.is_none());
            open.is_some_and(|last| {
                let end = self.ahead.ends.get(&last.delivery).copied().filter(|(end, _)| index < *end);
                let start = Ahead::next(self.ahead.starts.get(id), index);
                let goes_on = match (end, start) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some((end, ended_at)), Some(start)) => {
                        heals_at.saturating_add(self.known.late_ms) < ended_at && end < start
                    }
                };
                (all || hosts.contains(&last.processor)) && !goes_on
            })
        };
        let lost: Vec<_> = self.jobs.iter().filter(|(id, job)| is_lost(id, job)).map(|(id, _)| id.clone()).collect();
        for id in lost {
            let then = self.then(index, at, &id, AttemptOutcome::Lost);
            self.settle_one(at, &id, AttemptOutcome::Lost, then, None);
        }
    }

    /// A processor has died. It may have been given jobs without living to tell: a job that waits counts as such if the
    /// number that its next handler is told shows one delivery more than was seen, or if it is given up with fewer than
    /// its attempts.
    pub(super) fn deliver_unseen(&mut self, index: usize, at: u64, processor: &str) {
        let waits = |job: &Job| job.over.is_none() && job.attempts.last().is_none_or(|last| last.ended);
        let unseen = |id: &String, job: &Job| {
            let had = job.attempts.len() as u32;
            let start = Ahead::next(self.ahead.starts.get(id), index);
            let told = start.and_then(|start| self.ahead.told.get(&(start, id.clone())).copied());
            let later = self.ahead.starts.get(id).map_or(0, |all| all.iter().filter(|start| index < **start).count());
            let max = self.policy(&job.queue).and_then(|policy| policy.attempts.max());
            let never_done = !self.ahead.completed.contains(id) && !self.ahead.cancels.contains_key(id);
            let short = never_done && max.is_some_and(|max| had + (later as u32) < max);
            told.map_or(short, |told| had + 1 < told)
        };
        let jobs = self.jobs.iter().filter(|(id, job)| waits(job) && unseen(id, job));
        let jobs: Vec<_> = jobs.map(|(id, job)| (id.clone(), job.queue.clone())).collect();
        for (job, queue) in jobs {
            let delivery = format!("unseen {at} {job}");
            let given = Given { job: job.clone(), attempt: 0, told: None, payload: String::new() };
            self.grant(
                at,
                &Started { processor: processor.into(), delivery: Some(delivery), queue, jobs: vec![given] },
            );
            let then = self.then(index, at, &job, AttemptOutcome::Lost);
            self.settle_one(at, &job, AttemptOutcome::Lost, then, None);
        }
    }

    /// Whether the handler of `id` said how it ended so shortly before its host was struck that nobody may have heard it;
    /// that the job comes again, or is found dead, shows it.
    pub(super) fn may_be_unheard(&self, index: usize, at: u64, id: &str) -> bool {
        let later = [self.ahead.starts.get(id), self.ahead.dead.get(id), self.ahead.failed.get(id)];
        let comes_again = later.into_iter().any(|places| Ahead::next(places, index).is_some());
        let processor = self.jobs.get(id).and_then(|job| job.attempts.last()).map(|last| last.processor.as_str());
        let strikes = |hosts: &[String]| {
            hosts.iter().any(|host| Some(host.as_str()) == processor || !host.starts_with("processor-"))
        };
        let shortly = |struck: u64| at <= struck && struck <= at + self.known.late_ms;
        comes_again && self.ahead.strikes.iter().any(|(struck, hosts)| shortly(*struck) && strikes(hosts))
    }
}

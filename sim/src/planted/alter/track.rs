//! What several bugs have to know of the jobs that pass by: which are leased, and what each entity's are doing. It is
//! gone with a restart of the broker.

use std::collections::BTreeMap;

use kew_runtime::store::{Answer, Command, Ending, How, LeaseId, Then};

/// The leases that hold, by job.
#[derive(Default)]
pub(in super::super) struct Leases(pub(in super::super) BTreeMap<String, Leased>);

/// A lease.
pub(in super::super) struct Leased {
    pub(in super::super) lease: LeaseId,
    pub(in super::super) processor: String,
    pub(in super::super) granted_ms: u64,
    pub(in super::super) until_ms: u64,
    pub(in super::super) created_ms: u64,
    pub(in super::super) key: Option<String>,
}

impl Leases {
    /// Takes in a command and its answer.
    pub(in super::super) fn see(&mut self, asked: &Command, answer: &Answer) {
        match (asked, answer) {
            (Command::Claim(it), Answer::Claimed(Some(claimed))) => {
                for job in &claimed.jobs {
                    let leased = Leased {
                        lease: job.lease.clone(),
                        processor: it.processor.clone(),
                        granted_ms: it.now_ms,
                        until_ms: it.lease_until_ms,
                        created_ms: job.created_ms,
                        key: job.key.clone(),
                    };
                    self.0.insert(job.lease.job.clone(), leased);
                }
            }
            (Command::Settle(it), Answer::Settled { accepted: true }) => drop(self.0.remove(&it.lease.job)),
            (Command::Cancel { job, .. }, Answer::Ended(Ending::Done)) => drop(self.0.remove(job)),
            _ => {}
        }
    }

    /// The lease of this id, if it holds.
    pub(in super::super) fn get(&self, lease: &LeaseId) -> Option<&Leased> {
        self.0.get(&lease.job).filter(|leased| leased.lease == *lease)
    }
}

/// What the jobs of each entity are doing.
#[derive(Default)]
pub(in super::super) struct Entities {
    entities: BTreeMap<(String, String), Entity>,
    of_job: BTreeMap<String, (String, String)>,
}

/// What the jobs of one entity are doing.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Entity {
    /// The one that is processing, with its attempt and since when.
    pub(in super::super) running: Option<(String, u32, u64)>,
    /// The one that waits for its first attempt.
    pub(in super::super) waiting: Option<String>,
    /// The one that waits for its retry.
    pub(in super::super) retrying: Option<String>,
}

impl Entities {
    /// Takes in a command and its answer.
    pub(in super::super) fn see(&mut self, asked: &Command, answer: &Answer) {
        match (asked, answer) {
            (Command::Enqueue(it), Answer::Enqueued { job, how: How::Created }) => {
                if let Some(key) = &it.key {
                    let entity = (it.queue.clone(), key.clone());
                    self.of_job.insert(job.clone(), entity.clone());
                    self.entities.entry(entity).or_default().waiting = Some(job.clone());
                }
            }
            (Command::Claim(it), Answer::Claimed(Some(claimed))) => {
                for job in &claimed.jobs {
                    self.take_up(&job.lease, it.now_ms);
                }
            }
            (Command::Settle(it), Answer::Settled { accepted: true }) => {
                self.leave(&it.lease.job, matches!(it.then, Then::RetryAt(_)));
            }
            (Command::Cancel { job, .. }, Answer::Ended(Ending::Done)) => self.leave(job, false),
            _ => {}
        }
    }

    fn take_up(&mut self, lease: &LeaseId, now_ms: u64) {
        if let Some(entity) = self.entity_mut(&lease.job) {
            let job = Some(&lease.job);
            entity.waiting.take_if(|waiting| Some(&*waiting) == job);
            entity.retrying.take_if(|retrying| Some(&*retrying) == job);
            entity.running = Some((lease.job.clone(), lease.attempt, now_ms));
        }
    }

    fn leave(&mut self, job: &str, retries: bool) {
        if let Some(entity) = self.entity_mut(job) {
            entity.running.take_if(|(running, ..)| running == job);
            entity.waiting.take_if(|waiting| waiting == job);
            entity.retrying = retries.then(|| job.to_owned());
        }
    }

    fn entity_mut(&mut self, job: &str) -> Option<&mut Entity> {
        self.entities.get_mut(self.of_job.get(job)?)
    }

    /// What the jobs of this entity are doing.
    pub(in super::super) fn of(&self, queue: &str, key: &str) -> Entity {
        self.entities.get(&(queue.to_owned(), key.to_owned())).cloned().unwrap_or_default()
    }

    /// What the jobs of the entity of `job` are doing, if it has one.
    pub(in super::super) fn of_job(&self, job: &str) -> Option<&Entity> {
        self.entities.get(self.of_job.get(job)?)
    }

    /// The entity of `job`: its queue and key.
    pub(in super::super) fn key_of(&self, job: &str) -> Option<&(String, String)> {
        self.of_job.get(job)
    }
}

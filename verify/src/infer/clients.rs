//! What questions and their answers say: which payload was accepted and as what, what was cancelled, put back, paused.

use kew_spec::history::{Accepted, Cancelled, Enqueue, Given, How, Paused, Then, Told, What};

use super::{Inference, Job, Over};

impl Inference<'_> {
    /// A job starts before the enqueue that asked for it was answered, or without an answer that says so.
    pub(super) fn accept_before(&mut self, index: usize, at: u64, job: &str) {
        if self.jobs.contains_key(job) {
            return;
        }
        let op = self.known.names.iter().find(|(_, name)| *name == job).map(|(op, _)| *op);
        let asked = op.and_then(|op| self.asked.get(&op)).cloned();
        if let Some(What::Enqueue(it)) = asked {
            self.create(index, at, &it, job);
        }
    }

    /// A job is made for an entity: one that waited for it must have been granted before.
    pub(super) fn create(&mut self, index: usize, at: u64, it: &Enqueue, job: &str) {
        if let Some(key) = &it.key {
            self.grant_waiting(index, at, &it.queue, key);
        }
        self.accept(at, it, job, How::Created);
    }

    pub(super) fn accept(&mut self, at: u64, it: &Enqueue, job: &str, how: How) {
        let clock = self.clock(at);
        self.tell(
            at,
            Accepted {
                job: job.into(),
                queue: it.queue.clone(),
                user: it.user.clone(),
                payload: it.payload.clone(),
                how,
                key: it.key.clone(),
                email: it.email,
                clock,
            },
        );
        if let Some(once) = &it.idempotency_key {
            self.keys.entry((it.user.clone(), once.clone())).or_insert_with(|| job.to_owned());
        }
        if how == How::Coalesced
            && let Some(job) = self.jobs.get_mut(job)
        {
            job.payload.clone_from(&it.payload);
        }
        if how == How::Created {
            let due_clock = self.policy(&it.queue).map_or(clock, |policy| policy.first_ready_at(clock));
            let (queue, user, key) = (it.queue.clone(), it.user.clone(), it.key.clone());
            let payload = it.payload.clone();
            let made = Job { queue, user, key, payload, due_clock, attempts: Vec::new(), over: None };
            self.jobs.insert(job.into(), made);
        }
    }

    /// A job starts with a payload that another enqueue brought, whose answer is still to be heard or did not say whose
    /// payload stays: it was coalesced before.
    pub(super) fn coalesce_before(&mut self, at: u64, given: &Given) {
        let brought = self.asked.iter().find_map(|(op, asked)| {
            let What::Enqueue(it) = asked else { return None };
            let (_, told, named) = self.ahead.replies.get(op)?;
            let joins =
                *told == Told::Ok && named.as_ref() == Some(&given.job) && self.known.names.get(op) != named.as_ref();
            (joins && it.payload == given.payload && it.key.is_some()).then(|| (*op, it.clone()))
        });
        if let Some((op, it)) = brought {
            self.asked.remove(&op);
            self.accept(at, &it, &given.job, How::Coalesced);
        }
    }

    /// The answer to an operation is heard.
    pub(super) fn answer(&mut self, index: usize, at: u64, op: u64) {
        let Some(asked) = self.asked.get(&op).cloned() else { return };
        let decided = self.ahead.told_ok(op) && self.known.newest_wins;
        if !matches!(asked, What::Enqueue(_)) || decided {
            self.asked.remove(&op);
        }
        let Some((_, Told::Ok, named)) = self.ahead.replies.get(&op).cloned() else { return };
        let clock = self.clock(at);
        match asked {
            What::Enqueue(it) => {
                let mine = self.known.names.get(&op).cloned().unwrap_or_default();
                let Some(other) = named.filter(|job| *job != mine) else {
                    if !self.jobs.contains_key(&mine) {
                        self.create(index, at, &it, &mine);
                    }
                    return;
                };
                let once = it.idempotency_key.clone().and_then(|once| self.keys.get(&(it.user.clone(), once)));
                let replayed = once == Some(&other) || it.key.is_none() || !self.known.newest_wins;
                let how = if replayed { How::Replayed } else { How::Coalesced };
                self.accept(at, &it, &other, how);
            }
            What::Cancel(it) => {
                self.accept_before(index, at, &it.job);
                if let Some(job) = self.jobs.get_mut(&it.job).filter(|job| job.over.is_none()) {
                    job.over = Some(Over::Cancelled);
                    self.tell(at, Cancelled { job: it.job, clock });
                }
            }
            What::Redrive(it) => self.put_back(at, &it.job),
            What::Pause(it) => self.tell(at, Paused { queue: it.queue, paused: true, clock }),
            What::Resume(it) => self.tell(at, Paused { queue: it.queue, paused: false, clock }),
            _ => {}
        }
    }

    /// What giving a job of `queue` up means.
    pub(super) fn end_of(&self, queue: &str, is_kept: bool) -> Then {
        let has = self.policy(queue).is_some_and(|policy| policy.dead_letter_queue.is_some());
        if has && is_kept { Then::DeadLetter } else { Then::Failed }
    }
}

//! How attempts and jobs ended: by their handlers' word, and by what followed.

use kew_spec::history::{AttemptOutcome, Ended, Finished, Row, Settled, StatusRead, Then};
use kew_spec::lifecycle::Status;
use kew_spec::queues::Jitter;

use super::ahead::Ahead;
use super::late::Late;
use super::redrives::Again;
use super::{Inference, Job, Over};

impl Inference<'_> {
    /// Handlers end by their own word, or were stopped. The queue hears of it at once, or later if it is read to.
    pub(super) fn settle(&mut self, index: usize, at: u64, it: &Finished) {
        for ended in &it.jobs {
            let one = Finished { jobs: vec![ended.clone()], ..it.clone() };
            let unheard = self.may_be_unheard(index, at, &ended.job);
            let later = self.read_at_work(index, at, &ended.job).max(self.follow_up_after(index, at, ended));
            match later.filter(|_| !unheard) {
                Some(later) => self.untold.entry(later).or_default().push((index, at, one)),
                None => self.settle_at(index, at, at, &one),
            }
        }
    }

    /// The queue hears of ends that it was read not to have heard of before the event `index`.
    pub(super) fn settle_untold(&mut self, index: usize, at: u64) {
        for (ended_index, ended_at, it) in self.untold.remove(&index).unwrap_or_default() {
            self.settle_at(ended_index, ended_at, at, &it);
        }
    }

    /// Whether the end of `delivery` is still to be told to the queue.
    pub(super) fn is_untold(&self, delivery: &str) -> bool {
        self.untold.values().flatten().any(|(.., it)| it.delivery.as_deref() == Some(delivery))
    }

    /// Handlers ended at `ended_at`, and the queue hears of it at `at`.
    fn settle_at(&mut self, index: usize, ended_at: u64, at: u64, it: &Finished) {
        for ended in &it.jobs {
            let Some(job) = self.jobs.get(&ended.job) else { continue };
            let delivery = it.delivery.as_deref().unwrap_or_default();
            let place = job.attempts.iter().rposition(|attempt| attempt.delivery == delivery);
            let stale = place.is_none_or(|place| place + 1 != job.attempts.len() || job.attempts[place].ended);
            let number = place.map_or(ended.attempt, |place| place as u32 + 1);
            let late = self.late(index, ended_at, ended);
            if stale || late == Late::Refused || job.over.is_some() {
                self.refuse(at, &ended.job, number, ended.outcome);
                continue;
            }
            if late == Late::InVain {
                let then = self.then(index, at, &ended.job, AttemptOutcome::Lost);
                self.settle_one(at, &ended.job, AttemptOutcome::Lost, then, None);
                self.refuse(at, &ended.job, number, ended.outcome);
                continue;
            }
            if late == Late::Wins {
                self.refuse(at, &ended.job, number, ended.outcome);
                self.jobs.entry(ended.job.clone()).and_modify(|job| job.over = Some(Over::Completed));
                continue;
            }
            let outcome =
                if self.may_be_unheard(index, ended_at, &ended.job) { AttemptOutcome::Lost } else { ended.outcome };
            let mut then = self.then(index, at, &ended.job, outcome);
            let mut clock = self.clock(at);
            if let Then::RetryAt(due) = then {
                self.make_follow_ups(at, &ended.job);
                clock = self.ended_by(index, clock, ended, due);
                then = Then::RetryAt(due.min(self.retry_at(&ended.job, clock).unwrap_or(due)));
            }
            self.settle_one_by(at, clock, &ended.job, outcome, then, ended.error.clone());
        }
    }

    /// The answer of a delivery that is over.
    pub(super) fn refuse(&mut self, at: u64, job: &str, attempt: u32, outcome: AttemptOutcome) {
        let clock = self.clock(at);
        self.tell(
            at,
            Settled {
                job: job.into(),
                attempt,
                outcome,
                accepted: false,
                then: None,
                error: None,
                delay_asked_ms: None,
                clock,
            },
        );
    }

    /// When on the queue's clock an attempt ended that was heard of at `clock`, after which the next is due at `due`. That the
    /// system has stopped a handler may be under way for long: if the next one starts before it would be due, it had been
    /// stopped when its time was over.
    fn ended_by(&self, index: usize, clock: u64, ended: &Ended, due: u64) -> u64 {
        let start = Ahead::next(self.ahead.starts.get(&ended.job), index);
        let is_early = start.is_some_and(|start| self.clock(self.events[start].at) < due);
        let lease_until = self.jobs[&ended.job].attempts.last().map_or(clock, |last| last.lease_until);
        let may_be = ended.outcome == AttemptOutcome::TimedOut && clock <= lease_until + self.known.late_ms;
        if is_early && may_be { clock.min(lease_until) } else { clock }
    }

    /// When the next attempt of `id` is due, if the last one ended at `clock`.
    fn retry_at(&self, id: &str, clock: u64) -> Option<u64> {
        let job = self.jobs.get(id)?;
        self.policy(&job.queue)?.retry_at(job.attempts.len() as u32, clock, Jitter::NONE)
    }

    pub(super) fn settle_one(&mut self, at: u64, id: &str, outcome: AttemptOutcome, then: Then, error: Option<String>) {
        self.settle_one_by(at, self.clock(at), id, outcome, then, error);
    }

    /// The same for an attempt that ended at `clock`, which is heard of at `at`.
    fn settle_one_by(
        &mut self,
        at: u64,
        clock: u64,
        id: &str,
        outcome: AttemptOutcome,
        then: Then,
        error: Option<String>,
    ) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let attempt = job.attempts.len() as u32;
        if let Some(last) = job.attempts.last_mut() {
            last.ended = true;
        }
        job.over = match then {
            Then::Completed => Some(Over::Completed),
            Then::Failed | Then::DeadLetter => Some(Over::GivenUp),
            Then::RetryAt(due) => {
                job.due_clock = due;
                None
            }
        };
        self.tell(
            at,
            Settled {
                job: id.into(),
                attempt,
                outcome,
                accepted: true,
                then: Some(then),
                error,
                delay_asked_ms: None,
                clock,
            },
        );
    }

    /// What followed an attempt of `id` that ended at `index`, as it shows later.
    pub(super) fn then(&self, index: usize, at: u64, id: &str, outcome: AttemptOutcome) -> Then {
        if outcome == AttemptOutcome::Completed {
            return Then::Completed;
        }
        let job = &self.jobs[id];
        let due = self.retry_at(id, self.clock(at));
        match (self.comes_again(index, id), due) {
            (Again::PutBack, _) => return self.end_of(&job.queue, true),
            (Again::Starts, Some(due)) => return Then::RetryAt(due),
            (Again::Starts, None) => return self.end_of(&job.queue, self.is_kept(index, id)), // One too many follows.
            (Again::Never, _) => {}
        }
        let cancelled = self.ahead.cancels.get(id).is_some_and(|place| index < *place);
        let waits = cancelled || self.ahead.drained.is_none() || self.ahead.paused_at_drain.contains(&job.queue);
        match due {
            // It may have been given to a worker that did not live to tell: `deliver_unseen` finds that.
            Some(due) if waits || self.ahead.strikes.iter().any(|(struck, _)| at < *struck) => Then::RetryAt(due),
            Some(due) if self.is_left_undone(index, id, due) => Then::RetryAt(due),
            _ => self.end_of(&job.queue, self.is_kept(index, id)),
        }
    }

    /// Whether `id` is read in a dead letter queue after `index`, or nobody could have read it there.
    pub(super) fn is_kept(&self, index: usize, id: &str) -> bool {
        !self.ahead.reads_dead || Ahead::next(self.ahead.dead.get(id), index).is_some()
    }

    /// Whether the play ended with work left, and `id` may be of it: it is not found to be given up after `index`, and it
    /// is read not to have ended, or was due no sooner than at the end.
    fn is_left_undone(&self, index: usize, id: &str, due: u64) -> bool {
        let Some((drained, false)) = self.ahead.drained else { return false };
        let found = [self.ahead.failed.get(id), self.ahead.dead.get(id)];
        let is_found = found.into_iter().any(|places| Ahead::next(places, index).is_some());
        let end = self.clock(self.events[drained].at);
        !is_found && (self.is_read_open_at_last(id) || end <= due + self.known.late_ms)
    }

    /// The play has drained: what is still open was lost and given up.
    pub(super) fn give_up(&mut self, index: usize, at: u64) {
        let open: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.over.is_none() && job.attempts.last().is_some_and(|last| !last.ended))
            .filter(|(_, job)| !self.ahead.paused_at_drain.contains(&job.queue))
            .filter(|(id, job)| !self.is_left_undone(index, id, job.attempts.last().map_or(0, |last| last.lease_until)))
            .map(|(id, job)| (id.clone(), self.end_of(&job.queue, self.is_kept(index, id))))
            .collect();
        for (id, then) in open {
            self.settle_one(at, &id, AttemptOutcome::Lost, then, None);
        }
    }

    /// How every job stands, where nobody can ask the system: as it was seen to end.
    pub(super) fn read_all(&mut self, at: u64) {
        let clock = self.clock(at);
        let rows: Vec<_> = self.jobs.iter().map(|(id, job)| (id.clone(), job.user.clone(), row(job, clock))).collect();
        for (job, user, row) in rows {
            self.tell(at, StatusRead { job, user, asked_at: at, row: Some(row) });
        }
    }
}

fn row(job: &Job, clock: u64) -> Row {
    let status = match job.over {
        Some(Over::Completed) => Status::Completed,
        Some(Over::GivenUp | Over::Cancelled) => Status::Failed,
        None if job.attempts.is_empty() => Status::Pending,
        None if job.attempts.last().is_some_and(|last| last.ended) => Status::Failed,
        None => Status::Processing,
    };
    Row {
        status,
        retry_count: (job.attempts.len() as u32).saturating_sub(1),
        result: None,
        error: None,
        created_at: clock,
        updated_at: clock,
        completed_at: job.over.map(|_| clock),
        is_final: job.over.is_some(),
        dead_letter_queue: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::ByHand;

    /// The first of three attempts fails at 40, the next is due at `due`, and the play ends at 5,000 with work left or
    /// none. The job is read as `read` says then.
    fn seen(due: u64, is_done: bool, read: Option<(&str, bool)>) -> ByHand {
        let wait_ms = due - 40;
        let policies = format!(
            "[work]\npriority = 'medium'\nattempts = 3\ntimeout_ms = 60_000\nbackoff = {{ first_ms = {wait_ms}, max_ms = {wait_ms} }}\n"
        );
        let drained = format!(r#"{{"at":5000,"drained":{{"ok":{is_done},"bound_ms":4000}}}}"#);
        let mut lines = vec![
            r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#.to_owned(),
            r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"j"}}"#.to_owned(),
            r#"{"at":20,"reply":{"op":1,"outcome":"ok","job":"j"}}"#.to_owned(),
            r#"{"at":30,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"j","attempt":1,"payload":"j"}]}}"#.to_owned(),
            r#"{"at":40,"finished":{"processor":"processor-1","delivery":"d1","jobs":[{"job":"j","attempt":1,"outcome":"failed","error":"no"}]}}"#.to_owned(),
            drained,
        ];
        lines.extend(read.map(|(status, is_final)| {
            format!(
                r#"{{"at":5010,"status":{{"job":"j","user":"ada","asked_at":5005,"row":{{"status":"{status}","retry_count":0,"error":"no","created_at":1,"updated_at":1,"final":{is_final}}}}}}}"#
            )
        }));
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        ByHand::new(&policies, &lines)
    }

    /// Whether the job counts as given up, with two of its attempts left.
    fn is_given_up(by_hand: &ByHand) -> bool {
        by_hand.broken().contains(&"retry/at-least".to_owned())
    }

    #[test]
    fn a_retry_that_still_waits_as_a_play_ends_with_work_left_is_not_given_up() {
        assert!(!is_given_up(&seen(6_000, false, None)), "it was not due yet");
        assert!(!is_given_up(&seen(1_000, false, Some(("pending", false)))), "it was late, but not over");
    }

    #[test]
    fn a_retry_that_should_have_come_before_the_end_of_a_play_is_given_up() {
        assert!(is_given_up(&seen(6_000, true, None)), "nothing was left to do");
        assert!(is_given_up(&seen(1_000, false, None)), "it was due long before");
        assert!(is_given_up(&seen(6_000, false, Some(("failed", true)))), "it is read as failed for good");
    }
}

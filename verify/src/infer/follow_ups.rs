//! An enqueue for an entity, and the end of an attempt at the same time: which of the two the queue heard of first. That the
//! enqueue made a job of its own beside one that is tried again shows that it came first.

use kew_spec::history::{AttemptOutcome, Ended, Enqueue, How, Told, What};
use kew_spec::lifecycle::Status;

use super::ahead::Ahead;
use super::redrives::Again;
use super::{Inference, Job};

impl Inference<'_> {
    /// The enqueue, asked for shortly after the handler `ended` at `index`, that made a job beside the one that it leaves to
    /// be tried again.
    pub(super) fn follow_up_after(&self, index: usize, at: u64, ended: &Ended) -> Option<usize> {
        let job = self.jobs.get(&ended.job).filter(|_| ended.outcome != AttemptOutcome::Completed)?;
        if job.key.is_none() || self.comes_again(index, &ended.job) != Again::Starts {
            return None;
        }
        let start = Ahead::next(self.ahead.starts.get(&ended.job), index)?;
        let soon = self.events.iter().enumerate().take(start).skip(index + 1);
        let mut soon = soon.take_while(|(_, event)| event.at <= at + self.known.late_ms);
        let is_it = |what: &What| matches!(what, What::Enqueue(it) if self.is_beside(job, it));
        let (place, _) = soon.find(|(_, event)| is_it(&event.what))?;
        (!self.is_read_failed(index, place, &ended.job)).then_some(place)
    }

    /// Makes the jobs that were asked for while `id` was at work, and made beside it.
    pub(super) fn make_follow_ups(&mut self, at: u64, id: &str) {
        let Some(job) = self.jobs.get(id) else { return };
        let beside = self.asked.values().filter_map(|asked| match asked {
            What::Enqueue(it) => self.is_beside(job, it).then(|| it.clone()),
            _ => None,
        });
        for it in beside.collect::<Vec<_>>() {
            let own = self.known.names[&it.op].clone();
            self.accept(at, &it, &own, How::Created);
        }
    }

    /// Whether `it` is of the same entity as `job` and made a job of its own, which is not known yet.
    fn is_beside(&self, job: &Job, it: &Enqueue) -> bool {
        let same = it.queue == job.queue && it.key.is_some() && it.key == job.key;
        let is_new = self.known.names.get(&it.op).is_some_and(|own| !self.jobs.contains_key(own));
        same && is_new && self.makes_its_own(it.op)
    }

    /// Whether the enqueue `op` made the job that it asked for: its answer says so, or the job starts.
    pub(super) fn makes_its_own(&self, op: u64) -> bool {
        let Some(own) = self.known.names.get(&op) else { return false };
        let reply = self.ahead.replies.get(&op);
        let names_it =
            reply.is_some_and(|(_, told, job)| *told == Told::Ok && job.as_ref().is_none_or(|job| job == own));
        names_it || self.ahead.starts.contains_key(own)
    }

    /// Whether `id` is read between two events to wait for its next attempt.
    fn is_read_failed(&self, from: usize, until: usize, id: &str) -> bool {
        let between = self.ahead.reads.get(id).into_iter().flatten().filter(|read| (from..until).contains(*read));
        let at = self.events[from].at;
        between.into_iter().any(|read| match &self.events[*read].what {
            What::StatusRead(it) => at < it.asked_at && it.row.as_ref().is_some_and(|row| row.status == Status::Failed),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::ByHand;

    const KEYED: &str = "[sync]\npriority = 'medium'\nattempts = 5\nbackoff = { first_ms = 300, max_ms = 9_000, jitter_percent = 0 }\ntimeout_ms = 60_000\ndeduplication = 'key'\n";

    /// An entity's job fails at 140 and is tried again at 600; a further enqueue, which is answered at 170, makes a job.
    fn seen(asked: u64, more: &[(u64, String)]) -> ByHand {
        let started = |at: u64, delivery: &str, job: &str, attempt: u32| {
            (
                at,
                format!(
                    r#"{{"at":{at},"started":{{"processor":"processor-1","delivery":"{delivery}","queue":"sync","jobs":[{{"job":"{job}","attempt":{attempt},"payload":"{job}"}}]}}}}"#
                ),
            )
        };
        let mut lines = vec![
            (0, r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#.to_owned()),
            (10, r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"sync","payload":"cv","key":"one"}}"#.to_owned()),
            (20, r#"{"at":20,"reply":{"op":1,"outcome":"ok","job":"cv"}}"#.to_owned()),
            started(100, "d1", "cv", 1),
            (140, r#"{"at":140,"finished":{"processor":"processor-1","delivery":"d1","jobs":[{"job":"cv","attempt":1,"outcome":"failed","error":"no"}]}}"#.to_owned()),
            (asked, format!(
                r#"{{"at":{asked},"enqueue":{{"op":2,"user":"ada","queue":"sync","payload":"newer","key":"one"}}}}"#
            )),
            (170, r#"{"at":170,"reply":{"op":2,"outcome":"ok","job":"newer"}}"#.to_owned()),
            started(600, "d2", "cv", 2),
        ];
        lines.extend(more.iter().cloned());
        lines.sort_by_key(|(at, _)| *at);
        let lines: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
        ByHand::new(KEYED, &lines)
    }

    #[test]
    fn an_enqueue_that_was_under_way_as_the_attempt_failed_came_before() {
        assert_eq!(seen(120, &[]).broken(), [""; 0]);
    }

    #[test]
    fn an_enqueue_that_was_asked_for_just_after_the_end_may_have_come_before_it_too() {
        let by_hand = seen(150, &[]);
        assert_eq!(by_hand.told(), ["100 granted cv 1", "150 settled cv 1", "600 granted cv 2"]);
        assert_eq!(by_hand.broken(), [""; 0]);
    }

    #[test]
    fn one_that_made_a_job_although_the_first_was_read_to_wait_is_named() {
        let read = r#"{"at":150,"status":{"job":"cv","user":"ada","asked_at":145,"row":{"status":"failed","retry_count":0,"error":"no","created_at":1,"updated_at":1,"final":false}}}"#;
        assert_eq!(seen(160, &[(150, read.to_owned())]).broken(), ["dedup/coalesce"]);
    }
}

//! Answers that come when the delivery's time is over, from handlers that nothing has stopped: what became of them.

use kew_spec::history::{AttemptOutcome, Ended, Sight, What};
use kew_spec::lifecycle::Status;

use super::Inference;
use super::ahead::Ahead;

/// What becomes of an answer that may be late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// It came in time, or may have.
    No,
    /// The job is delivered again: the answer was refused.
    Refused,
    /// It says success, but the job has failed for good: the answer was refused, and the delivery was the last.
    InVain,
    /// The job is read as completed, and nothing but this answer can have made it so.
    Wins,
}

impl Inference<'_> {
    /// What became of the answer `ended` that was heard at `index`.
    pub(super) fn late(&self, index: usize, at: u64, ended: &Ended) -> Late {
        let Some(last) = self.jobs.get(&ended.job).and_then(|job| job.attempts.last()) else { return Late::No };
        // What the system itself has stopped is no late answer.
        let own_word = matches!(ended.outcome, AttemptOutcome::Completed | AttemptOutcome::Failed);
        if !own_word || self.clock(at) <= last.lease_until {
            return Late::No;
        }
        if Ahead::next(self.ahead.starts.get(&ended.job), index).is_some() {
            return Late::Refused;
        }
        if ended.outcome != AttemptOutcome::Completed {
            return Late::No; // Whether it counts or the end of its time, the attempt has failed.
        }
        let failed = [self.ahead.failed.get(&ended.job), self.ahead.dead.get(&ended.job)];
        if failed.into_iter().any(|places| Ahead::next(places, index).is_some()) {
            return Late::InVain;
        }
        // The system's own timer may begin and end later than the harness sees, and one that stood still runs on.
        let surely = last.lease_until + self.known.late_ms < self.clock(at) && !self.was_struck(at);
        if surely && self.known.sees.contains(&Sight::Status) && self.is_read_completed(index, &ended.job) {
            return Late::Wins;
        }
        Late::No
    }

    fn was_struck(&self, at: u64) -> bool {
        self.ahead.strikes.iter().any(|(struck, _)| *struck <= at)
    }

    fn is_read_completed(&self, index: usize, id: &str) -> bool {
        self.ahead.reads.get(id).into_iter().flatten().any(|read| match &self.events[*read].what {
            What::StatusRead(it) => index < *read && it.row.as_ref().is_some_and(|row| row.status == Status::Completed),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::ByHand;

    const SLOW: &str = "[work]\npriority = 'medium'\nattempts = 2\ntimeout_ms = 1_000\ndead_letter_queue = 'dead'\n";

    /// A handler answers with success at `ended`, with nothing to stop it at 1,010, and the job is then read as `status`.
    fn seen(ended: u64, status: &str, dead: &str) -> ByHand {
        let lines = [
            r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#.to_owned(),
            r#"{"at":1,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"j"}}"#.to_owned(),
            r#"{"at":2,"reply":{"op":1,"outcome":"ok","job":"j"}}"#.to_owned(),
            r#"{"at":3,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"j","attempt":1,"payload":"j"}]}}"#.to_owned(),
            r#"{"at":5,"finished":{"processor":"processor-1","delivery":"d1","jobs":[{"job":"j","attempt":1,"outcome":"failed","error":"no"}]}}"#.to_owned(),
            r#"{"at":10,"started":{"processor":"processor-1","delivery":"d2","queue":"work","jobs":[{"job":"j","attempt":2,"payload":"j"}]}}"#.to_owned(),
            format!(
                r#"{{"at":{ended},"finished":{{"processor":"processor-1","delivery":"d2","jobs":[{{"job":"j","attempt":2,"outcome":"completed"}}]}}}}"#
            ),
            r#"{"at":5000,"drained":{"ok":true,"bound_ms":4000}}"#.to_owned(),
            format!(r#"{{"at":5001,"dead-letters":{{"dead_letter_queue":"dead","asked_at":5000,"entries":[{dead}]}}}}"#),
            format!(
                r#"{{"at":5010,"status":{{"job":"j","user":"ada","asked_at":5005,"row":{{"status":"{status}","retry_count":1,"error":"no","created_at":1,"updated_at":1,"completed_at":1,"final":true}}}}}}"#
            ),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        ByHand::new(SLOW, &lines)
    }

    const DEAD: &str = r#"{"job":"j","payload":"j","error":"no"}"#;

    fn names_it(by_hand: &ByHand) -> bool {
        by_hand.broken().contains(&"timeout/late-result".to_owned())
    }

    #[test]
    fn a_late_success_that_makes_the_job_completed_is_named() {
        let by_hand = seen(1_500, "completed", "");
        assert!(names_it(&by_hand), "{:?}", by_hand.broken());
    }

    #[test]
    fn a_success_that_may_have_come_in_time_is_not() {
        let by_hand = seen(1_400, "completed", "");
        assert!(!names_it(&by_hand), "{:?}", by_hand.broken());
    }

    #[test]
    fn a_late_success_after_which_the_job_is_dead_was_refused() {
        let by_hand = seen(1_500, "failed", DEAD);
        assert!(!names_it(&by_hand), "{:?}", by_hand.broken());
        assert!(
            !by_hand.broken().iter().any(|clause| clause.starts_with("dead-letter/none")),
            "{:?}",
            by_hand.broken()
        );
        assert!(!by_hand.broken().contains(&"dead-letter/exactly".to_owned()), "{:?}", by_hand.broken());
    }
}

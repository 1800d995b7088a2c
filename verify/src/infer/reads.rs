//! What reads of the status prove: that a delivery had not begun yet, whatever else would explain what was seen.

use kew_spec::history::{Row, What};
use kew_spec::lifecycle::Status;

use super::Inference;
use super::ahead::Ahead;

impl Inference<'_> {
    /// Whether somebody asked after `at` how `id` stands, heard the answer between the events `index` and `until`, and was
    /// told that the job still waits: its next delivery cannot have begun at `at`.
    pub(super) fn is_read_waiting(&self, index: usize, at: u64, until: usize, id: &str) -> bool {
        let Some(job) = self.jobs.get(id) else { return false };
        let had = job.attempts.len() as u32;
        let between = self.ahead.reads.get(id).into_iter().flatten().filter(|read| (index..until).contains(*read));
        between.into_iter().any(|read| match &self.events[*read].what {
            What::StatusRead(it) => at < it.asked_at && it.row.as_ref().is_some_and(|row| waits(row, had)),
            _ => false,
        })
    }

    /// The last read of `id` that shows the attempt still at work whose handler was heard to end at `index`. Something had
    /// struck before, so that the queue had not heard of the end yet: it was told again later.
    pub(super) fn read_at_work(&self, index: usize, at: u64, id: &str) -> Option<usize> {
        let had = self.jobs.get(id)?.attempts.len() as u32;
        let until = Ahead::next(self.ahead.starts.get(id), index).unwrap_or(self.events.len());
        let at_work = |read: &usize| match &self.events[*read].what {
            What::StatusRead(it) => {
                let struck = self.ahead.strikes.iter().any(|(struck, _)| *struck <= it.asked_at);
                let row = it.row.as_ref().filter(|row| row.status == Status::Processing && begun(row) == had);
                at < it.asked_at && struck && row.is_some()
            }
            _ => false,
        };
        self.ahead.reads.get(id)?.iter().copied().filter(|read| (index..until).contains(read)).rfind(at_work)
    }
}

/// Whether `row` tells of a job that waits after `had` deliveries, or of the last of them.
fn waits(row: &Row, had: u32) -> bool {
    begun(row) <= had
}

/// How many deliveries have begun by `row`.
fn begun(row: &Row) -> u32 {
    row.retry_count + u32::from(row.status != Status::Pending)
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::ByHand;

    /// The server is killed as a handler ends, and comes back. The job is read as `status` then.
    fn seen(status: &str, is_final: bool) -> ByHand {
        let read = format!(
            r#"{{"at":300,"status":{{"job":"j","user":"ada","asked_at":290,"row":{{"status":"{status}","retry_count":0,"created_at":1,"updated_at":1,"final":{is_final}}}}}}}"#
        );
        ByHand::new(
            "[work]\npriority = 'medium'\nattempts = 3\ntimeout_ms = 60_000\n",
            &[
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"j"}}"#,
                r#"{"at":20,"reply":{"op":1,"outcome":"ok","job":"j"}}"#,
                r#"{"at":30,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"j","attempt":1,"payload":"j"}]}}"#,
                r#"{"at":40,"finished":{"processor":"processor-1","delivery":"d1","jobs":[{"job":"j","attempt":1,"outcome":"completed"}]}}"#,
                r#"{"at":41,"fault":{"fault":1,"kind":"kill","on":["broker"],"active":true}}"#,
                r#"{"at":90,"fault":{"fault":1,"kind":"kill","on":["broker"],"active":false}}"#,
                &read,
                r#"{"at":900,"status":{"job":"j","user":"ada","asked_at":890,"row":{"status":"completed","retry_count":0,"created_at":1,"updated_at":1,"completed_at":1,"final":true}}}"#,
            ],
        )
    }

    #[test]
    fn an_end_that_a_struck_queue_is_read_not_to_know_yet_is_told_to_it_afterwards() {
        let by_hand = seen("processing", false);
        assert_eq!(by_hand.told(), ["30 granted j 1", "300 settled j 1"]);
        assert!(!by_hand.broken().contains(&"status/durable".to_owned()), "{:?}", by_hand.broken());
        assert_eq!(seen("completed", true).told(), ["30 granted j 1", "40 settled j 1"]);
    }
}

//! What reads of the status prove: that a delivery had not begun yet, whatever else would explain what was seen.

use std::collections::BTreeMap;

use kew_spec::history::{Event, Row, What};
use kew_spec::lifecycle::Status;

use super::Inference;
use super::ahead::Ahead;

impl Inference<'_> {
    /// Whether somebody asked after `at` and before the event `until` how `id` stands, heard the answer after the event
    /// `index`, and was told that the job still waits: its next delivery cannot have begun at `at`.
    pub(super) fn is_read_waiting(&self, index: usize, at: u64, until: usize, id: &str) -> bool {
        self.last_read_waiting(index, at, until, id).is_some()
    }

    /// The last such read.
    pub(super) fn last_read_waiting(&self, index: usize, at: u64, until: usize, id: &str) -> Option<usize> {
        let had = self.jobs.get(id)?.attempts.len() as u32;
        let until_at = self.events.get(until).map_or(u64::MAX, |event| event.at);
        let shows = |read: &usize| match &self.events[*read].what {
            What::StatusRead(it) => {
                let in_time = *read < until || it.asked_at < until_at;
                let shown = it.row.as_ref().is_some_and(|row| waits(row, had));
                index <= *read && in_time && at < it.asked_at && shown
            }
            _ => false,
        };
        // One that is heard after `until` was told before that.
        let last = self.ahead.reads.get(id)?.iter().copied().rfind(shows)?;
        Some(last.min(until - 1))
    }

    /// Whether `id` is read not to have ended once the play is over.
    pub(super) fn is_read_open_at_last(&self, id: &str) -> bool {
        let last = self.ahead.reads.get(id).and_then(|reads| reads.last()).map(|read| &self.events[*read]);
        let drained_at = self.ahead.drained.map(|(index, _)| self.events[index].at);
        match last.map(|event| &event.what) {
            Some(What::StatusRead(it)) => {
                drained_at.is_some_and(|drained| drained <= it.asked_at)
                    && it.row.as_ref().is_some_and(|row| !row.is_final)
            }
            _ => false,
        }
    }

    /// The last read of `id` that shows the attempt still at work whose handler was heard to end at `index`. Something had
    /// struck before, so that the queue had not heard of the end yet: it was told again later.
    pub(super) fn read_at_work(&self, index: usize, at: u64, id: &str) -> Option<usize> {
        let had = self.jobs.get(id)?.attempts.len() as u32;
        let until = Ahead::next(self.ahead.starts.get(id), index).unwrap_or(self.events.len());
        let at_work = |read: &usize| match &self.events[*read].what {
            What::StatusRead(it) => {
                let heard_at = self.events[*read].at;
                let struck = self.ahead.strikes.iter().any(|(struck, _)| *struck <= heard_at);
                let row = it.row.as_ref().filter(|row| row.status == Status::Processing && begun(row) == had);
                at < it.asked_at && struck && row.is_some()
            }
            _ => false,
        };
        self.ahead.reads.get(id)?.iter().copied().filter(|read| (index..until).contains(read)).rfind(at_work)
    }
}

/// Writes into the rows of a system that does not tell it the `retry_count` that it must have: no clause is judged by that.
pub(crate) fn fill_counts(events: &mut [Event]) {
    let mut begun: BTreeMap<String, u32> = BTreeMap::new();
    for event in events {
        match &mut event.what {
            What::Granted(it) => it.jobs.iter().for_each(|lease| *begun.entry(lease.job.clone()).or_default() += 1),
            What::Redriven(it) => drop(begun.remove(&it.job)),
            What::StatusRead(it) => {
                let had = begun.get(&it.job).copied().unwrap_or_default();
                it.row.iter_mut().for_each(|row| row.retry_count = had.saturating_sub(1));
            }
            _ => {}
        }
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

    #[test]
    fn a_read_that_was_asked_before_a_start_and_heard_after_it_holds_the_grant_back() {
        let started = |at: u64, job: &str| {
            format!(
                r#"{{"at":{at},"started":{{"processor":"processor-1","delivery":"{job}","queue":"work","jobs":[{{"job":"{job}","attempt":1,"told":1,"payload":"{job}"}}]}}}}"#
            )
        };
        let seen = |asked_at: u64| {
            let enqueue = |op: u64, job: &str| {
                let at = 10 * op;
                format!(r#"{{"at":{at},"enqueue":{{"op":{op},"user":"ada","queue":"work","payload":"{job}"}}}}"#)
            };
            let lines = [
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#.to_owned(),
                enqueue(1, "first"),
                r#"{"at":15,"reply":{"op":1,"outcome":"ok","job":"first"}}"#.to_owned(),
                enqueue(2, "second"),
                r#"{"at":25,"reply":{"op":2,"outcome":"ok","job":"second"}}"#.to_owned(),
                started(100, "second"),
                started(200, "first"),
                format!(
                    r#"{{"at":210,"status":{{"job":"first","user":"ada","asked_at":{asked_at},"row":{{"status":"pending","retry_count":0,"created_at":1,"updated_at":1,"final":false}}}}}}"#
                ),
            ];
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            ByHand::new("[work]\npriority = 'medium'\nattempts = 3\ntimeout_ms = 60_000\n", &lines).told()
        };
        assert_eq!(seen(190), ["100 granted second 1", "200 granted first 1"]);
        assert_eq!(seen(90), ["100 granted first 1", "100 granted second 1"], "it may have begun after the question");
    }
}

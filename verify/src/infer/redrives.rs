//! When dead letters went back. A redrive is done at some moment between its question and its answer, so a start in between
//! may be the job's first one since, or one that the job had left before it died.

use kew_spec::history::{AttemptOutcome, Redriven, StatusRead, What};

use super::ahead::Redrive;
use super::{Ahead, Inference, Over};

impl Inference<'_> {
    /// A dead letter goes back.
    pub(super) fn put_back(&mut self, at: u64, id: &str) {
        self.end_last(at, id);
        let clock = self.clock(at);
        if let Some(job) = self.jobs.get_mut(id) {
            job.over = None;
            job.due_clock = clock;
            job.attempts.clear();
            self.tell(at, Redriven { job: id.to_owned(), clock });
        }
    }

    /// A job starts while the answer to its redrive is still to be heard: it has been put back, unless it had not died.
    pub(super) fn put_back_before(&mut self, at: u64, id: &str) {
        let is_it =
            |op: &u64, asked: &What| matches!(asked, What::Redrive(it) if it.job == id) && self.ahead.told_ok(*op);
        let op = self.asked.iter().find(|(op, asked)| is_it(op, asked)).map(|(op, _)| *op);
        let spent = self.jobs.get(id).is_some_and(|job| {
            let max = self.policy(&job.queue).and_then(|policy| policy.attempts.max());
            job.over.is_some() || max.is_some_and(|max| max as usize <= job.attempts.len())
        });
        if let Some(op) = op.filter(|_| spent) {
            self.asked.remove(&op);
            self.put_back(at, id);
        }
    }

    /// A job is read to wait, or to be at work, while the answer to its redrive is still to be heard: it has been put back.
    pub(super) fn put_back_by_read(&mut self, at: u64, it: &StatusRead) {
        let was_over = self.jobs.get(&it.job).is_some_and(|job| job.over == Some(Over::GivenUp));
        if was_over && it.row.as_ref().is_some_and(|row| !row.is_final) {
            self.put_back_before(at, &it.job);
        }
    }

    /// The next redrive of `id` that is done after `index`, as far as it is known by then.
    fn next_redrive(&self, index: usize, id: &str) -> Option<Redrive> {
        let to_come = |it: &&Redrive| index < it.answered && (index < it.asked || self.asked.contains_key(&it.op));
        self.ahead.redrives.get(id)?.iter().find(to_come).copied()
    }

    /// Whether `id`, of which an attempt ends at `index`, starts again before somebody puts it back.
    pub(super) fn comes_again(&self, index: usize, id: &str) -> Again {
        let Some(start) = Ahead::next(self.ahead.starts.get(id), index) else {
            return if self.next_redrive(index, id).is_some() { Again::PutBack } else { Again::Never };
        };
        match self.next_redrive(index, id) {
            Some(redrive) if redrive.answered < start => Again::PutBack,
            Some(redrive) if redrive.asked < start && !self.is_left(start, id) => Again::PutBack,
            _ => Again::Starts,
        }
    }

    /// Whether the start of `id` at `start`, in the midst of a redrive, is an attempt that the job had left: by the number
    /// that its handler is told, or where none is told, if there was one left.
    fn is_left(&self, start: usize, id: &str) -> bool {
        let Some(job) = self.jobs.get(id) else { return false };
        let had = job.attempts.len() as u32;
        let max = self.policy(&job.queue).and_then(|policy| policy.attempts.max());
        match self.ahead.told.get(&(start, id.to_owned())) {
            Some(told) => *told == had + 1,
            None => max.is_none_or(|max| had < max),
        }
    }

    /// A job's last attempt, if still open, was lost, and the job is dead: somebody has put it back.
    fn end_last(&mut self, at: u64, id: &str) {
        let Some(job) = self.jobs.get(id) else { return };
        let then = self.end_of(&job.queue, true);
        let open = job.attempts.last().is_some_and(|attempt| !attempt.ended);
        if open && job.over.is_none() {
            self.settle_one(at, id, AttemptOutcome::Lost, then, None);
        }
    }
}

/// What becomes of a job of which an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Another attempt starts.
    Starts,
    /// It is put back before it starts again.
    PutBack,
    /// Nothing.
    Never,
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::ByHand;

    const THREE: &str = "[work]\npriority = 'medium'\nattempts = 3\ntimeout_ms = 60_000\ndead_letter_queue = 'dead'\n";

    fn started(at: u64, told: u32) -> String {
        format!(
            r#"{{"at":{at},"started":{{"processor":"processor-1","delivery":"d{at}","queue":"work","jobs":[{{"job":"j","attempt":1,"told":{told},"payload":"j"}}]}}}}"#
        )
    }

    fn failed(at: u64, began: u64) -> String {
        format!(
            r#"{{"at":{at},"finished":{{"processor":"processor-1","delivery":"d{began}","jobs":[{{"job":"j","attempt":1,"outcome":"failed","error":"no"}}]}}}}"#
        )
    }

    /// Two operators put the same job back, as it dies: `events` in the midst of what is seen anyhow.
    fn seen(events: Vec<String>) -> ByHand {
        let mut lines = vec![
            r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#.to_owned(),
            r#"{"at":1,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"j"}}"#.to_owned(),
            r#"{"at":2,"reply":{"op":1,"outcome":"ok","job":"j"}}"#.to_owned(),
        ];
        lines.extend(events);
        lines.extend([
            r#"{"at":900,"drained":{"ok":true,"bound_ms":4000}}"#.to_owned(),
            r#"{"at":910,"dead-letters":{"dead_letter_queue":"dead","asked_at":905,"entries":[{"job":"j","payload":"j","error":"no"}]}}"#.to_owned(),
            r#"{"at":920,"status":{"job":"j","user":"ada","asked_at":915,"row":{"status":"failed","retry_count":2,"error":"no","created_at":1,"updated_at":1,"completed_at":1,"final":true}}}"#.to_owned(),
        ]);
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        ByHand::new(THREE, &lines)
    }

    #[test]
    fn a_start_in_the_midst_of_a_redrive_is_the_attempt_that_was_left() {
        let by_hand = seen(vec![
            started(10, 1),
            failed(20, 10),
            started(30, 2),
            failed(40, 30),
            r#"{"at":50,"redrive":{"op":2,"job":"j"}}"#.into(),
            r#"{"at":60,"reply":{"op":2,"outcome":"refused"}}"#.into(),
            r#"{"at":61,"redrive":{"op":3,"job":"j"}}"#.into(),
            started(70, 3),
            failed(80, 70),
            r#"{"at":90,"reply":{"op":3,"outcome":"ok"}}"#.into(),
            r#"{"at":91,"redrive":{"op":4,"job":"j"}}"#.into(),
            r#"{"at":95,"reply":{"op":4,"outcome":"refused"}}"#.into(),
            started(100, 1),
            failed(110, 100),
            started(120, 2),
            failed(130, 120),
            started(140, 3),
            failed(150, 140),
        ]);
        assert_eq!(by_hand.broken(), [""; 0], "{:#?}", by_hand.told());
        assert!(by_hand.told().contains(&"90 redriven j".to_owned()), "{:#?}", by_hand.told());
    }

    #[test]
    fn a_start_in_the_midst_of_a_redrive_is_the_first_one_since_if_none_was_left() {
        let by_hand = seen(vec![
            started(10, 1),
            failed(20, 10),
            started(30, 2),
            failed(40, 30),
            started(50, 3),
            failed(60, 50),
            r#"{"at":70,"redrive":{"op":2,"job":"j"}}"#.into(),
            started(80, 1),
            failed(90, 80),
            r#"{"at":95,"reply":{"op":2,"outcome":"ok"}}"#.into(),
            r#"{"at":96,"redrive":{"op":3,"job":"j"}}"#.into(),
            r#"{"at":99,"reply":{"op":3,"outcome":"refused"}}"#.into(),
            started(100, 2),
            failed(110, 100),
            started(120, 3),
            failed(130, 120),
        ]);
        assert_eq!(by_hand.broken(), [""; 0], "{:#?}", by_hand.told());
        assert!(by_hand.told().contains(&"80 redriven j".to_owned()), "{:#?}", by_hand.told());
    }

    #[test]
    fn a_read_in_the_midst_of_a_redrive_may_show_it_done() {
        let read = |at: u64, rest: &str| {
            format!(
                r#"{{"at":{at},"status":{{"job":"j","user":"ada","asked_at":{at},"row":{{{rest},"created_at":1,"updated_at":1}}}}}}"#
            )
        };
        let seen_as = |rest: &str| {
            seen(vec![
                started(10, 1),
                failed(20, 10),
                started(30, 2),
                failed(40, 30),
                started(50, 3),
                failed(60, 50),
                r#"{"at":70,"redrive":{"op":2,"job":"j"}}"#.into(),
                read(72, rest),
                r#"{"at":75,"reply":{"op":2,"outcome":"ok"}}"#.into(),
                started(80, 1),
                failed(90, 80),
                started(100, 2),
                failed(110, 100),
                started(120, 3),
                failed(130, 120),
            ])
        };
        let done = seen_as(r#""status":"pending","retry_count":0,"final":false"#);
        assert_eq!(done.broken(), [""; 0], "{:#?}", done.told());
        let undone = seen_as(r#""status":"failed","retry_count":2,"error":"no","completed_at":1,"final":true"#);
        assert_eq!(undone.broken(), [""; 0], "{:#?}", undone.told());
    }

    #[test]
    fn two_redrives_that_are_both_acknowledged_are_one_too_many() {
        let by_hand = seen(vec![
            started(10, 1),
            failed(20, 10),
            started(30, 2),
            failed(40, 30),
            started(50, 3),
            failed(60, 50),
            r#"{"at":70,"redrive":{"op":2,"job":"j"}}"#.into(),
            r#"{"at":75,"reply":{"op":2,"outcome":"ok"}}"#.into(),
            r#"{"at":76,"redrive":{"op":3,"job":"j"}}"#.into(),
            r#"{"at":79,"reply":{"op":3,"outcome":"ok"}}"#.into(),
            started(80, 1),
            failed(90, 80),
            started(100, 2),
            failed(110, 100),
            started(120, 3),
            failed(130, 120),
        ]);
        assert!(by_hand.broken().contains(&"dead-letter/redrive".to_owned()), "{:?}", by_hand.broken());
    }
}

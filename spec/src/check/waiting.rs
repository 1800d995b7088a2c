//! The jobs of one queue that are live and not leased, in the order in which they wait. The ledger keeps one line per
//! queue, so that checkers find a queue's head and the number of its deliverable jobs without a search.
//!
//! A line knows times on the queue's clock and ids alone; what a job is stands in the ledger.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What waits in one queue. Jobs behind an older live job of the same key are left out until that one ends.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Due by the clock as last read: `(ready_clock, job)`.
    ready: BTreeSet<(u64, String)>,
    /// Due later.
    later: BTreeSet<(u64, String)>,
    /// Live jobs per key, leased or not, in the order in which they became live.
    keys: BTreeMap<String, VecDeque<String>>,
}

impl Line {
    /// The waiting jobs that no older job of their key blocks, with the clock each is due at, the longest waiting first.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (u64, &str)> {
        self.ready.iter().chain(&self.later).map(|(clock, job)| (*clock, job.as_str()))
    }

    /// How many are due at `clock`, the time as last read or a later one.
    pub(super) fn due(&self, clock: u64) -> usize {
        let later = self.later.range(..(clock.saturating_add(1), String::new()));
        self.ready.len() + later.count()
    }

    /// The live jobs of `key`, leased or not, the oldest first.
    pub(super) fn of_key(&self, key: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.keys.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Whether a live job of a key other than `key` is here.
    pub(super) fn has_other_key(&self, key: &str) -> bool {
        usize::from(self.keys.contains_key(key)) < self.keys.len()
    }

    /// A job has become live and waits.
    pub(super) fn enter(&mut self, job: &str, key: Option<&str>, ready_clock: u64) {
        if let Some(key) = key {
            let jobs = self.keys.entry(key.to_owned()).or_default();
            jobs.push_back(job.to_owned());
        }
        self.wait(job, key, ready_clock);
    }

    /// A live job waits (again).
    pub(super) fn wait(&mut self, job: &str, key: Option<&str>, ready_clock: u64) {
        let first = key.is_none_or(|key| self.of_key(key).next() == Some(job));
        if first {
            self.later.insert((ready_clock, job.to_owned()));
        }
    }

    /// A job that was due at `ready_clock` is leased.
    pub(super) fn lease(&mut self, job: &str, ready_clock: u64) {
        let entry = (ready_clock, job.to_owned());
        if !self.ready.remove(&entry) {
            self.later.remove(&entry);
        }
    }

    /// A job is live no more. Answers which job of its key stands first now, if it did before.
    pub(super) fn end(&mut self, job: &str, key: Option<&str>, ready_clock: u64) -> Option<String> {
        self.lease(job, ready_clock);
        let key = key?;
        let jobs = self.keys.get_mut(key)?;
        let place = jobs.iter().position(|other| other == job)?;
        jobs.remove(place);
        if jobs.is_empty() {
            self.keys.remove(key);
            return None;
        }
        jobs.front().filter(|_| place == 0).cloned()
    }

    /// The queue's clock has come to `clock`.
    pub(super) fn advance(&mut self, clock: u64) {
        while self.later.first().is_some_and(|(due, _)| *due <= clock) {
            self.ready.extend(self.later.pop_first());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_due_when_its_time_has_come_and_not_before() {
        let mut line = Line::default();
        line.enter("j1", None, 10);
        line.enter("j2", None, 20);
        line.advance(9);
        assert_eq!(line.due(9), 0);
        line.advance(10);
        assert_eq!((line.due(10), line.jobs().next()), (1, Some((10, "j1"))));
        assert_eq!(line.due(20), 2, "as it will stand then");
    }

    #[test]
    fn a_key_is_not_another_than_itself() {
        let mut line = Line::default();
        assert!(!line.has_other_key("e1"));
        line.enter("j1", Some("e1"), 0);
        assert!(!line.has_other_key("e1"));
        assert!(line.has_other_key("e2"));
    }
}

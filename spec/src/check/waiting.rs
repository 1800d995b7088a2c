//! The jobs of one queue that are live and not leased, in the order in which they wait. The ledger keeps one line per
//! queue, so that checkers find a queue's head and the number of its deliverable jobs without a search.
//!
//! A line knows times on the queue's clock and jobs alone; what a job is stands in the ledger.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use super::number::{Job, Key};
use super::print::Table;

/// What waits in one queue. Jobs behind an older live job of the same key are left out until that one ends.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Due by the clock as last read.
    ready: BTreeSet<(u64, Place)>,
    /// Due later.
    later: BTreeSet<(u64, Place)>,
    /// The clock as last read.
    clock: u64,
    /// Live jobs per key, leased or not, in the order in which they became live.
    keys: Table<Key, VecDeque<Place>>,
}

/// A job's place among those that are due at the same time: by its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The id's first bytes as a number, which mostly tell two ids apart.
    begin: u128,
    id: Rc<str>,
    pub(super) job: Job,
}

impl Place {
    pub(super) fn new(job: Job, id: &str) -> Self {
        let mut begin = [0; 16];
        let length = id.len().min(begin.len());
        begin[..length].copy_from_slice(&id.as_bytes()[..length]);
        Self { begin: u128::from_be_bytes(begin), id: id.into(), job }
    }
}

impl Line {
    /// The waiting jobs that no older job of their key blocks, with the clock each is due at, the longest waiting first.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (u64, Job)> {
        self.ready.iter().chain(&self.later).map(|(clock, place)| (*clock, place.job))
    }

    /// How many are due at `clock`, the time as last read or a later one.
    pub(super) fn due(&self, clock: u64) -> usize {
        let later = self.later.iter().take_while(|(due, _)| *due <= clock);
        self.ready.len() + later.count()
    }

    /// The live jobs of `key`, leased or not, the oldest first.
    pub(super) fn of_key(&self, key: Key) -> impl DoubleEndedIterator<Item = Job> {
        self.keys.get(key).into_iter().flatten().map(|place| place.job)
    }

    /// Whether a live job of a key other than `key` is here.
    pub(super) fn has_other_key(&self, key: Key) -> bool {
        usize::from(self.keys.contains(key)) < self.keys.len()
    }

    /// A job has become live and waits.
    pub(super) fn enter(&mut self, place: &Place, key: Option<Key>, ready_clock: u64) {
        if let Some(key) = key {
            self.keys.at(key).push_back(place.clone());
        }
        self.wait(place, key, ready_clock);
    }

    /// A live job waits (again).
    pub(super) fn wait(&mut self, place: &Place, key: Option<Key>, ready_clock: u64) {
        let first = key.is_none_or(|key| self.of_key(key).next() == Some(place.job));
        if first {
            let line = if ready_clock <= self.clock { &mut self.ready } else { &mut self.later };
            line.insert((ready_clock, place.clone()));
        }
    }

    /// A job that was due at `ready_clock` is leased.
    pub(super) fn lease(&mut self, place: &Place, ready_clock: u64) {
        let entry = (ready_clock, place.clone());
        if !self.ready.remove(&entry) {
            self.later.remove(&entry);
        }
    }

    /// A job is live no more. Answers which job of its key stands first now, if it did before.
    pub(super) fn end(&mut self, place: &Place, key: Option<Key>, ready_clock: u64) -> Option<Job> {
        self.lease(place, ready_clock);
        let key = key?;
        let jobs = self.keys.get_mut(key)?;
        let behind = jobs.iter().position(|other| other.job == place.job)?;
        jobs.remove(behind);
        if jobs.is_empty() {
            self.keys.remove(key);
            return None;
        }
        jobs.front().filter(|_| behind == 0).map(|place| place.job)
    }

    /// The queue's clock has come to `clock`.
    pub(super) fn advance(&mut self, clock: u64) {
        self.clock = clock;
        while self.later.first().is_some_and(|(due, _)| *due <= clock) {
            self.ready.extend(self.later.pop_first());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::number::Number;

    fn place(number: usize) -> Place {
        Place::new(Job::of(number), &format!("a-job-with-a-long-name-{number}"))
    }

    #[test]
    fn a_job_is_due_when_its_time_has_come_and_not_before() {
        let mut line = Line::default();
        line.enter(&place(1), None, 10);
        line.enter(&place(2), None, 20);
        line.advance(9);
        assert_eq!(line.due(9), 0);
        line.advance(10);
        assert_eq!((line.due(10), line.jobs().next()), (1, Some((10, Job::of(1)))));
        assert_eq!(line.due(20), 2, "as it will stand then");
    }

    #[test]
    fn jobs_that_are_due_together_stand_in_the_order_of_their_ids() {
        let mut line = Line::default();
        [3, 1, 2].iter().for_each(|&number| line.enter(&place(number), None, 10));
        assert!(line.jobs().map(|(_, job)| job.index()).eq([1, 2, 3]));
        line.lease(&place(2), 10);
        assert!(line.jobs().map(|(_, job)| job.index()).eq([1, 3]));
    }

    #[test]
    fn a_key_is_not_another_than_itself() {
        let mut line = Line::default();
        let (mine, other) = (Key::of(1), Key::of(2));
        assert!(!line.has_other_key(mine));
        line.enter(&place(1), Some(mine), 0);
        assert!(!line.has_other_key(mine));
        assert!(line.has_other_key(other));
    }
}

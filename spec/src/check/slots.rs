//! Which slots of the processors are taken: by what the queue has leased to them, and by handlers that still run.
//!
//! The queue's word alone will not do. It gives a lease up by its own clock, which may have stepped, and a processor that
//! was not told, or not in time, goes on with the handler: that slot takes nothing new until the handler has ended.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Finished, Processor, Started};

/// The processors that are up.
#[derive(Debug, Default)]
pub(super) struct Processors {
    up: BTreeMap<String, Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    slots: u32,
    /// Deliveries of which the queue still leases a job.
    leased: BTreeSet<String>,
    /// Handlers that are at work, whatever the queue says.
    runs: Vec<Run>,
    /// Deliveries given up of which a handler that nobody sees may be at work, and until when.
    hidden: BTreeMap<String, u64>,
}

/// A handler at work on a delivery.
#[derive(Debug)]
struct Run {
    /// The delivery, if it is known.
    delivery: Option<String>,
    /// The first job of it, and the attempt.
    job: String,
    attempt: u32,
}

impl Processors {
    pub(super) fn is_empty(&self) -> bool {
        self.up.is_empty()
    }

    /// Up, a processor starts with nothing; down, all that it had is gone.
    pub(super) fn come_or_go(&mut self, it: &Processor) {
        if it.up {
            self.up.insert(it.processor.clone(), Slots { slots: it.slots, ..Slots::default() });
        } else {
            self.up.remove(&it.processor);
        }
    }

    /// The queue hands `delivery` to `processor`.
    pub(super) fn grant(&mut self, processor: &str, delivery: &str) {
        if let Some(slots) = self.up.get_mut(processor) {
            slots.leased.insert(delivery.to_owned());
        }
    }

    /// The queue leases nothing of `delivery` any more.
    pub(super) fn give_up(&mut self, processor: &str, delivery: &str) {
        if let Some(slots) = self.up.get_mut(processor) {
            slots.leased.remove(delivery);
        }
    }

    /// A handler begins; `delivery` is what the history knows its delivery by.
    pub(super) fn start(&mut self, it: &Started, delivery: Option<String>) {
        let Some(first) = it.jobs.first() else { return };
        if let Some(slots) = self.up.get_mut(&it.processor) {
            slots.runs.push(Run { delivery, job: first.job.clone(), attempt: first.attempt });
        }
    }

    /// Where handlers are not seen: one may be at work on the lost `delivery` until `until`.
    pub(super) fn hide(&mut self, processor: &str, delivery: &str, until: u64) {
        if let Some(slots) = self.up.get_mut(processor) {
            slots.hidden.insert(delivery.to_owned(), until);
        }
    }

    /// A handler ends, or is ended.
    pub(super) fn finish(&mut self, it: &Finished) {
        if let Some(slots) = self.up.get_mut(&it.processor) {
            slots.runs.retain(|run| !run.is_ended_by(it));
        }
    }

    /// A handler that nobody saw, and that must have ended by `at`, takes no slot any more. Returns when its time was over:
    /// the first of all, so that asking again until there is none frees slot after slot.
    pub(super) fn expire(&mut self, at: u64) -> Option<u64> {
        let hidden = self.up.values().flat_map(|slots| slots.hidden.values().copied());
        let first = hidden.min().filter(|&first| first <= at)?;
        for slots in self.up.values_mut() {
            slots.hidden.retain(|_, until| *until != first);
        }
        Some(first)
    }

    /// How many slots are free.
    pub(super) fn free(&self) -> usize {
        self.up.values().map(Slots::free).sum()
    }
}

impl Run {
    fn is_ended_by(&self, it: &Finished) -> bool {
        match (&self.delivery, &it.delivery) {
            (Some(mine), Some(ended)) => mine == ended,
            _ => it.jobs.iter().any(|ended| ended.job == self.job && ended.attempt == self.attempt),
        }
    }
}

impl Slots {
    fn free(&self) -> usize {
        let is_leased = |delivery: &String| self.leased.contains(delivery);
        let runs = self.runs.iter().filter(|run| !run.delivery.as_ref().is_some_and(is_leased)).count();
        let hidden = self.hidden.keys().filter(|delivery| !is_leased(delivery)).count();
        (self.slots as usize).saturating_sub(self.leased.len() + runs + hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{AttemptOutcome, Ended, Given};

    const P: &str = "p";

    fn processors() -> Processors {
        let mut processors = Processors::default();
        processors.come_or_go(&Processor { processor: P.into(), up: true, slots: 3 });
        processors
    }

    fn start(processors: &mut Processors, job: &str, delivery: Option<&str>) {
        let jobs = vec![Given { job: job.into(), attempt: 1, told: None, payload: String::new() }];
        let it = Started { processor: P.into(), delivery: None, queue: "q".into(), jobs };
        processors.start(&it, delivery.map(str::to_owned));
    }

    fn finish(processors: &mut Processors, job: &str, attempt: u32, delivery: Option<&str>) {
        let jobs = vec![Ended { job: job.into(), attempt, outcome: AttemptOutcome::Completed, error: None }];
        processors.finish(&Finished { processor: P.into(), delivery: delivery.map(str::to_owned), jobs });
    }

    #[test]
    fn a_slot_is_free_once_its_lease_is_given_up_and_its_handler_has_ended() {
        let mut processors = processors();
        processors.grant(P, "d1");
        start(&mut processors, "j1", Some("d1"));
        assert_eq!(processors.free(), 2, "a delivery takes one slot, not two");
        processors.give_up(P, "d1");
        start(&mut processors, "j2", None);
        assert_eq!(processors.free(), 1, "one lease was given up, and of one the queue said nothing");
        finish(&mut processors, "j9", 1, Some("d9"));
        assert_eq!(processors.free(), 1);
        finish(&mut processors, "j1", 1, Some("d1"));
        assert_eq!(processors.free(), 2);
    }

    #[test]
    fn a_handler_that_was_not_told_its_delivery_is_known_by_its_job_and_attempt() {
        let mut processors = processors();
        start(&mut processors, "j1", None);
        finish(&mut processors, "j1", 2, None);
        finish(&mut processors, "j2", 1, None);
        assert_eq!(processors.free(), 2);
        finish(&mut processors, "j1", 1, None);
        assert_eq!(processors.free(), 3);
    }

    #[test]
    fn what_nobody_sees_takes_its_slot_until_its_time_is_over() {
        let mut processors = processors();
        for (delivery, until) in [("d1", 20), ("d2", 10), ("d3", 10)] {
            processors.grant(P, delivery);
            processors.hide(P, delivery, until);
            processors.give_up(P, delivery);
        }
        assert_eq!((processors.free(), processors.expire(9)), (0, None));
        assert_eq!((processors.expire(20), processors.free()), (Some(10), 2));
        assert_eq!((processors.expire(20), processors.free()), (Some(20), 3));
        assert_eq!(processors.expire(20), None);
    }

    #[test]
    fn a_processor_that_went_down_has_no_slots_and_comes_back_with_all() {
        let mut processors = processors();
        processors.grant(P, "d1");
        start(&mut processors, "j1", Some("d1"));
        processors.come_or_go(&Processor { processor: P.into(), up: false, slots: 3 });
        assert!(processors.is_empty() && processors.free() == 0);
        processors.come_or_go(&Processor { processor: P.into(), up: true, slots: 3 });
        assert!(!processors.is_empty() && processors.free() == 3);
    }
}

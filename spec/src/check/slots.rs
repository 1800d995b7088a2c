//! Which slots of the processors are taken: by what the queue has leased to them, and by handlers that still run.
//!
//! The queue's word alone will not do. It gives a lease up by its own clock, which may have stepped, and a processor that
//! was not told, or not in time, goes on with the handler: that slot takes nothing new until the handler has ended.

use std::collections::BTreeMap;

use super::named::Named;
use super::number::{Job, Processor};
use super::print::{Print, Table};
use crate::history::{Finished, Processor as ComeOrGo, Started};

/// The processors that are up.
#[derive(Debug, Default)]
pub(super) struct Processors {
    up: BTreeMap<Processor, Slots>,
    /// How many slots are free.
    free: usize,
    /// How many deliveries are hidden.
    hidden: usize,
}

#[derive(Debug, Default)]
struct Slots {
    slots: u32,
    /// Deliveries of which the queue still leases a job.
    leased: Table<Print, ()>,
    /// Handlers that are at work, whatever the queue says.
    runs: Vec<Run>,
    /// How many of them work on what the queue does not lease.
    unleased: usize,
    /// Deliveries given up of which a handler that nobody sees may be at work, and until when.
    hidden: BTreeMap<Print, u64>,
}

/// A handler at work on a delivery.
#[derive(Debug)]
struct Run {
    /// The delivery, if it is known.
    delivery: Option<Print>,
    /// The first job of it, and the attempt.
    job: Job,
    attempt: u32,
}

impl Processors {
    pub(super) fn is_empty(&self) -> bool {
        self.up.is_empty()
    }

    /// Up, a processor starts with nothing; down, all that it had is gone.
    pub(super) fn come_or_go(&mut self, it: &ComeOrGo, processor: Processor) {
        let before = self.up.remove(&processor).unwrap_or_default();
        self.free -= before.free();
        self.hidden -= before.hidden.len();
        if it.up {
            let slots = Slots { slots: it.slots, ..Slots::default() };
            self.free += slots.free();
            self.up.insert(processor, slots);
        }
    }

    /// Changes the slots of `processor`, if it is up, and keeps the sums.
    fn change(&mut self, processor: Processor, change: impl FnOnce(&mut Slots)) {
        let Some(slots) = self.up.get_mut(&processor) else { return };
        let (free, hidden) = (slots.free(), slots.hidden.len());
        change(slots);
        self.free = self.free - free + slots.free();
        self.hidden = self.hidden - hidden + slots.hidden.len();
    }

    /// The queue hands `delivery` to `processor`.
    pub(super) fn grant(&mut self, processor: Processor, delivery: Print) {
        self.change(processor, |slots| {
            if slots.leased.insert(delivery, ()).is_none() {
                slots.unleased -= slots.runs_of(delivery);
            }
        });
    }

    /// The queue leases nothing of `delivery` any more.
    pub(super) fn give_up(&mut self, processor: Processor, delivery: Print) {
        self.change(processor, |slots| {
            if slots.leased.remove(delivery).is_some() {
                slots.unleased += slots.runs_of(delivery);
            }
        });
    }

    /// A handler begins; `delivery` is what the history knows its delivery by.
    pub(super) fn start(&mut self, it: &Started, processor: Processor, jobs: &[Job], delivery: Option<Print>) {
        let (Some(first), Some(&job)) = (it.jobs.first(), jobs.first()) else { return };
        self.change(processor, |slots| {
            let run = Run { delivery, job, attempt: first.attempt };
            slots.unleased += usize::from(!run.is_leased(&slots.leased));
            slots.runs.push(run);
        });
    }

    /// Where handlers are not seen: one may be at work on the lost `delivery` until `until`.
    pub(super) fn hide(&mut self, processor: Processor, delivery: Print, until: u64) {
        self.change(processor, |slots| {
            slots.hidden.insert(delivery, until);
        });
    }

    /// A handler ends, or is ended.
    pub(super) fn finish(&mut self, it: &Finished, named: Named, jobs: &[Job]) {
        self.change(named.processor, |slots| {
            let Slots { leased, runs, unleased, .. } = slots;
            runs.retain(|run| {
                let ended = run.is_ended_by(it, named.delivery, jobs);
                *unleased -= usize::from(ended && !run.is_leased(leased));
                !ended
            });
        });
    }

    /// A handler that nobody saw, and that must have ended by `at`, takes no slot any more. Returns when its time was over:
    /// the first of all, so that asking again until there is none frees slot after slot.
    pub(super) fn expire(&mut self, at: u64) -> Option<u64> {
        if self.hidden == 0 {
            return None;
        }
        let hidden = self.up.values().flat_map(|slots| slots.hidden.values().copied());
        let first = hidden.min().filter(|&first| first <= at)?;
        let up: Vec<Processor> = self.up.keys().copied().collect();
        for processor in up {
            self.change(processor, |slots| slots.hidden.retain(|_, until| *until != first));
        }
        Some(first)
    }

    /// How many slots are free.
    pub(super) fn free(&self) -> usize {
        self.free
    }
}

impl Run {
    fn is_leased(&self, leased: &Table<Print, ()>) -> bool {
        self.delivery.is_some_and(|delivery| leased.contains(delivery))
    }

    fn is_ended_by(&self, it: &Finished, delivery: Option<Print>, jobs: &[Job]) -> bool {
        match (self.delivery, delivery) {
            (Some(mine), Some(ended)) => mine == ended,
            _ => it.jobs.iter().zip(jobs).any(|(ended, &job)| job == self.job && ended.attempt == self.attempt),
        }
    }
}

impl Slots {
    fn runs_of(&self, delivery: Print) -> usize {
        self.runs.iter().filter(|run| run.delivery == Some(delivery)).count()
    }

    fn free(&self) -> usize {
        let hidden = self.hidden.keys().filter(|&&delivery| !self.leased.contains(delivery)).count();
        (self.slots as usize).saturating_sub(self.leased.len() + self.unleased + hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::number::Number;
    use crate::history::{AttemptOutcome, Ended, Given};

    /// One processor, numbers for the jobs `j1` to `j9`, and fingerprints for the deliveries.
    fn p() -> Processor {
        Processor::of(0)
    }

    fn job(name: &str) -> Job {
        Job::of(name[1..].parse().expect("a digit"))
    }

    fn processors() -> Processors {
        let mut processors = Processors::default();
        processors.come_or_go(&ComeOrGo { processor: "p".into(), up: true, slots: 3 }, p());
        processors
    }

    fn start(processors: &mut Processors, name: &str, delivery: Option<&str>) {
        let jobs = vec![Given { job: name.into(), attempt: 1, told: None, payload: String::new() }];
        let it = Started { processor: "p".into(), delivery: None, queue: "q".into(), jobs };
        processors.start(&it, p(), &[job(name)], delivery.map(Print::of));
    }

    fn finish(processors: &mut Processors, name: &str, attempt: u32, delivery: Option<&str>) {
        let jobs = vec![Ended { job: name.into(), attempt, outcome: AttemptOutcome::Completed, error: None }];
        let named = Named { processor: p(), delivery: delivery.map(Print::of), ..Named::default() };
        let it = Finished { processor: "p".into(), delivery: delivery.map(str::to_owned), jobs };
        processors.finish(&it, named, &[job(name)]);
    }

    #[test]
    fn a_slot_is_free_once_its_lease_is_given_up_and_its_handler_has_ended() {
        let mut processors = processors();
        processors.grant(p(), Print::of("d1"));
        start(&mut processors, "j1", Some("d1"));
        assert_eq!(processors.free(), 2, "a delivery takes one slot, not two");
        processors.give_up(p(), Print::of("d1"));
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
            let delivery = Print::of(delivery);
            processors.grant(p(), delivery);
            processors.hide(p(), delivery, until);
            processors.give_up(p(), delivery);
        }
        assert_eq!((processors.free(), processors.expire(9)), (0, None));
        assert_eq!((processors.expire(20), processors.free()), (Some(10), 2));
        assert_eq!((processors.expire(20), processors.free()), (Some(20), 3));
        assert_eq!(processors.expire(20), None);
    }

    #[test]
    fn a_processor_that_went_down_has_no_slots_and_comes_back_with_all() {
        let mut processors = processors();
        processors.grant(p(), Print::of("d1"));
        start(&mut processors, "j1", Some("d1"));
        processors.come_or_go(&ComeOrGo { processor: "p".into(), up: false, slots: 3 }, p());
        assert!(processors.is_empty() && processors.free() == 0);
        processors.come_or_go(&ComeOrGo { processor: "p".into(), up: true, slots: 3 }, p());
        assert!(!processors.is_empty() && processors.free() == 3);
    }
}

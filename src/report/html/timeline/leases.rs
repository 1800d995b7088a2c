//! Who held which job from when to when: from the grant to where it was settled, or to where the lease ran out.

use std::collections::BTreeMap;

use kew_spec::history::{AttemptOutcome, Event, Granted, What};
use serde::Serialize;

use super::jobs::Jobs;
use super::lanes::Lanes;
use super::on_players_clock;

/// One job of a delivery.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Lease {
    job: usize,
    attempt: u32,
    delivery: usize,
    /// The event that ended it; absent, nothing did before `to`.
    end: Option<usize>,
    to: u64,
    outcome: Option<AttemptOutcome>,
}

/// A hand-over: what one grant gave.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Delivery {
    /// The grant.
    event: usize,
    lane: Option<usize>,
    /// Its leases: the first and how many.
    first: usize,
    count: usize,
    /// When the last of its leases ended, and until when they held.
    to: u64,
    until: u64,
}

/// All leases, and the deliveries they belong to.
pub(super) struct Leases {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) leases: Vec<Lease>,
}

impl Leases {
    /// The leases of a history. One that nothing ended lasts until it runs out, or to the end of the history.
    pub(super) fn of(events: &[(u64, Event)], lanes: &Lanes, jobs: &Jobs<'_>) -> Self {
        let mut leases = Self { deliveries: Vec::new(), leases: Vec::new() };
        // Per job its leases that are not over, in the order of their grants.
        let mut held: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, (_, Event { at, what })) in events.iter().enumerate() {
            match what {
                What::Granted(granted) => {
                    for (place, lease) in leases.grant(i, *at, granted, lanes, jobs).zip(&granted.jobs) {
                        held.entry(&lease.job).or_default().push(place);
                    }
                }
                What::Settled(settled) if settled.accepted => {
                    let open = held.entry(&settled.job).or_default();
                    let is_it = |place: &usize| leases.leases[*place].attempt == settled.attempt;
                    if let Some(which) = open.iter().position(is_it) {
                        leases.end(open.remove(which), i, *at, settled.outcome);
                    }
                }
                What::Cancelled(cancelled) => {
                    for place in held.remove(cancelled.job.as_str()).unwrap_or_default() {
                        leases.end(place, i, *at, AttemptOutcome::Cancelled);
                    }
                }
                _ => {}
            }
        }
        leases.close(events.last().map_or(0, |(_, event)| event.at));
        leases
    }

    /// Adds a delivery and gives the places of its leases.
    fn grant(
        &mut self,
        event: usize,
        at: u64,
        granted: &Granted,
        lanes: &Lanes,
        jobs: &Jobs<'_>,
    ) -> std::ops::Range<usize> {
        let delivery = self.deliveries.len();
        let first = self.leases.len();
        let until = on_players_clock(granted.lease_until, granted.clock, at);
        for lease in &granted.jobs {
            let job = jobs.place(&lease.job).expect("every job that is named is listed");
            self.leases.push(Lease { job, attempt: lease.attempt, delivery, end: None, to: until, outcome: None });
        }
        let lane = lanes.of_processor(&granted.processor);
        self.deliveries.push(Delivery { event, lane, first, count: granted.jobs.len(), to: at, until });
        first..self.leases.len()
    }

    fn end(&mut self, place: usize, event: usize, at: u64, outcome: AttemptOutcome) {
        let lease = &mut self.leases[place];
        (lease.end, lease.to, lease.outcome) = (Some(event), at, Some(outcome));
    }

    fn close(&mut self, last_at: u64) {
        for lease in &mut self.leases {
            lease.to = lease.to.min(last_at);
        }
        for delivery in &mut self.deliveries {
            let ends = self.leases[delivery.first..delivery.first + delivery.count].iter().map(|lease| lease.to);
            delivery.to = ends.max().unwrap_or(delivery.to).max(delivery.to);
        }
    }
}

//! In which order deliveries were granted. What is seen is when handlers were heard of, each through a pipe of its own, so
//! starts that are close together may have been granted the other way round. Of the orders that are left the one is taken
//! that accuses least: the more urgent first, then the larger batch, then who has waited longest.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use kew_spec::history::{Given, Started, What};

use super::{Inference, Job};

/// How far ahead starts are looked at, in events: plenty for what is under way at once.
const EVENTS_MAX: usize = 2_000;

/// How far apart the starts of a limited queue may be to count as close.
const LIMITED_MS: u64 = 50;

/// Where a delivery stands in the order; the least goes first.
type Rank = (Reverse<u64>, Reverse<usize>, u64);

impl Inference<'_> {
    /// Grants the delivery that is seen to start at `index`, after those that may have been granted before it.
    pub(super) fn grant_in_order(&mut self, index: usize, at: u64, it: &Started) {
        let own = self.rank(it, at);
        let mut before: Vec<_> =
            self.close_by(index, at).into_iter().map(|other| (self.rank(&other, at), other)).collect();
        before.retain(|(rank, other)| *rank < own && !self.share_entity(it, other));
        before.sort_by_key(|(rank, _)| *rank);
        for (_, other) in before {
            self.grant_ahead(at, &other);
        }
        self.grant(at, it);
    }

    /// A new job was made for `key` although one waits: that one had been granted before, if it starts soon.
    pub(super) fn grant_waiting(&mut self, index: usize, at: u64, queue: &str, key: &str) {
        let is_it = |job: &Job| job.queue == queue && job.key.as_deref() == Some(key) && job.waits();
        let Some(id) = self.jobs.iter().find(|(_, job)| is_it(job)).map(|(id, _)| id.clone()) else { return };
        let found = self.close_by(index, at).into_iter().find(|other| other.jobs.iter().any(|given| given.job == id));
        if let Some(other) = found {
            self.grant_ahead(at, &other);
        }
    }

    /// The server is killed at `index`: what workers are heard to start before it is back, it had granted before.
    pub(super) fn grant_before_death(&mut self, index: usize, at: u64, heals_at: u64) {
        let until_back = self.events.iter().skip(index + 1).take_while(|event| event.at < heals_at);
        let starts: Vec<_> = until_back
            .filter_map(|event| match &event.what {
                What::Started(it) => Some(it.clone()),
                _ => None,
            })
            .collect();
        let clock = self.clock(at);
        for it in starts {
            let due = |given: &Given| self.jobs.get(&given.job).is_some_and(|job| job.due_clock <= clock);
            if it.jobs.iter().all(due) {
                self.grant_ahead(at, &it);
            }
        }
    }

    fn grant_ahead(&mut self, at: u64, it: &Started) {
        if it.jobs.iter().all(|given| self.jobs.get(&given.job).is_some_and(Job::waits)) {
            it.jobs.iter().for_each(|given| self.coalesce_before(at, given));
            self.granted_ahead.extend(it.delivery.clone());
            self.grant(at, it);
        }
    }

    /// Deliveries that are seen to start soon after `index`, and could have been granted by then.
    fn close_by(&self, index: usize, at: u64) -> Vec<Started> {
        let clock = self.clock(at);
        let soon = self.events.iter().enumerate().skip(index + 1).take(EVENTS_MAX);
        let soon = soon.take_while(|(_, event)| event.at <= at + self.known.late_ms);
        let mut struck = BTreeSet::new();
        let starts = soon.filter_map(|(place, event)| match &event.what {
            What::Started(it) => (!struck.contains(&it.processor)).then_some((place, event.at, it)),
            // What a worker had been given before it was struck, it does not start afterwards. What strikes the server
            // alone leaves the worker with what it has.
            What::Fault(it) => {
                struck.extend(it.on.iter().cloned());
                None
            }
            What::Processor(it) => {
                struck.insert(it.processor.clone());
                None
            }
            _ => None,
        });
        let could = |(place, started_at, it): &(usize, u64, &Started)| {
            // Where starts are limited, moving one by much would break the limit.
            let limited = self.policy(&it.queue).is_none_or(|policy| policy.rate_limit.is_some());
            let far = limited && at + LIMITED_MS < *started_at;
            let known = it.delivery.as_ref().is_some_and(|delivery| self.granted_ahead.contains(delivery));
            let due = |job: &Job| job.waits() && job.due_clock <= clock && !self.is_behind(job);
            let due = |given: &Given| self.jobs.get(&given.job).is_some_and(due);
            let unread = |given: &Given| !self.is_read_waiting(index, at, *place, &given.job);
            !far && !known && it.jobs.iter().all(|given| self.is_brought(given) && due(given) && unread(given))
        };
        starts.filter(could).map(|(.., it)| it.clone()).collect()
    }

    /// Whether somebody has asked for what this job is given: a payload that is still to come cannot have been granted.
    fn is_brought(&self, given: &Given) -> bool {
        let asked = |what: &What| matches!(what, What::Enqueue(it) if it.payload == given.payload);
        let accepted = self.jobs.get(&given.job).is_some_and(|job| job.payload == given.payload);
        accepted || self.asked.values().any(asked)
    }

    /// Whether two deliveries hold jobs of one entity: of those one goes after the other has ended.
    fn share_entity(&self, one: &Started, other: &Started) -> bool {
        let entities = |it: &Started| -> Vec<_> {
            let jobs = it.jobs.iter().filter_map(|given| self.jobs.get(&given.job));
            jobs.filter_map(|job| Some((job.queue.clone(), job.key.clone()?))).collect()
        };
        let ones = entities(one);
        entities(other).iter().any(|entity| ones.contains(entity))
    }

    /// Whether another job of its entity is at work or waits: then it goes after that one, or nobody knows which goes first.
    fn is_behind(&self, job: &Job) -> bool {
        let deduplicates = self.policy(&job.queue).is_some_and(|policy| policy.deduplication);
        let of_key = |other: &&Job| other.queue == job.queue && other.key == job.key && other.over.is_none();
        deduplicates && job.key.is_some() && 1 < self.jobs.values().filter(of_key).count()
    }

    fn rank(&self, it: &Started, at: u64) -> Rank {
        let since = it.jobs.iter().filter_map(|given| self.jobs.get(&given.job)).map(|job| job.due_clock).min();
        let since = since.unwrap_or(u64::MAX);
        let waited = self.clock(at).saturating_sub(since);
        let level = self.policy(&it.queue).map_or(0, |policy| policy.priority.level_after(waited));
        (Reverse(level), Reverse(it.jobs.len()), since)
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::ByHand;

    const ONE: &str = "[work]\npriority = 'medium'\nattempts = 3\ntimeout_ms = 60_000\n";

    #[test]
    fn starts_that_are_heard_in_the_wrong_order_are_granted_in_the_right_one() {
        let by_hand = ByHand::new(
            ONE,
            &[
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"first"}}"#,
                r#"{"at":50,"reply":{"op":1,"outcome":"ok","job":"first"}}"#,
                r#"{"at":60,"enqueue":{"op":2,"user":"ada","queue":"work","payload":"second"}}"#,
                r#"{"at":90,"reply":{"op":2,"outcome":"ok","job":"second"}}"#,
                r#"{"at":100,"started":{"processor":"processor-1","delivery":"d2","queue":"work","jobs":[{"job":"second","attempt":1,"payload":"second"}]}}"#,
                r#"{"at":200,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"first","attempt":1,"payload":"first"}]}}"#,
            ],
        );
        assert_eq!(by_hand.told(), ["100 granted first 1", "100 granted second 1"]);
        assert_eq!(by_hand.broken(), [""; 0]);
    }

    #[test]
    fn a_read_that_shows_a_job_waiting_holds_its_grant_back() {
        let by_hand = ByHand::new(
            ONE,
            &[
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"first"}}"#,
                r#"{"at":20,"reply":{"op":1,"outcome":"ok","job":"first"}}"#,
                r#"{"at":30,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"first","attempt":1,"told":1,"payload":"first"}]}}"#,
                r#"{"at":40,"finished":{"processor":"processor-1","delivery":"d1","jobs":[{"job":"first","attempt":1,"outcome":"failed","error":"no"}]}}"#,
                r#"{"at":60,"enqueue":{"op":2,"user":"ada","queue":"work","payload":"second"}}"#,
                r#"{"at":90,"reply":{"op":2,"outcome":"ok","job":"second"}}"#,
                r#"{"at":100,"started":{"processor":"processor-1","delivery":"d2","queue":"work","jobs":[{"job":"second","attempt":1,"told":1,"payload":"second"}]}}"#,
                r#"{"at":130,"status":{"job":"first","user":"ada","asked_at":120,"row":{"status":"failed","retry_count":0,"error":"no","created_at":1,"updated_at":1,"final":false}}}"#,
                r#"{"at":200,"started":{"processor":"processor-1","delivery":"d3","queue":"work","jobs":[{"job":"first","attempt":2,"told":2,"payload":"first"}]}}"#,
                r#"{"at":230,"status":{"job":"first","user":"ada","asked_at":220,"row":{"status":"processing","retry_count":1,"created_at":1,"updated_at":1,"final":false}}}"#,
            ],
        );
        let told = ["30 granted first 1", "40 settled first 1", "100 granted second 1", "200 granted first 2"];
        assert_eq!(by_hand.told(), told);
        assert!(!by_hand.broken().contains(&"retry/count".to_owned()), "{:?}", by_hand.broken());
    }

    #[test]
    fn what_strikes_the_server_alone_takes_nothing_from_a_worker() {
        let by_hand = ByHand::new(
            ONE,
            &[
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"first"}}"#,
                r#"{"at":20,"reply":{"op":1,"outcome":"ok","job":"first"}}"#,
                r#"{"at":60,"enqueue":{"op":2,"user":"ada","queue":"work","payload":"second"}}"#,
                r#"{"at":70,"reply":{"op":2,"outcome":"ok","job":"second"}}"#,
                r#"{"at":100,"started":{"processor":"processor-1","delivery":"d2","queue":"work","jobs":[{"job":"second","attempt":1,"payload":"second"}]}}"#,
                r#"{"at":110,"fault":{"fault":1,"kind":"kill","on":["broker"],"active":true}}"#,
                r#"{"at":200,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"first","attempt":1,"payload":"first"}]}}"#,
                r#"{"at":300,"finished":{"processor":"processor-1","delivery":"d1","jobs":[{"job":"first","attempt":1,"outcome":"completed"}]}}"#,
                r#"{"at":400,"finished":{"processor":"processor-1","delivery":"d2","jobs":[{"job":"second","attempt":1,"outcome":"completed"}]}}"#,
            ],
        );
        let told = ["100 granted first 1", "100 granted second 1", "300 settled first 1", "400 settled second 1"];
        assert_eq!(by_hand.told(), told);
        assert_eq!(by_hand.broken(), [""; 0]);
    }

    #[test]
    fn what_a_worker_starts_after_it_was_struck_it_was_given_afterwards() {
        let by_hand = ByHand::new(
            ONE,
            &[
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":0,"processor":{"processor":"processor-2","up":true,"slots":4}}"#,
                r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"first"}}"#,
                r#"{"at":60,"enqueue":{"op":2,"user":"ada","queue":"work","payload":"second"}}"#,
                r#"{"at":100,"started":{"processor":"processor-2","delivery":"d2","queue":"work","jobs":[{"job":"second","attempt":1,"told":1,"payload":"second"}]}}"#,
                r#"{"at":110,"fault":{"fault":1,"kind":"pause","on":["processor-1"],"active":true}}"#,
                r#"{"at":150,"fault":{"fault":1,"kind":"pause","on":["processor-1"],"active":false}}"#,
                r#"{"at":200,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"first","attempt":1,"told":1,"payload":"first"}]}}"#,
            ],
        );
        assert_eq!(by_hand.told(), ["100 granted second 1", "200 granted first 1"]);
    }

    #[test]
    fn what_is_heard_to_start_while_the_server_is_dead_was_granted_before() {
        let heard = |at: u64| {
            let started = format!(
                r#"{{"at":{at},"started":{{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{{"job":"first","attempt":1,"payload":"first"}}]}}}}"#
            );
            let before = [
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"first"}}"#,
                r#"{"at":20,"reply":{"op":1,"outcome":"ok","job":"first"}}"#,
                r#"{"at":30,"pause":{"op":2,"queue":"work"}}"#,
                r#"{"at":40,"fault":{"fault":1,"kind":"kill","on":["broker"],"active":true}}"#,
                r#"{"at":41,"reply":{"op":2,"outcome":"ok"}}"#,
            ];
            let back = r#"{"at":300,"fault":{"fault":1,"kind":"kill","on":["broker"],"active":false}}"#;
            let mut lines = before.to_vec();
            lines.extend(if at < 300 { [started.as_str(), back] } else { [back, started.as_str()] });
            ByHand::new(ONE, &lines)
        };
        assert_eq!(heard(50).told(), ["40 granted first 1"]);
        assert!(!heard(50).broken().contains(&"status/durable".to_owned()));
        assert!(heard(900).broken().contains(&"status/durable".to_owned()), "it was back, and the pause was forgotten");
    }
}

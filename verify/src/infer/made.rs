//! When jobs were made. An enqueue makes its job at some moment between its question and its answer (or the job's start), and
//! of all these moments those are taken that accuse the least.
//!
//! Where nothing is promised from that moment on but that the job goes before younger ones, it is made as late as may be:
//! with the answer, or the start. Of one queue's jobs those that start first are made first, if they may have been.
//! Batches wait from that moment on, so there it is the question's. On a schedule it is as late as may be before the tick that
//! takes the job.

use std::collections::BTreeMap;

use kew_spec::history::{Enqueue, Event, How, Told, What};
use kew_spec::queues::Schedule;

use super::Inference;
use super::ahead::Ahead;

/// How much the harness's clock and the queue's may differ over when a tick is.
const TICK_ERROR_MS: u64 = 25;

/// An enqueue that made a job.
struct Made<'a> {
    it: &'a Enqueue,
    /// Where it was asked for.
    asked: usize,
    /// The last event before which the job may have been made.
    latest: usize,
    /// Where it starts.
    start: usize,
}

impl Inference<'_> {
    /// The enqueues whose jobs are made before an event that does not show it by itself, by that event.
    pub(super) fn when_made(&self) -> BTreeMap<usize, Vec<Enqueue>> {
        let mut of_queue: BTreeMap<&str, Vec<Made<'_>>> = BTreeMap::new();
        let mut first = std::collections::BTreeSet::new();
        for (asked, event) in self.events.iter().enumerate() {
            if let What::Enqueue(it) = &event.what
                && let Some(made) = self.made_by(asked, it)
                && first.insert(self.known.names.get(&it.op))
            {
                of_queue.entry(&it.queue).or_default().push(made);
            }
        }
        let mut by_event: BTreeMap<usize, Vec<Enqueue>> = BTreeMap::new();
        for (queue, mut all) in of_queue {
            let policy = self.policy(queue);
            let early = policy.is_none_or(|policy| policy.batch.is_some() || policy.schedule.is_some());
            all.sort_by_key(|made| made.start);
            let mut before = usize::MAX;
            for made in all.iter().rev() {
                before = before.min(made.latest);
                let place = match policy.and_then(|policy| policy.schedule.as_ref()) {
                    Some(schedule) => self.before_tick(made, schedule),
                    None if early => made.asked + 1,
                    None => before.max(made.asked + 1),
                };
                if place < made.latest || early {
                    by_event.entry(place).or_default().push(made.it.clone());
                }
            }
        }
        by_event.values_mut().for_each(|all| all.sort_by_key(|it| it.op));
        by_event
    }

    /// Makes the jobs that are to be made before the event `index`.
    pub(super) fn make(&mut self, index: usize, at: u64) {
        for it in self.made.remove(&index).unwrap_or_default() {
            let Some(mine) = self.known.names.get(&it.op).cloned() else { continue };
            if !self.jobs.contains_key(&mine) {
                // Not later than the question is heard of, where it is the one before.
                let at = self.events.get(index - 1).map_or(at, |before| before.at);
                self.accept(at, &it, &mine, How::Created);
            }
        }
    }

    /// What `it` made, if it made a job by itself. What coalesced is told of with the answer, or before a start with the
    /// new payload.
    fn made_by<'a>(&self, asked: usize, it: &'a Enqueue) -> Option<Made<'a>> {
        let mine = self.known.names.get(&it.op)?;
        let reply = self.ahead.replies.get(&it.op);
        let names_other = reply.is_some_and(|(_, _, job)| job.as_ref().is_some_and(|job| job != mine));
        let told = reply.map(|(_, told, _)| *told);
        let start = Ahead::next(self.ahead.starts.get(mine), asked);
        let made = start.is_some() || (!names_other && told == Some(Told::Ok));
        let entity = self.policy(&it.queue).is_some_and(|policy| policy.deduplication) && it.key.is_some();
        let start = start.unwrap_or(self.events.len());
        let answered = reply.filter(|(_, told, _)| *told == Told::Ok).map_or(start, |(index, ..)| *index);
        let latest = answered.min(start);
        let coalesces = entity && !self.is_alone(asked, latest, it);
        (made && !coalesces).then_some(Made { it, asked, latest, start })
    }

    /// Whether `it` is the only enqueue of its entity that is asked for before `latest`: then it makes a job for certain.
    fn is_alone(&self, asked: usize, latest: usize, it: &Enqueue) -> bool {
        let same = |index: usize, event: &Event| match &event.what {
            What::Enqueue(other) => index != asked && other.queue == it.queue && other.key == it.key,
            _ => false,
        };
        !self.events[..latest].iter().enumerate().any(|(index, event)| same(index, event))
    }

    /// The last place where a job may have been made that is taken at the tick before its start.
    fn before_tick(&self, made: &Made<'_>, schedule: &Schedule) -> usize {
        let start = self.events.get(made.start).map(|event| self.clock(event.at) + TICK_ERROR_MS);
        let tick = start.map_or(u64::MAX, |start| schedule.tick_at(start));
        let waits = |place: &usize| self.clock(self.events[place - 1].at) < tick;
        (made.asked + 1..=made.latest.min(self.events.len())).rev().find(waits).unwrap_or(made.asked + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::ByHand;

    fn seen(answers: [u64; 2], asked: u64) -> ByHand {
        judged("", ["", ""], answers, asked)
    }

    /// Two enqueues, of which the second starts first.
    fn judged(more: &str, keys: [&str; 2], answers: [u64; 2], asked: u64) -> ByHand {
        let policies = format!("[work]\npriority = 'medium'\nattempts = 3\ntimeout_ms = 60_000\n{more}");
        let started = |at: u64, job: &str| {
            format!(
                r#"{{"at":{at},"started":{{"processor":"processor-1","delivery":"{job}","queue":"work","jobs":[{{"job":"{job}","attempt":1,"payload":"{job}"}}]}}}}"#
            )
        };
        let mut lines = [
            (0, r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":1}}"#.to_owned()),
            (
                10,
                format!(r#"{{"at":10,"enqueue":{{"op":1,"user":"ada","queue":"work","payload":"first"{}}}}}"#, keys[0]),
            ),
            (
                asked,
                format!(
                    r#"{{"at":{asked},"enqueue":{{"op":2,"user":"ada","queue":"work","payload":"second"{}}}}}"#,
                    keys[1]
                ),
            ),
            (answers[0], format!(r#"{{"at":{},"reply":{{"op":1,"outcome":"ok","job":"first"}}}}"#, answers[0])),
            (answers[1], format!(r#"{{"at":{},"reply":{{"op":2,"outcome":"ok","job":"second"}}}}"#, answers[1])),
            (1_000, started(1_000, "second")),
            (2_000, started(2_000, "first")),
        ];
        lines.sort_by_key(|(at, _)| *at);
        let lines: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
        ByHand::new(&policies, &lines)
    }

    #[test]
    fn so_it_is_with_two_entities() {
        let keys = [r#","key":"one""#, r#","key":"two""#];
        assert_eq!(judged("deduplication = 'key'\n", keys, [200, 210], 80).broken(), [""; 0]);
        assert_eq!(judged("deduplication = 'key'\n", keys, [20, 500], 80).broken(), ["priority/order"]);
    }

    #[test]
    fn of_two_enqueues_at_once_the_one_that_starts_first_was_made_first() {
        assert_eq!(seen([200, 210], 80).broken(), [""; 0]);
        assert_eq!(seen([210, 200], 80).broken(), [""; 0]);
        assert_eq!(seen([90, 500], 80).broken(), [""; 0]);
    }

    #[test]
    fn an_enqueue_that_was_asked_for_well_after_the_answer_to_another_was_made_later() {
        assert_eq!(seen([20, 500], 80).broken(), ["priority/order"]);
    }

    /// A job of a queue that delivers at each second is asked for and answered at these times, and starts then. At 1,005,
    /// just after a tick, another client's question is heard, so that the answer is not the next event.
    fn at_ticks(asked: u64, answered: u64, start: u64) -> ByHand {
        let policies = "[events]\npriority = 'background'\nattempts = 'infinite'\nbackoff = 'next-tick'\ntimeout_ms = 400\nbatch = { size = 20 }\nschedule = { every_ms = 1_000 }\n";
        let mut lines = [
            (0, r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":1}}"#.to_owned()),
            (asked, format!(r#"{{"at":{asked},"enqueue":{{"op":1,"user":"ada","queue":"events","payload":"j"}}}}"#)),
            (1_005, r#"{"at":1005,"enqueue":{"op":2,"user":"ada","queue":"events","payload":"other"}}"#.to_owned()),
            (1_006, r#"{"at":1006,"reply":{"op":2,"outcome":"refused","error":"no"}}"#.to_owned()),
            (answered, format!(r#"{{"at":{answered},"reply":{{"op":1,"outcome":"ok","job":"j"}}}}"#)),
            (
                start,
                format!(
                    r#"{{"at":{start},"started":{{"processor":"processor-1","delivery":"d1","queue":"events","jobs":[{{"job":"j","attempt":1,"payload":"j"}}]}}}}"#
                ),
            ),
        ];
        lines.sort_by_key(|(at, _)| *at);
        let lines: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
        ByHand::new(policies, &lines)
    }

    #[test]
    fn an_enqueue_that_is_asked_before_a_tick_and_answered_after_it_goes_with_that_tick_or_the_next() {
        assert_eq!(at_ticks(990, 1_020, 1_010).broken(), [""; 0]);
        assert_eq!(at_ticks(990, 1_020, 2_010).broken(), [""; 0]);
    }

    #[test]
    fn a_delivery_that_takes_what_was_asked_for_after_the_tick_is_named() {
        assert_eq!(at_ticks(1_100, 1_120, 1_200).broken(), ["schedule/on-tick"]);
    }

    #[test]
    fn a_tick_that_leaves_out_what_was_answered_before_it_is_named() {
        assert_eq!(at_ticks(900, 920, 2_010).broken(), ["schedule/every-tick"]);
    }
}

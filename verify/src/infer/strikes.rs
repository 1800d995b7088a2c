//! What faults do to deliveries: which were lost, and which nobody lived to tell of.

use std::collections::BTreeMap;

use kew_spec::history::{AttemptOutcome, Given, Started, What};

use super::ahead::Ahead;
use super::{Attempt, Inference, Job};

/// When a delivery was given that nobody lived to tell of.
enum When {
    Now,
    /// After this event.
    After(usize),
    /// Something that strikes later tells.
    Later,
}

impl Inference<'_> {
    /// Something has struck `hosts` until `heals_at`. What they held is lost if it is delivered again and its handler was
    /// not heard of well after that: what a handler says while its host is struck may never have arrived. A handler that
    /// was not struck keeps its lease until its timeout, and a delivery before that has two owners.
    pub(super) fn lose(&mut self, index: usize, at: u64, hosts: &[String], heals_at: u64) {
        let all = hosts.iter().any(|host| !host.starts_with("processor-"));
        let is_lost = |id: &String, job: &Job| {
            // One whose start is still to be seen goes on: it was only granted ahead of that.
            let is_ahead = |last: &&Attempt| self.granted_ahead.contains(&last.delivery);
            let goes_on = |last: &&Attempt| is_ahead(last) || self.is_untold(&last.delivery);
            let open = job.attempts.last().filter(|last| !last.ended && job.over.is_none() && !goes_on(last));
            open.is_some_and(|last| {
                let end = self.ahead.ends.get(&last.delivery).copied().filter(|(end, _)| index < *end);
                let start = Ahead::next(self.ahead.starts.get(id), index);
                let goes_on = match (end, start) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some((end, ended_at)), Some(start)) => {
                        heals_at.saturating_add(self.known.late_ms) < ended_at && end < start
                    }
                };
                (all || hosts.contains(&last.processor)) && !goes_on
            })
        };
        let lost: Vec<_> = self.jobs.iter().filter(|(id, job)| is_lost(id, job)).map(|(id, _)| id.clone()).collect();
        for id in lost {
            let then = self.then(index, at, &id, AttemptOutcome::Lost);
            self.settle_one(at, &id, AttemptOutcome::Lost, then, None);
        }
    }

    /// A processor has died. It may have been given jobs without living to tell.
    pub(super) fn deliver_unseen(&mut self, index: usize, at: u64, processor: &str) {
        self.make_unseen(index, at);
        let waiting = self.jobs.iter().filter(|(_, job)| job.waits());
        let unseen = waiting.filter(|(id, job)| self.is_unseen(index, id, &job.queue, job.attempts.len() as u32));
        let mut now = Vec::new();
        for id in unseen.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            match self.when_unseen(index, at, &id) {
                // Where the rate limit leaves no room it was given to somebody who dies later, if anybody does.
                When::Now if !self.has_room(at, &id, &now) && self.is_struck_after(at, index, &id) => {}
                When::Now => now.push(id),
                When::After(event) => self.put_off.entry(event).or_default().push((processor.to_owned(), id)),
                When::Later => {}
            }
        }
        self.deliver_all_unseen(index, at, processor, &now);
    }

    /// When `id` was delivered unseen, since something struck at `index`.
    fn when_unseen(&self, index: usize, at: u64, id: &str) -> When {
        let start = Ahead::next(self.ahead.starts.get(id), index).unwrap_or(self.events.len());
        let until = start.min(self.put_back_after(index, id).unwrap_or(start));
        // A read that shows it waiting afterwards: it was given to somebody who dies later, or who was dead already.
        if let Some(read) = self.last_read_waiting(index, at, until, id) {
            let by_another = self.is_struck_between(read, start) || self.told(index, id).is_none();
            return if by_another { When::Later } else { When::After(read) };
        }
        // What strikes is written down before it does: a job that is not due yet was given then.
        let due = self.jobs.get(id).map_or(0, |job| job.due_clock);
        if due <= self.clock(at) {
            return When::Now;
        }
        let is_due = |place: &usize| due <= self.clock(self.events[*place].at);
        (index + 1..until).find(is_due).map_or(When::Now, When::After)
    }

    /// Gives what was put off until after the event `index`.
    pub(super) fn deliver_put_off(&mut self, index: usize, at: u64) {
        for (processor, id) in self.put_off.remove(&index).unwrap_or_default() {
            let Some(job) = self.jobs.get(&id).filter(|job| job.waits()) else { continue };
            if self.is_unseen(index, &id, &job.queue, job.attempts.len() as u32) {
                self.deliver_all_unseen(index, at, &processor, &[id]);
            }
        }
    }

    /// Makes jobs whose answers are still to be heard, if a handler's number or their end shows that they had been given to
    /// somebody before; unless that may as well be somebody who is struck after the answer.
    fn make_unseen(&mut self, index: usize, at: u64) {
        let made = |(op, asked): (&u64, &What)| {
            let What::Enqueue(it) = asked else { return None };
            let id = self.known.names.get(op)?;
            let shows = self.told(index, id).is_some() || self.put_back_after(index, id).is_some();
            let is_new = !self.jobs.contains_key(id) && self.makes_its_own(*op);
            // Each of those who are struck later may have been given it once.
            let unseen = || self.strikes_again(index, at, *op, id) < self.unseen(index, id, &it.queue, 0);
            (is_new && shows && unseen()).then(|| (it.clone(), id.clone()))
        };
        for (it, id) in self.asked.iter().filter_map(made).collect::<Vec<_>>() {
            self.create(index, at, &it, &id);
        }
    }

    /// Whether a job of `queue` that waits after `had` deliveries was delivered once more, unseen.
    fn is_unseen(&self, index: usize, id: &str, queue: &str, had: u32) -> bool {
        0 < self.unseen(index, id, queue, had)
    }

    /// How often a job of `queue` that waits after `had` deliveries was delivered, unseen: the number that its next
    /// handler is told shows it, or it is given up with fewer than its attempts.
    fn unseen(&self, index: usize, id: &str, queue: &str, had: u32) -> u32 {
        if let Some(told) = self.told(index, id) {
            return told.saturating_sub(had + 1);
        }
        let put_back = self.put_back_after(index, id);
        let until = put_back.unwrap_or(self.events.len());
        let later = self.ahead.starts.get(id).into_iter().flatten().filter(|start| (index + 1..until).contains(*start));
        let max = self.policy(queue).and_then(|policy| policy.attempts.max());
        let never_done = !self.ahead.completed.contains(id) && !self.ahead.cancels.contains_key(id);
        let max = max.filter(|_| put_back.is_some() || never_done);
        max.map_or(0, |max| max.saturating_sub(had + later.count() as u32))
    }

    /// What the next handler of `id` is told of the attempt that it is, unless the job is put back before.
    fn told(&self, index: usize, id: &str) -> Option<u32> {
        let start = Ahead::next(self.ahead.starts.get(id), index)?;
        let put_back = self.put_back_after(index, id).is_some_and(|put_back| put_back < start);
        self.ahead.told.get(&(start, id.to_owned())).copied().filter(|_| !put_back)
    }

    /// Where after `index` somebody puts `id` back, which was dead by then.
    fn put_back_after(&self, index: usize, id: &str) -> Option<usize> {
        self.ahead.redrives.get(id)?.iter().map(|it| it.asked).find(|asked| index < *asked)
    }

    /// Whether the rate limit of its queue, if there is one, leaves room for `id` at `at`, beside those given `now`.
    fn has_room(&self, at: u64, id: &str, now: &[String]) -> bool {
        let Some(job) = self.jobs.get(id) else { return true };
        let Some(limit) = self.policy(&job.queue).and_then(|policy| policy.rate_limit.as_ref()) else { return true };
        let recent = self.out.iter().rev().take_while(|event| at < event.at + limit.per_ms);
        let given = recent.filter_map(|event| match &event.what {
            What::Granted(it) if it.queue == job.queue => Some(it.jobs.len()),
            _ => None,
        });
        let beside = now.iter().filter(|other| self.jobs.get(*other).is_some_and(|other| other.queue == job.queue));
        ((given.sum::<usize>() + beside.count()) as u64) < u64::from(limit.starts)
    }

    /// Whether something strikes after `at`, before `id` is seen to start.
    fn is_struck_after(&self, at: u64, index: usize, id: &str) -> bool {
        let start = Ahead::next(self.ahead.starts.get(id), index).map_or(u64::MAX, |start| self.events[start].at);
        self.ahead.strikes.iter().any(|(struck, _)| at < *struck && *struck <= start)
    }

    /// How often something strikes after this moment, between the good answer to `op` and the next start of `id`, its job.
    fn strikes_again(&self, index: usize, at: u64, op: u64, id: &str) -> u32 {
        let answered = self.ahead.replies.get(&op).filter(|_| self.ahead.told_ok(op));
        let Some((answered, ..)) = answered else { return 0 };
        let from = self.events[(*answered).max(index)].at;
        let start = Ahead::next(self.ahead.starts.get(id), index).map_or(u64::MAX, |start| self.events[start].at);
        let again = self.ahead.strikes.iter().filter(|(struck, _)| at < *struck && (from..=start).contains(struck));
        again.count() as u32
    }

    fn is_struck_between(&self, from: usize, until: usize) -> bool {
        let at = |index: usize| self.events.get(index).map_or(u64::MAX, |event| event.at);
        self.ahead.strikes.iter().any(|(struck, _)| (at(from)..=at(until)).contains(struck))
    }

    fn deliver_all_unseen(&mut self, index: usize, at: u64, processor: &str, ids: &[String]) {
        let mut of_queue: BTreeMap<String, Vec<Given>> = BTreeMap::new();
        for id in ids {
            let Some(job) = self.jobs.get(id) else { continue };
            let given = Given { job: id.clone(), attempt: 0, told: None, payload: String::new() };
            of_queue.entry(job.queue.clone()).or_default().push(given);
        }
        for (queue, given) in of_queue {
            // As many as may be in one batch, since more deliveries than there must have been would accuse of more.
            let size = self.policy(&queue).map_or(1, |policy| policy.batch_size_max().max(1));
            for jobs in given.chunks(size as usize) {
                self.deliver_one_unseen(index, at, processor, &queue, jobs);
            }
        }
    }

    fn deliver_one_unseen(&mut self, index: usize, at: u64, processor: &str, queue: &str, jobs: &[Given]) {
        let delivery = Some(format!("unseen {at} {}", jobs[0].job));
        self.grant(at, &Started { processor: processor.into(), delivery, queue: queue.into(), jobs: jobs.to_vec() });
        for given in jobs {
            let then = self.then(index, at, &given.job, AttemptOutcome::Lost);
            self.settle_one(at, &given.job, AttemptOutcome::Lost, then, None);
        }
    }

    /// Whether the handler of `id` said how it ended so shortly before its host was struck that nobody may have heard it;
    /// that the job comes again, or is found dead, shows it.
    pub(super) fn may_be_unheard(&self, index: usize, at: u64, id: &str) -> bool {
        let later = [self.ahead.starts.get(id), self.ahead.dead.get(id), self.ahead.failed.get(id)];
        let comes_again = later.into_iter().any(|places| Ahead::next(places, index).is_some());
        let processor = self.jobs.get(id).and_then(|job| job.attempts.last()).map(|last| last.processor.as_str());
        let strikes = |hosts: &[String]| {
            hosts.iter().any(|host| Some(host.as_str()) == processor || !host.starts_with("processor-"))
        };
        let shortly = |struck: u64| at <= struck && struck <= at + self.known.late_ms;
        comes_again && self.ahead.strikes.iter().any(|(struck, hosts)| shortly(*struck) && strikes(hosts))
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_hand::ByHand;

    /// Two workers die one after the other, and then the job starts as its second attempt. It is read in between.
    fn seen(read: &str) -> ByHand {
        let policies = "[work]\npriority = 'medium'\nattempts = 3\ntimeout_ms = 60_000\n";
        ByHand::new(
            policies,
            &[
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":0,"processor":{"processor":"processor-2","up":true,"slots":4}}"#,
                r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"j"}}"#,
                r#"{"at":20,"reply":{"op":1,"outcome":"ok","job":"j"}}"#,
                r#"{"at":100,"processor":{"processor":"processor-1","up":false,"slots":4}}"#,
                read,
                r#"{"at":200,"processor":{"processor":"processor-2","up":false,"slots":4}}"#,
                r#"{"at":300,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":900,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"j","attempt":1,"told":2,"payload":"j"}]}}"#,
            ],
        )
    }

    #[test]
    fn a_delivery_that_nobody_lived_to_tell_of_went_to_a_later_victim_where_the_rate_limit_left_no_room() {
        let policies = "[work]\npriority = 'medium'\nattempts = 3\ntimeout_ms = 60_000\nrate_limit = { starts = 1, per_ms = 1_000 }\n";
        let by_hand = ByHand::new(
            policies,
            &[
                r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":0,"processor":{"processor":"processor-2","up":true,"slots":4}}"#,
                r#"{"at":10,"enqueue":{"op":1,"user":"ada","queue":"work","payload":"i"}}"#,
                r#"{"at":15,"reply":{"op":1,"outcome":"ok","job":"i"}}"#,
                r#"{"at":20,"enqueue":{"op":2,"user":"ada","queue":"work","payload":"j"}}"#,
                r#"{"at":25,"reply":{"op":2,"outcome":"ok","job":"j"}}"#,
                r#"{"at":50,"started":{"processor":"processor-1","delivery":"d1","queue":"work","jobs":[{"job":"i","attempt":1,"told":1,"payload":"i"}]}}"#,
                r#"{"at":60,"finished":{"processor":"processor-1","delivery":"d1","jobs":[{"job":"i","attempt":1,"outcome":"completed"}]}}"#,
                r#"{"at":100,"processor":{"processor":"processor-1","up":false,"slots":4}}"#,
                r#"{"at":1200,"processor":{"processor":"processor-2","up":false,"slots":4}}"#,
                r#"{"at":1300,"processor":{"processor":"processor-1","up":true,"slots":4}}"#,
                r#"{"at":2300,"started":{"processor":"processor-1","delivery":"d2","queue":"work","jobs":[{"job":"j","attempt":1,"told":2,"payload":"j"}]}}"#,
            ],
        );
        let told = by_hand.told();
        assert!(told.iter().any(|line| line == "1200 granted j 1"), "{told:?}");
        assert!(!told.iter().any(|line| line == "100 granted j 1"), "{told:?}");
        assert!(!by_hand.broken().iter().any(|clause| clause.starts_with("rate/")));
    }

    #[test]
    fn a_delivery_that_nobody_lived_to_tell_of_went_to_a_worker_that_died_after_the_job_was_read_waiting() {
        let row = |status: &str| {
            format!(
                r#"{{"at":150,"status":{{"job":"j","user":"ada","asked_at":140,"row":{{"status":"{status}","retry_count":0,"created_at":1,"updated_at":1,"final":false}}}}}}"#
            )
        };
        let waiting = ["200 granted j 1", "200 settled j 1", "900 granted j 2"];
        assert_eq!(seen(&row("pending")).told(), waiting);
        let at_work = ["100 granted j 1", "100 settled j 1", "900 granted j 2"];
        assert_eq!(seen(&row("processing")).told(), at_work);
    }

    /// A job of a low priority is asked for while the server is away, and answered once it is back. One of a high priority
    /// waits all the while and is given a moment later. The low one's first handler is told that it is number `told`; if
    /// the server dies once more at `again_ms`, it may have been given then.
    fn low_given_before(told: u32, again_ms: Option<u64>) -> ByHand {
        let policies = "[high]\npriority = 'high'\nattempts = 3\ntimeout_ms = 60_000\n\
                        [low]\npriority = 'low'\nattempts = 3\ntimeout_ms = 60_000\n";
        let started = |at: u64, queue: &str, told: u32| {
            format!(
                r#"{{"at":{at},"started":{{"processor":"processor-1","delivery":"{queue}","queue":"{queue}","jobs":[{{"job":"{queue}","attempt":1,"told":{told},"payload":"{queue}"}}]}}}}"#
            )
        };
        let fault = |at: u64, fault: u32, active: bool| {
            format!(r#"{{"at":{at},"fault":{{"fault":{fault},"kind":"kill","on":["broker"],"active":{active}}}}}"#)
        };
        let enqueue = |at: u64, op: u32, queue: &str| {
            format!(r#"{{"at":{at},"enqueue":{{"op":{op},"user":"ada","queue":"{queue}","payload":"{queue}"}}}}"#)
        };
        let reply = |at: u64, op: u32, job: &str| {
            format!(r#"{{"at":{at},"reply":{{"op":{op},"outcome":"ok","job":"{job}"}}}}"#)
        };
        let mut lines = vec![
            r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#.to_owned(),
            enqueue(10, 1, "high"),
            reply(20, 1, "high"),
            fault(30, 1, true),
            enqueue(1_000, 2, "low"),
            fault(2_000, 1, false),
            reply(2_500, 2, "low"),
            started(2_600, "high", 1),
        ];
        if let Some(at) = again_ms {
            lines.extend([fault(at, 2, true), fault(at + 50, 2, false)]);
        }
        lines.push(started(2_800, "low", told));
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        ByHand::new(policies, &lines)
    }

    #[test]
    fn what_nobody_lived_to_tell_of_may_have_been_given_when_the_server_died_once_more() {
        assert_eq!(low_given_before(2, Some(2_650)).broken(), [""; 0]);
    }

    #[test]
    fn a_death_takes_one_delivery_of_a_job_with_it_and_further_ones_were_before() {
        let broken = low_given_before(3, Some(2_650)).broken();
        assert!(!broken.iter().any(|clause| clause == "retry/count"), "{broken:?}");
        assert!(broken.iter().any(|clause| clause == "priority/order"), "{broken:?}");
    }

    #[test]
    fn if_it_did_not_the_job_was_given_while_a_higher_one_waited() {
        assert!(low_given_before(2, None).broken().iter().any(|clause| clause == "priority/order"));
    }
}

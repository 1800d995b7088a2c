//! Which deliveries are a batch that is tried again as a whole. A scheduled queue may keep a batch together from one tick to
//! the next, and gives what is new beside it; nobody tells, but the jobs show it.

use kew_spec::history::Started;

use super::{Inference, Job};

impl Inference<'_> {
    /// What the batch is known by: the delivery that it was first seen in. It is an earlier one if this delivery holds all
    /// that is due of that one, and nothing else.
    pub(super) fn batch_of(&self, it: &Started, clock: u64) -> Option<String> {
        self.policy(&it.queue).filter(|policy| policy.batch.is_some() && policy.schedule.is_some())?;
        let before = |job: &Job| job.attempts.last().and_then(|last| last.batch.clone());
        let first = it.jobs.first().and_then(|given| before(self.jobs.get(&given.job)?));
        let again = first.filter(|batch| {
            let of_it = |job: &Job| before(job).as_ref() == Some(batch);
            let given = |id: &str| it.jobs.iter().any(|given| given.job == id);
            let all = it.jobs.iter().all(|given| self.jobs.get(&given.job).is_some_and(of_it));
            let mut due = self.jobs.iter().filter(|(_, job)| of_it(job) && job.waits() && job.due_clock <= clock);
            all && due.all(|(id, _)| given(id))
        });
        again.or_else(|| it.delivery.clone())
    }
}

#[cfg(test)]
mod tests {
    use kew_spec::history::What;

    use super::super::by_hand::ByHand;

    const TICKS: &str = "[events]\npriority = 'background'\nattempts = 'infinite'\nbackoff = 'next-tick'\ntimeout_ms = 400\nbatch = { size = 20 }\nschedule = { every_ms = 1_000 }\n";

    fn started(at: u64, delivery: &str, jobs: &[&str]) -> String {
        let jobs: Vec<_> =
            jobs.iter().map(|job| format!(r#"{{"job":"{job}","attempt":1,"payload":"{job}"}}"#)).collect();
        let jobs = jobs.join(",");
        format!(
            r#"{{"at":{at},"started":{{"processor":"processor-1","delivery":"{delivery}","queue":"events","jobs":[{jobs}]}}}}"#
        )
    }

    /// Jobs a and b fail together at one tick; c and d come; and at the next tick the deliveries are `tick`.
    fn seen(tick: [String; 2]) -> ByHand {
        let enqueue = |at: u64, op: u64, job: &str| {
            format!(r#"{{"at":{at},"enqueue":{{"op":{op},"user":"ada","queue":"events","payload":"{job}"}}}}"#)
        };
        let reply = |at: u64, op: u64, job: &str| {
            format!(r#"{{"at":{at},"reply":{{"op":{op},"outcome":"ok","job":"{job}"}}}}"#)
        };
        let mut lines = vec![r#"{"at":0,"processor":{"processor":"processor-1","up":true,"slots":4}}"#.to_owned()];
        lines.extend([enqueue(10, 1, "a"), reply(12, 1, "a"), enqueue(20, 2, "b"), reply(22, 2, "b")]);
        lines.push(started(1_010, "d1", &["a", "b"]));
        let ended = |job: &str| format!(r#"{{"job":"{job}","attempt":1,"outcome":"failed","error":"no"}}"#);
        let jobs = [ended("a"), ended("b")].join(",");
        lines
            .push(format!(r#"{{"at":1060,"finished":{{"processor":"processor-1","delivery":"d1","jobs":[{jobs}]}}}}"#));
        lines.extend([enqueue(1_100, 3, "c"), reply(1_110, 3, "c"), enqueue(1_200, 4, "d"), reply(1_210, 4, "d")]);
        lines.extend(tick);
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        ByHand::new(TICKS, &lines)
    }

    #[test]
    fn a_batch_that_is_tried_again_as_a_whole_goes_beside_what_is_new() {
        let by_hand = seen([started(2_040, "d2", &["a", "b"]), started(2_050, "d3", &["c", "d"])]);
        let batches: Vec<_> = by_hand
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Granted(it) => it.batch.as_deref(),
                _ => None,
            })
            .collect();
        assert_eq!(batches, ["d1", "d1", "d3"]);
        assert_eq!(by_hand.broken(), [""; 0]);
    }

    #[test]
    fn what_leaves_new_jobs_of_a_tick_to_a_later_delivery_is_named() {
        let by_hand = seen([started(2_040, "d2", &["a", "c"]), started(2_050, "d3", &["b", "d"])]);
        assert_eq!(by_hand.broken(), ["schedule/drains"]);
    }
}

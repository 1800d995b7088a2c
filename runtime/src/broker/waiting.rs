//! The pulls that wait for work, and which of the processors' deliveries are over.
//!
//! What is remembered of deliveries is a courtesy (it lets a processor stop a cancelled handler early); after a restart
//! it is gone, and handlers then run to their end or timeout in vain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Pull, Pulled, Refusal, Response};

/// How many deliveries that are over are remembered for processors that have not asked yet; the oldest are forgotten, most
/// likely those of processors that are gone.
const OVER_MAX: usize = 10_000;

/// A pull that waits.
pub(super) struct Waiting {
    pub(super) pull: Pull,
    pub(super) since_ms: u64,
    reply: oneshot::Sender<Result<Response, Refusal>>,
}

impl Waiting {
    pub(super) fn new(pull: Pull, since_ms: u64, reply: oneshot::Sender<Result<Response, Refusal>>) -> Self {
        Self { pull, since_ms, reply }
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.since_ms.saturating_add(self.pull.wait_ms)
    }

    /// Nobody waits for the answer any more: whatever were granted now would be lost.
    pub(super) fn is_gone(&self) -> bool {
        self.reply.is_closed()
    }

    pub(super) fn answer(self, mut pulled: Pulled, now_ms: u64) {
        pulled.waited_ms = now_ms.saturating_sub(self.since_ms);
        // A receiver that is gone by now leaves its deliveries to their leases' end.
        let _ = self.reply.send(Ok(Response::Pulled(pulled)));
    }

    pub(super) fn refuse(self, refusal: Refusal) {
        let _ = self.reply.send(Err(refusal));
    }
}

/// Which deliveries are out, and which of them are over without their processor's doing.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The delivery of each leased job.
    of_job: BTreeMap<String, Arc<Open>>,
    over: BTreeSet<String>,
}

/// A delivery of which some job is still leased: as many as there are references to it.
#[derive(Debug)]
struct Open(String);

impl Deliveries {
    pub(super) fn begin<'a>(&mut self, delivery: &str, jobs: impl Iterator<Item = &'a str>) {
        let open = Arc::new(Open(delivery.to_owned()));
        self.of_job.extend(jobs.map(|job| (job.to_owned(), open.clone())));
    }

    /// The processor has settled `job` itself.
    pub(super) fn settle(&mut self, job: &str) {
        self.leave(job);
    }

    /// `job` was taken from its processor: cancelled, or its lease lost.
    pub(super) fn revoke(&mut self, job: &str) {
        if let Some(delivery) = self.leave(job) {
            self.over.insert(delivery.0);
            if OVER_MAX < self.over.len() {
                self.over.pop_first(); // Ids begin with the time.
            }
        }
    }

    /// Those of `holding` that are over. Each is told once: the processor stops it at once.
    pub(super) fn take_over(&mut self, holding: &[String]) -> Vec<String> {
        holding.iter().filter(|&delivery| self.over.remove(delivery)).cloned().collect()
    }

    /// The delivery, if `job` was the last of it.
    fn leave(&mut self, job: &str) -> Option<Open> {
        Arc::into_inner(self.of_job.remove(job)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(delivery: &str, jobs: &[&str]) -> Deliveries {
        let mut deliveries = Deliveries::default();
        deliveries.begin(delivery, jobs.iter().copied());
        deliveries
    }

    fn over(deliveries: &mut Deliveries, holding: &[&str]) -> Vec<String> {
        deliveries.take_over(&holding.iter().map(|&delivery| delivery.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_delivery_is_over_when_the_last_of_its_jobs_was_taken() {
        let mut deliveries = out("d", &["a", "b"]);
        deliveries.revoke("a");
        assert!(over(&mut deliveries, &["d"]).is_empty(), "b still runs");
        deliveries.revoke("b");
        assert_eq!(over(&mut deliveries, &["c", "d"]), ["d"]);
        assert!(over(&mut deliveries, &["d"]).is_empty(), "it is told once");
    }

    #[test]
    fn a_delivery_whose_last_job_was_settled_is_not_called_over() {
        let mut deliveries = out("d", &["a", "b"]);
        deliveries.revoke("a");
        deliveries.settle("b");
        assert!(over(&mut deliveries, &["d"]).is_empty());
        deliveries.revoke("b");
        assert!(over(&mut deliveries, &["d"]).is_empty(), "it was settled before");
    }

    #[test]
    fn of_very_many_that_nobody_asks_for_the_oldest_are_forgotten() {
        let mut deliveries = Deliveries::default();
        for i in 0..=OVER_MAX {
            let (delivery, job) = (format!("{i:08}"), format!("j{i}"));
            deliveries.begin(&delivery, [job.as_str()].into_iter());
            deliveries.revoke(&job);
        }
        assert_eq!(over(&mut deliveries, &["00000000", "00000001"]), ["00000001"]);
    }

    #[test]
    fn a_job_that_was_given_out_again_belongs_to_its_new_delivery() {
        let mut deliveries = out("d", &["a"]);
        deliveries.begin("e", ["a"].into_iter());
        deliveries.revoke("a");
        assert_eq!(over(&mut deliveries, &["d", "e"]), ["e"]);
    }

    #[test]
    fn an_answer_says_how_long_the_pull_was_kept() {
        let (reply, mut answer) = oneshot::channel();
        let waiting = Waiting::new(Pull { wait_ms: 500, ..Pull::default() }, 1_000, reply);
        assert_eq!(waiting.deadline_ms(), 1_500);
        waiting.answer(Pulled::default(), 1_080);
        let answer = answer.try_recv().expect("it was answered");
        assert!(matches!(answer, Ok(Response::Pulled(Pulled { waited_ms: 80, .. }))), "{answer:?}");
    }
}

//! The queue's own word: a store that hands on what the store behind it has made durable.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::store::{Answer, Command, Ending, Error, How, JobRow, Outcome, Outlook, Settle, Store, Then};
use kew_spec::history::{
    self, Accepted, AttemptOutcome, Cancelled, Granted, Lease, Paused, Purged, Redriven, Row, Settled, What,
};

use super::{Recorder, fingerprint};

/// Who writes down what a store has done.
pub trait Witness: Send {
    /// It has done this now.
    fn see(&self, what: What);
}

impl Witness for Recorder {
    fn see(&self, what: What) {
        Self::see(self, what);
    }
}

/// A store that records.
pub struct RecordingStore<W> {
    inner: Box<dyn Store>,
    witness: W,
    /// What was done since the last commit: nobody is told of it before it is durable.
    uncommitted: Vec<What>,
}

impl<W: Witness> RecordingStore<W> {
    /// Lets `witness` write down what `inner` does.
    pub fn new(inner: Box<dyn Store>, witness: W) -> Self {
        Self { inner, witness, uncommitted: Vec::new() }
    }
}

impl<W: Witness> Store for RecordingStore<W> {
    fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
        async move {
            let applied = self.inner.apply(commands).await;
            match &applied {
                Ok(answers) => {
                    let done = commands.iter().zip(answers).filter_map(|(command, answer)| seen(command, answer));
                    self.uncommitted.extend(done);
                }
                Err(_) => self.uncommitted.clear(),
            }
            applied
        }
        .boxed()
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let done = std::mem::take(&mut self.uncommitted);
            self.inner.commit().await?;
            done.into_iter().for_each(|what| self.witness.see(what));
            Ok(())
        }
        .boxed()
    }

    fn outlook(&mut self, now_ms: u64) -> BoxFuture<'_, Result<Outlook, Error>> {
        async move {
            let outlook = self.inner.outlook(now_ms).await;
            if outlook.is_err() {
                self.uncommitted.clear();
            }
            outlook
        }
        .boxed()
    }

    fn last_ms(&mut self) -> BoxFuture<'_, Result<u64, Error>> {
        self.inner.last_ms()
    }
}

fn seen(command: &Command, answer: &Answer) -> Option<What> {
    Some(match (command, answer) {
        (Command::Enqueue(it), Answer::Enqueued { job, how }) => Accepted {
            job: job.clone(),
            queue: it.queue.clone(),
            user: it.user.clone(),
            payload: fingerprint(it.payload.get()),
            how: match how {
                How::Created => history::How::Created,
                How::Coalesced => history::How::Coalesced,
                How::Replayed => history::How::Replayed,
            },
            key: it.key.clone(),
            email: it.email.is_some(),
            clock: it.now_ms,
        }
        .into(),
        (Command::Claim(it), Answer::Claimed(Some(claimed))) => Granted {
            delivery: it.delivery.clone(),
            batch: Some(claimed.batch.clone()),
            queue: it.queue.clone(),
            processor: it.processor.clone(),
            jobs: claimed.jobs.iter().map(|job| lease(&job.lease.job, job.lease.attempt)).collect(),
            lease_until: it.lease_until_ms,
            clock: it.now_ms,
        }
        .into(),
        (Command::Settle(it), Answer::Settled { accepted }) => settled(it, *accepted).into(),
        (Command::Cancel { job, now_ms, .. }, Answer::Ended(Ending::Done)) => {
            Cancelled { job: job.clone(), clock: *now_ms }.into()
        }
        (Command::Redrive { job, now_ms, .. }, Answer::Ended(Ending::Done)) => {
            Redriven { job: job.clone(), clock: *now_ms }.into()
        }
        (Command::Purge { job, now_ms }, Answer::Ended(Ending::Done)) => {
            Purged { job: job.clone(), clock: *now_ms }.into()
        }
        (Command::Pause { queue, paused, now_ms }, Answer::Done) => {
            Paused { queue: queue.clone(), paused: *paused, clock: *now_ms }.into()
        }
        _ => return None,
    })
}

fn lease(job: &str, attempt: u32) -> Lease {
    Lease { job: job.to_owned(), attempt }
}

fn settled(it: &Settle, accepted: bool) -> Settled {
    let (outcome, error) = match &it.outcome {
        Outcome::Completed(_) => (AttemptOutcome::Completed, None),
        Outcome::Failed(error) => (AttemptOutcome::Failed, Some(error.clone())),
        Outcome::TimedOut(error) => (AttemptOutcome::TimedOut, Some(error.clone())),
        Outcome::Lost(error) => (AttemptOutcome::Lost, Some(error.clone())),
    };
    let then = match &it.then {
        Then::Complete => history::Then::Completed,
        Then::RetryAt(at) => history::Then::RetryAt(*at),
        Then::Fail => history::Then::Failed,
        Then::DeadLetter(_) => history::Then::DeadLetter,
    };
    Settled {
        job: it.lease.job.clone(),
        attempt: it.lease.attempt,
        outcome,
        accepted,
        then: accepted.then_some(then),
        error,
        delay_asked_ms: None,
        clock: it.now_ms,
    }
}

/// How a job stands, as the store tells it.
pub fn row(it: JobRow) -> Row {
    Row {
        status: it.status,
        retry_count: it.retry_count,
        result: it.result.and_then(|result| serde_json::from_str(result.get()).ok()),
        error: it.error,
        created_at: it.created_ms,
        updated_at: it.updated_ms,
        completed_at: it.completed_ms,
        is_final: it.completed_ms.is_some(),
        dead_letter_queue: it.dead_letter_queue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that does what it is asked, but for an outlook.
    struct NoOutlook;

    fn failure() -> Error {
        Error { context: "read".into(), reason: "disk I/O error".into() }
    }

    impl Store for NoOutlook {
        fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
            async move { Ok(commands.iter().map(|_| Answer::Done).collect()) }.boxed()
        }

        fn commit(&mut self) -> BoxFuture<'_, Result<(), Error>> {
            async { Ok(()) }.boxed()
        }

        fn outlook(&mut self, _now_ms: u64) -> BoxFuture<'_, Result<Outlook, Error>> {
            async { Err(failure()) }.boxed()
        }

        fn last_ms(&mut self) -> BoxFuture<'_, Result<u64, Error>> {
            async { Ok(0) }.boxed()
        }
    }

    impl Witness for std::sync::mpsc::Sender<What> {
        fn see(&self, what: What) {
            self.send(what).expect("somebody listens");
        }
    }

    fn pause(queue: &str) -> [Command; 1] {
        [Command::Pause { queue: queue.into(), paused: true, now_ms: 1 }]
    }

    #[test]
    fn what_an_outlook_that_fails_takes_back_is_not_told_with_the_next_commit() {
        let (witness, seen) = std::sync::mpsc::channel();
        let mut store = RecordingStore::new(Box::new(NoOutlook), witness);
        async {
            store.apply(&pause("taken_back")).await.expect("it is applied");
            store.outlook(2).await.expect_err("it fails");
            store.apply(&pause("committed")).await.expect("it is applied");
            store.commit().await.expect("it is durable");
        }
        .now_or_never()
        .expect("nothing waits");
        let told: Vec<_> = seen.try_iter().collect();
        assert!(matches!(&told[..], [What::Paused(it)] if it.queue == "committed"), "{told:?}");
    }
}

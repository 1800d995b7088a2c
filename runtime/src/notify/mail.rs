//! Mails at the end of jobs that asked for one: each is a job of the mail queue, for the same user.
//!
//! The cursor moves on only after the jobs were acknowledged, so a crash in between makes them again; their idempotency
//! keys see to it that this makes no second one.

use std::sync::Arc;

use kew_spec::lifecycle::Status;
use kew_spec::queues::Queues;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::{ask, ends};
use crate::api::{JOBS_MAX, MAILS, RESERVED_PREFIX};
use crate::broker::{JobRequest, Queue, Request};
use crate::clock::Clock;
use crate::ids::Ids;
use crate::store::End;
use crate::timestamp::rfc3339;

/// How many ends without a mail may pass before the cursor is moved: each move is a commit of its own, and what is not
/// moved is only looked at again after a restart.
const UNTOLD_MAX: u64 = 1_000;

/// The mailing half of the notifier.
pub(super) struct Mails {
    queue: Arc<dyn Queue>,
    ids: Ids,
    clock: Arc<dyn Clock>,
    /// Whether there is a queue that takes mails.
    possible: bool,
    warned: bool,
}

impl Mails {
    pub(super) fn new(queue: Arc<dyn Queue>, queues: &Queues, ids: Ids, clock: Arc<dyn Clock>) -> Self {
        // A queue that deduplicates wants a key, which a mail does not have.
        let possible = queues.get(MAILS).is_some_and(|policy| !policy.deduplication);
        Self { queue, ids, clock, possible, warned: false }
    }

    /// Makes mails for every end after `through`.
    pub(super) async fn run(mut self, mut through: u64) {
        let mut cursor = through;
        loop {
            let ends = ends(self.queue.as_ref(), cursor).await;
            cursor = ends.last().map_or(cursor, |last| last.seq);
            let mailed = self.mail(&ends).await;
            // Nothing came for a while: a good time to catch up.
            let idle = ends.is_empty() && through < cursor;
            if mailed || idle || UNTOLD_MAX <= cursor - through {
                self.told(cursor).await;
                through = cursor;
            }
        }
    }

    /// Makes the mails for `ends` and returns whether there were any.
    async fn mail(&mut self, ends: &[End]) -> bool {
        let mails: Vec<_> = ends.iter().filter_map(|end| self.job(end)).collect();
        for some in mails.chunks(JOBS_MAX) {
            self.enqueue(some).await;
        }
        !mails.is_empty()
    }

    async fn enqueue(&self, mails: &[JobRequest]) {
        if ask(self.queue.as_ref(), Request::Enqueue(mails.to_vec())).await.is_ok() {
            return;
        }
        // One of them is refused for good. It must not take the others with it, nor hold up those to come.
        for mail in mails {
            if let Err(refusal) = ask(self.queue.as_ref(), Request::Enqueue(vec![mail.clone()])).await {
                tracing::error!(user = mail.user, %refusal, "a mail at a job's end is not sent");
            }
        }
    }

    async fn told(&self, through: u64) {
        if let Err(refusal) = ask(self.queue.as_ref(), Request::Told { through }).await {
            tracing::error!(%refusal, "the mails' cursor does not move");
        }
    }

    /// The mail for an end, if the job asked for one. The end of a mail is told by WebSocket alone.
    fn job(&mut self, end: &End) -> Option<JobRequest> {
        let to = end.email.as_ref().filter(|_| end.queue != MAILS)?;
        if !self.possible {
            if !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(
                    "no mails are sent at the ends of jobs: there is no queue {MAILS} without deduplication"
                );
            }
            return None;
        }
        let payload = json!({ "to": to, "subject": subject(end), "text": text(end) });
        Some(JobRequest {
            id: self.ids.next(self.clock.wall_ms()),
            queue: MAILS.into(),
            user: end.user.clone(),
            payload: to_raw_value(&payload).expect("text makes JSON"),
            key: None,
            idempotency: Some((format!("{}{}-{}", RESERVED_PREFIX, end.job, end.seq), "end".into())),
            email: None,
        })
    }
}

fn subject(end: &End) -> String {
    match end.status {
        Status::Completed => format!("Your job {} is completed", end.queue),
        _ => format!("Your job {} has failed", end.queue),
    }
}

fn text(end: &End) -> String {
    let at = rfc3339(end.ended_ms);
    let mut text = format!("The job {} of the queue {} ended as {} at {at}.\n", end.job, end.queue, end.status);
    if let Some(error) = &end.error {
        text.push_str(&format!("\nThe error was: {error}\n"));
    }
    if let Some(dead_letter_queue) = &end.dead_letter_queue {
        text.push_str(&format!("\nIt is kept in {dead_letter_queue}, from where an operator can put it back.\n"));
    }
    text
}

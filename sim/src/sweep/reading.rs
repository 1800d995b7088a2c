//! Reading straight from the broker's handle: jobs and dead letters, as the history tells of them.

use std::sync::Arc;

use kew_runtime::broker::{Queue, Request, Response};
use kew_runtime::store::{DeadLetterRow, Query, Rows};
use kew_spec::history::{DeadAttempt, DeadLetter, DeadLetters, StatusRead};

use crate::clock;
use crate::record::{Recorder, fingerprint, row};

/// More than a run has.
const DEAD_LETTERS_MAX: u32 = 500;

/// Somebody who reads.
pub(super) struct Reading {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) recorder: Recorder,
}

impl Reading {
    /// Reads one job; whether there is a row, if there was an answer.
    pub(super) async fn status(&self, user: &str, job: &str) -> Option<bool> {
        let asked_at = clock::now_ms();
        let answer = self.queue.call(Request::Read(Query::Job { job: job.to_owned() })).await;
        let Ok(Response::Rows(Rows::Jobs(rows))) = answer else { return None };
        let row = rows.into_iter().next().map(row);
        let found = row.is_some();
        self.recorder.see(StatusRead { job: job.to_owned(), user: user.to_owned(), asked_at, row });
        Some(found)
    }

    /// Reads one dead letter queue as a whole.
    pub(super) async fn dead_letters(&self, dead_letter_queue: &str) {
        let asked_at = clock::now_ms();
        let dead_letter_queue = dead_letter_queue.to_owned();
        let query =
            Query::DeadLetters { dead_letter_queue: dead_letter_queue.clone(), after: None, limit: DEAD_LETTERS_MAX };
        let Ok(Response::Rows(Rows::DeadLetters(rows))) = self.queue.call(Request::Read(query)).await else { return };
        let entries = rows.into_iter().map(entry).collect();
        self.recorder.see(DeadLetters { dead_letter_queue, asked_at, entries });
    }
}

fn entry(it: DeadLetterRow) -> DeadLetter {
    let attempts = it.attempts.into_iter();
    let attempts = attempts.map(|it| DeadAttempt { attempt: it.attempt, error: it.error, ended_at: it.ended_ms });
    DeadLetter {
        job: it.job.id,
        payload: fingerprint(it.job.payload.get()),
        error: Some(it.job.error.unwrap_or_default()),
        attempts: Some(attempts.collect()),
    }
}

//! The words of the history: what the small queue does, as observations.

use kew_spec::history::{Row, StatusRead, What};
use kew_spec::lifecycle::Status;
use serde_json::json;

use super::queue::{Job, Stand};

/// A read of `job` by its owner that was asked and answered at `at`.
pub(super) fn read(job: &Job, at: u64, dead_letter_queue: Option<&str>) -> What {
    let (status, is_final) = match job.stand {
        Stand::Waiting if job.attempts == 0 => (Status::Pending, false),
        Stand::Waiting => (Status::Failed, false),
        Stand::Leased => (Status::Processing, false),
        Stand::Completed => (Status::Completed, true),
        Stand::Failed | Stand::Dead => (Status::Failed, true),
    };
    let shows_error = status == Status::Failed || status == Status::Processing && 1 < job.attempts;
    let row = Row {
        status,
        retry_count: job.attempts.saturating_sub(1),
        result: (status == Status::Completed).then(|| json!({ "ok": true })),
        error: job.error.map(str::to_owned).filter(|_| shows_error),
        created_at: job.created,
        updated_at: job.updated,
        completed_at: is_final.then_some(job.updated),
        is_final,
        dead_letter_queue: dead_letter_queue.filter(|_| job.stand == Stand::Dead).map(str::to_owned),
    };
    StatusRead { job: job.id.clone(), user: job.user(), asked_at: at, row: Some(row) }.into()
}

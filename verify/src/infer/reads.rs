//! What reads of the status prove: that a delivery had not begun yet, whatever else would explain what was seen.

use kew_spec::history::{Row, What};
use kew_spec::lifecycle::Status;

use super::Inference;

impl Inference<'_> {
    /// Whether somebody asked after `at` how `id` stands, heard the answer between the events `index` and `until`, and was
    /// told that the job still waits: its next delivery cannot have begun at `at`.
    pub(super) fn is_read_waiting(&self, index: usize, at: u64, until: usize, id: &str) -> bool {
        let Some(job) = self.jobs.get(id) else { return false };
        let had = job.attempts.len() as u32;
        let between = self.ahead.reads.get(id).into_iter().flatten().filter(|read| (index..until).contains(*read));
        between.into_iter().any(|read| match &self.events[*read].what {
            What::StatusRead(it) => at < it.asked_at && it.row.as_ref().is_some_and(|row| waits(row, had)),
            _ => false,
        })
    }
}

/// Whether `row` tells of a job that waits after `had` deliveries. The count of retries goes up when the next one begins.
fn waits(row: &Row, had: u32) -> bool {
    match row.status {
        Status::Pending => true,
        Status::Failed if !row.is_final => true,
        _ => row.retry_count < had,
    }
}

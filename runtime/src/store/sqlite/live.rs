//! A live job, as those see it who end its attempt or the job: its row in the table `live`, and what its row in
//! `job_status` says beside.

use rusqlite::{Result, Row};

use super::statement::Statements;
use super::transaction::Transaction;
use super::value::Nat;
use crate::store::LeaseId;

/// The columns that [`Live::read`] reads.
macro_rules! select_live {
    ($rest:literal) => {
        select_live!("", $rest)
    };
    // And more columns after them.
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT seq, id, queue, job_status.user_id, key, version, email, created_ms, ready_ms, attempt, fence, batch,
                    started_ms, lease_until_ms",
            $more,
            " ",
            $rest
        )
    };
}
pub(super) use select_live;

/// Every live job that waits or is blocked, in the order of enqueueing.
pub(super) const WAITING: &str =
    "SELECT seq, queue, ready_ms, batch FROM live WHERE lease_until_ms IS NULL ORDER BY seq";

/// Every leased job.
pub(super) const LEASED: &str =
    select_live!("FROM live JOIN job_status ON job_status.rowid = seq WHERE lease_until_ms IS NOT NULL ORDER BY seq");

/// One live job, by its id: its number is that of its row in `job_status`.
pub(super) const BY_ID: &str = select_live!("FROM job_status JOIN live ON seq = job_status.rowid WHERE id = ?1");

/// A live job.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) seq: u64,
    pub(super) job: String,
    pub(super) queue: String,
    pub(super) user: String,
    pub(super) key: Option<String>,
    pub(super) version: u64,
    pub(super) email: Option<String>,
    pub(super) created_ms: u64,
    pub(super) ready_ms: Option<u64>,
    pub(super) attempt: u32,
    pub(super) fence: u32,
    pub(super) batch: Option<String>,
    /// When its attempt began, if what is known of that is to be kept.
    pub(super) started_ms: Option<u64>,
    pub(super) lease_until_ms: Option<u64>,
}

impl Live {
    /// How many columns [`Live::read`] reads.
    pub(super) const COLUMNS: usize = 14;

    /// The live job of this id.
    pub(super) fn find(transaction: &Transaction<'_, '_>, job: &str) -> Result<Option<Self>> {
        match transaction.lines.leased(job) {
            Some(leased) => Ok(Some(leased.clone())),
            None => transaction.connection.one(BY_ID, [job], Self::read),
        }
    }

    /// Reads a row.
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        let nat = |column| row.get(column).map(|Nat(value)| value);
        let optional = |column| row.get(column).map(|value: Option<Nat>| value.map(|Nat(value)| value));
        Ok(Self {
            seq: nat(0)?,
            job: row.get(1)?,
            queue: row.get(2)?,
            user: row.get(3)?,
            key: row.get(4)?,
            version: nat(5)?,
            email: row.get(6)?,
            created_ms: nat(7)?,
            ready_ms: optional(8)?,
            attempt: row.get(9)?,
            fence: row.get(10)?,
            batch: row.get(11)?,
            started_ms: optional(12)?,
            lease_until_ms: optional(13)?,
        })
    }

    /// The lease that it is under, or was last.
    pub(super) fn lease(&self) -> LeaseId {
        LeaseId { queue: self.queue.clone(), job: self.job.clone(), attempt: self.attempt, fence: self.fence }
    }
}

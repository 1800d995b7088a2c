//! The life of a job: the seed's four statuses and the legal moves between them, in one place.
//!
//! ```text
//! pending ──► processing ──► completed
//!               │   ▲
//!               ▼   │ retry (after the backoff)
//!             failed ──► dead letter queue (status stays failed, final)
//! ```

use serde::{Deserialize, Serialize};

/// A job's status, as the seed's `job_status.status` (line 77).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Waits for its first delivery.
    Pending,
    /// A delivery is running.
    Processing,
    /// Done. Final.
    Completed,
    /// The last attempt failed. Final when `completed_at` is set, else waiting for its retry.
    Failed,
}

impl Status {
    /// The word in the database, in the API and in a history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Pending, Self::Processing, Self::Completed, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or_else(|| format!("{word:?} is no status; allowed: pending, processing, completed, failed"))
    }
}

/// Where a job stands: its status, and whether that is its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    /// The seed's status.
    pub status: Status,
    /// Whether the job has ended (`completed_at` is set).
    pub is_final: bool,
}

/// What moves a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A processor takes it: an attempt begins.
    Claim,
    /// The attempt succeeded.
    Complete,
    /// The attempt failed (or timed out, or its lease was lost) and another will follow.
    Retry,
    /// The attempt failed and none will follow.
    GiveUp,
    /// Its user or an operator ends it.
    Cancel,
    /// An operator puts a dead letter back, with fresh attempts.
    Redrive,
}

impl Stage {
    /// A new job.
    pub const PENDING: Self = Self { status: Status::Pending, is_final: false };
    /// A delivery is running.
    pub const PROCESSING: Self = Self { status: Status::Processing, is_final: false };
    /// Done.
    pub const COMPLETED: Self = Self { status: Status::Completed, is_final: true };
    /// Waits for its retry.
    pub const RETRYING: Self = Self { status: Status::Failed, is_final: false };
    /// Given up or cancelled.
    pub const FAILED: Self = Self { status: Status::Failed, is_final: true };

    /// Where `by` leads from here, if that move is legal.
    pub fn after(self, by: Move) -> Option<Self> {
        match (self, by) {
            (Self::PENDING | Self::RETRYING, Move::Claim) => Some(Self::PROCESSING),
            (Self::PROCESSING, Move::Complete) => Some(Self::COMPLETED),
            (Self::PROCESSING, Move::Retry) => Some(Self::RETRYING),
            (Self::PROCESSING, Move::GiveUp) => Some(Self::FAILED),
            (Self::PENDING | Self::PROCESSING | Self::RETRYING, Move::Cancel) => Some(Self::FAILED),
            (Self::FAILED, Move::Redrive) => Some(Self::PENDING),
            _ => None,
        }
    }

    /// Whether a reader that saw `self` and later `then` can have seen only legal moves in between. Reads may miss
    /// moves; what can be reached by some sequence of them is fine. Only a redrive leads out of a final failure.
    pub fn can_become(self, then: Self, redriven: bool) -> bool {
        if self == then {
            return true;
        }
        match self {
            Self::PENDING => true,
            Self::PROCESSING | Self::RETRYING => then != Self::PENDING || redriven,
            Self::FAILED => redriven,
            _ => false,
        }
    }
}

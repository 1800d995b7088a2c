//! Why jobs are delivered again: the causes, and how often each was one. What a history shows as the cause of a delivery is
//! `check`'s business ([`Checker::causes`](crate::check::Checker::causes)); how the counts are shown is the command line's.

use serde::{Deserialize, Serialize};

/// Why a job is delivered once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The handler reported a failure.
    Failed,
    /// The handler was stopped at its timeout.
    TimedOut,
    /// The lease ran out while the handler was still at work.
    LeaseRanOut,
    /// The processor that held the lease went down.
    ProcessorLost,
    /// The grant never came to the processor, or the settle never to the queue.
    ReplyLost,
    /// An operator put the dead letter back.
    Redriven,
}

impl Cause {
    /// All causes, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Failed, Self::TimedOut, Self::LeaseRanOut, Self::ProcessorLost, Self::ReplyLost, Self::Redriven];

    /// The cause in words, as it stands before a count.
    pub fn words(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::LeaseRanOut => "lease ran out",
            Self::ProcessorLost => "processor lost",
            Self::ReplyLost => "reply lost",
            Self::Redriven => "redriven",
        }
    }
}

/// How often jobs were delivered again, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Causes {
    failed: u64,
    timed_out: u64,
    lease_ran_out: u64,
    processor_lost: u64,
    reply_lost: u64,
    redriven: u64,
    unexplained: u64,
}

impl Causes {
    /// Counts one more delivery; `None` is one that no cause explains.
    pub fn count(&mut self, cause: Option<Cause>) {
        *self.entry(cause) += 1;
    }

    /// How many deliveries had this cause; `None` asks for those that none explains.
    pub fn get(mut self, cause: Option<Cause>) -> u64 {
        *self.entry(cause)
    }

    /// Adds another history's counts.
    pub fn add(&mut self, other: &Self) {
        for cause in Cause::ALL.map(Some).into_iter().chain([None]) {
            *self.entry(cause) += other.get(cause);
        }
    }

    /// How many deliveries there were that were not a job's first.
    pub fn sum(&self) -> u64 {
        Cause::ALL.map(Some).into_iter().chain([None]).map(|cause| self.get(cause)).sum()
    }

    fn entry(&mut self, cause: Option<Cause>) -> &mut u64 {
        match cause {
            Some(Cause::Failed) => &mut self.failed,
            Some(Cause::TimedOut) => &mut self.timed_out,
            Some(Cause::LeaseRanOut) => &mut self.lease_ran_out,
            Some(Cause::ProcessorLost) => &mut self.processor_lost,
            Some(Cause::ReplyLost) => &mut self.reply_lost,
            Some(Cause::Redriven) => &mut self.redriven,
            None => &mut self.unexplained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_cause() {
        let mut causes = Causes::default();
        Cause::ALL.map(Some).into_iter().chain([None, None]).for_each(|cause| causes.count(cause));
        let mut twice = causes;
        twice.add(&causes);
        assert_eq!(twice.sum(), 16);
        assert_eq!(Cause::ALL.map(|cause| twice.get(Some(cause))), [2; 6]);
        assert_eq!(twice.get(None), 4);
    }
}

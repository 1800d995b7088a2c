//! What is done: the same for the reference queue, for the limit, and for the peers of `benches/peers`.

use kew_runtime::store::Synchronous;

/// The payload of every job: 102 bytes of JSON, as long as the ids and options of a résumé to render.
pub const PAYLOAD: &str =
    r#"{"resume_id":"5f0c7e8a-1b2d-4c3e-9f40-a1b2c3d4e5f6","template":"modern","format":"pdf","pages":[1,20]}"#;

/// How many producers create jobs side by side in [`Work::Enqueue`].
pub const PRODUCERS: u32 = 64;

/// How many jobs are in flight at most: the slots of the processor, and in [`Work::Mixed`] also what has been created
/// and has not ended.
pub const IN_FLIGHT: u32 = 1_000;

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Jobs are created one by one by producers that each wait for the answer; nothing is processed.
    Enqueue,
    /// A backlog that was created before is processed: claim, run a handler that does nothing, settle.
    Process,
    /// Jobs are created, processed and settled at the same time.
    Mixed,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enqueue, Self::Process, Self::Mixed];

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Process => "process",
            Self::Mixed => "mixed",
        }
    }
}

/// How much of it, and how durable.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What is done.
    pub work: Work,
    /// With how many jobs.
    pub jobs: u32,
    /// What a commit survives.
    pub synchronous: Synchronous,
    /// How many producers wait side by side; [`PRODUCERS`] unless that is what is being compared.
    pub producers: u32,
    /// How many jobs are in flight; [`IN_FLIGHT`] unless that is what is being compared.
    pub in_flight: u32,
}

impl Load {
    /// `jobs` jobs of `work`, with the usual numbers of producers and jobs in flight.
    pub fn new(work: Work, jobs: u32, synchronous: Synchronous) -> Self {
        Self { work, jobs, synchronous, producers: PRODUCERS, in_flight: IN_FLIGHT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_json_of_the_length_that_it_is_said_to_have() {
        assert_eq!(PAYLOAD.len(), 102);
        assert!(serde_json::from_str::<serde_json::Value>(PAYLOAD).is_ok());
    }
}

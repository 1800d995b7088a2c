//! The history: what was seen to happen, in order, one JSON object a line. Players write it, checkers read it, and
//! any program can write one by hand (docs/history.md).
//!
//! The first line is the [`Header`]; every further line is an [`Event`]: the player's time and one named observation,
//! `{"at":204,"granted":{…}}`. Nothing here knows who played or what is right.

mod event;
mod read;
mod write;

pub use event::*;
pub use read::{Error, Reader};
pub use write::Writer;

use serde::{Deserialize, Serialize};

use crate::clause::{self, Clause};
use crate::queues::Queues;

/// The version of the format that this crate reads and writes.
pub const VERSION: u32 = 1;

/// The longest line that a reader accepts: 16 MiB, far above a batch of 1,000 jobs.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// The first line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The format's version; [`VERSION`].
    pub kew_history: u32,
    /// What was observed, with its version: `kew 0.1.0`.
    pub system: String,
    /// Who observed it: `sim`, or a name of one's own.
    #[serde(default)]
    pub player: String,
    /// What was played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// From which seed, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The policies in force. Absent: the five default queues.
    #[serde(default)]
    pub queues: Queues,
    /// What the player could see. A clause that needs more is not exercised.
    #[serde(default = "Sight::all")]
    pub sees: Vec<Sight>,
    /// Whether the queue's own word in it (accepted, granted, settled) is not the queue's, but what must have happened,
    /// worked out from what was seen outside. Then only the clauses of [`crate::clause::from_outside`] are judged.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inferred: bool,
    /// How far the player's own measurement may be off.
    #[serde(default)]
    pub slack: Slack,
}

impl Header {
    /// A header for `system` with the default queues, everything seen and no slack.
    pub fn new(system: impl Into<String>) -> Self {
        Self {
            kew_history: VERSION,
            system: system.into(),
            player: String::new(),
            scenario: None,
            seed: None,
            queues: Queues::default(),
            sees: Sight::all(),
            inferred: false,
            slack: Slack::default(),
        }
    }

    /// Whether the player could see `sight`.
    pub fn sees(&self, sight: Sight) -> bool {
        self.sees.contains(&sight)
    }

    /// Whether this history can put `clause` to the test at all.
    pub fn can_judge(&self, clause: &Clause) -> bool {
        let needs = if self.inferred { clause::from_outside(clause.id) } else { Some(clause.needs) };
        needs.is_some_and(|needs| needs.iter().all(|&sight| self.sees(sight)))
    }
}

/// A kind of observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sight {
    /// What clients asked and were told. Every player sees this.
    Clients,
    /// The queue's own word: accepted, granted, settled, with its clock.
    Queue,
    /// Handlers starting and finishing.
    Handlers,
    /// Processors going up and down, with their slots.
    Processors,
    /// Reads of `job_status`.
    Status,
    /// Reads of dead letter queues.
    DeadLetters,
    /// Users' sessions and what reached them.
    Notifications,
    /// What reached the world outside: entities synced, events stored.
    Effects,
}

impl Sight {
    /// Everything.
    pub fn all() -> Vec<Self> {
        use Sight::*;
        vec![Clients, Queue, Handlers, Processors, Status, DeadLetters, Notifications, Effects]
    }
}

/// How far a player's measurement may be off. Bounds of the kind "not late" get these on top; bounds of the kind
/// "never early" get only the clock's error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// What a message, a timer and a scheduling decision may add to any "not late" bound.
    pub late_ms: u64,
    /// After the last fault has healed, how long the system may need to find back to its pace.
    pub recovery_ms: u64,
    /// The most that two readings of the queue's clock may disagree.
    pub clock_error_ms: u64,
}

fn is_false(value: &bool) -> bool {
    !value
}

//! Faults as data: what strikes, whom, when, and when it heals.

use serde::{Deserialize, Serialize};

/// A fault and how long it lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultSpec {
    /// When it strikes, from the play's start.
    pub at_ms: u64,
    /// When it heals, from when it struck. A killed host is restarted then.
    pub for_ms: u64,
    /// What it does.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What a fault does. Hosts are `api`, `broker`, `notifier`, `processor-1` and so on, `users`, `outside`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum FaultKind {
    /// No message passes between two hosts.
    Partition {
        /// The two hosts.
        between: [String; 2],
    },
    /// No message passes from one host to another; the way back is open.
    PartitionOneway {
        /// The sender.
        from: String,
        /// The receiver.
        to: String,
    },
    /// Messages between two hosts wait until the fault heals.
    Hold {
        /// The two hosts.
        between: [String; 2],
    },
    /// Some messages between two hosts are lost. A lost segment leaves its connection hanging.
    Loss {
        /// The two hosts.
        between: [String; 2],
        /// How many of a hundred.
        percent: u8,
    },
    /// All messages take longer.
    Latency {
        /// The shortest time a message takes.
        #[serde(rename = "min_ms")]
        min_ms: u64,
        /// The longest.
        #[serde(rename = "max_ms")]
        max_ms: u64,
    },
    /// The process dies; its disk keeps all that was written.
    Kill {
        /// Whose.
        host: String,
    },
    /// The machine loses power; its disk keeps what was synced.
    Power {
        /// Whose.
        host: String,
        /// What its disk keeps of what was not.
        #[serde(default, skip_serializing_if = "Remains::is_default")]
        remains: Remains,
    },
    /// The process dies between its next commit and the answer: what it did is there, and nobody was told. It comes
    /// back a second later.
    CrashAfterCommit {
        /// Whose.
        host: String,
    },
    /// The host does nothing and hears nothing, then goes on as if no time had passed.
    Pause {
        /// Whose.
        host: String,
    },
    /// The host's wall clock is off by so much while the fault lasts, and then right again: two steps.
    ClockStep {
        /// Whose.
        host: String,
        /// By how much; negative is into the past.
        #[serde(rename = "by_ms")]
        by_ms: i64,
    },
    /// The host's wall clock runs fast or slow while the fault lasts.
    ClockDrift {
        /// Whose.
        host: String,
        /// By how much, in millionths; negative is slow.
        ppm: i64,
    },
    /// What may be asked twice is asked twice: users repeat requests that have an idempotency key, processors their
    /// settles, as impatient clients do.
    Repeat {
        /// Who asks.
        host: String,
    },
    /// Every sync of the disk takes longer.
    DiskSlow {
        /// Whose.
        host: String,
        /// By how much.
        #[serde(rename = "by_ms")]
        by_ms: u64,
    },
    /// Nothing more fits on the disk.
    DiskFull {
        /// Whose.
        host: String,
    },
    /// Some reads, writes and syncs fail, and what a failed sync should have kept is lost in a power cut (as on Linux).
    DiskErrors {
        /// Whose.
        host: String,
        /// How many of a thousand.
        permille: u16,
    },
}

/// What a disk keeps of what was not synced when the power goes. Every one of these is legal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remains {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Of each sector of 512 bytes the old or the new content, a part of the new, or garbage.
    SmallSectors,
    /// As small sectors, of 4,096 bytes.
    #[default]
    Sectors,
}

impl Remains {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FaultKind {
    /// The kind's name, as in a file and in a history.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Partition { .. } => "partition",
            Self::PartitionOneway { .. } => "partition-oneway",
            Self::Hold { .. } => "hold",
            Self::Loss { .. } => "loss",
            Self::Latency { .. } => "latency",
            Self::Kill { .. } => "kill",
            Self::Power { .. } => "power",
            Self::Pause { .. } => "pause",
            Self::ClockStep { .. } => "clock-step",
            Self::ClockDrift { .. } => "clock-drift",
            Self::CrashAfterCommit { .. } => "crash-after-commit",
            Self::Repeat { .. } => "repeat",
            Self::DiskSlow { .. } => "disk-slow",
            Self::DiskFull { .. } => "disk-full",
            Self::DiskErrors { .. } => "disk-errors",
        }
    }

    /// The family it belongs to: what a seed switches on and off as a whole, and what shrinking drops as a whole.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Partition { .. } | Self::PartitionOneway { .. } => "partition",
            Self::Hold { .. } | Self::Latency { .. } => "delay",
            Self::Loss { .. } => "loss",
            Self::Kill { .. } | Self::CrashAfterCommit { .. } => "kill",
            Self::Power { .. } => "power",
            Self::Pause { .. } => "pause",
            Self::ClockStep { .. } | Self::ClockDrift { .. } => "clock",
            Self::Repeat { .. } => "repeat",
            Self::DiskSlow { .. } | Self::DiskFull { .. } | Self::DiskErrors { .. } => "disk",
        }
    }

    /// The hosts it strikes; none for one that strikes them all.
    pub fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Partition { between } | Self::Hold { between } | Self::Loss { between, .. } => {
                between.iter().map(String::as_str).collect()
            }
            Self::PartitionOneway { from, to } => vec![from, to],
            Self::Latency { .. } => Vec::new(),
            Self::Kill { host } | Self::Power { host, .. } | Self::CrashAfterCommit { host } => vec![host],
            Self::Pause { host } | Self::ClockStep { host, .. } | Self::ClockDrift { host, .. } => vec![host],
            Self::Repeat { host } | Self::DiskSlow { host, .. } | Self::DiskFull { host } => vec![host],
            Self::DiskErrors { host, .. } => vec![host],
        }
    }
}

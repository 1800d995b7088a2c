//! The families of faults, and what a fault of each may be. A seed switches families on and off as a whole.

use proptest::prelude::*;

use super::draw::FaultDraw;
use crate::scenario::Remains;

/// A family of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Partition,
    Delay,
    Loss,
    Kill,
    Power,
    Pause,
    Clock,
    Repeat,
    Disk,
}

/// Every family.
pub(super) const FAMILIES: &[Family] = &[
    Family::Partition,
    Family::Delay,
    Family::Loss,
    Family::Kill,
    Family::Power,
    Family::Pause,
    Family::Clock,
    Family::Repeat,
    Family::Disk,
];

impl Family {
    /// The name of its random stream.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::Kill => "kill",
            Self::Power => "power",
            Self::Pause => "pause",
            Self::Clock => "clock",
            Self::Repeat => "repeat",
            Self::Disk => "disk",
        }
    }

    /// What its faults do.
    pub(super) fn kinds(self) -> BoxedStrategy<FaultDraw> {
        match self {
            Self::Partition => prop_oneof![3 => Just(FaultDraw::Partition), 2 => Just(FaultDraw::PartitionOneway)].boxed(),
            Self::Delay => prop_oneof![
                2 => Just(FaultDraw::Hold),
                1 => (0_u64..200, 0_u64..1_500).prop_map(|(min_ms, more_ms)| FaultDraw::Latency(min_ms, min_ms + more_ms)),
            ]
            .boxed(),
            Self::Loss => (1_u8..60).prop_map(FaultDraw::Loss).boxed(),
            Self::Kill => prop_oneof![
                4 => Just(FaultDraw::Kill),
                3 => Just(FaultDraw::CrashAfterCommit),
                1 => Just(FaultDraw::RollingRestart),
            ]
            .boxed(),
            Self::Power => prop_oneof![
                4 => remains().prop_map(FaultDraw::Power),
                1 => remains().prop_map(FaultDraw::Blackout),
            ]
            .boxed(),
            Self::Pause => prop_oneof![
                2 => Just(FaultDraw::Pause),
                1 => (10_000_u64..40_000).prop_map(FaultDraw::LongPause),
            ]
            .boxed(),
            Self::Clock => prop_oneof![
                3 => (-30_000_i64..30_000).prop_map(FaultDraw::ClockStep),
                1 => (-80_000_i64..80_000).prop_map(FaultDraw::ClockDrift),
            ]
            .boxed(),
            Self::Repeat => Just(FaultDraw::Repeat).boxed(),
            Self::Disk => prop_oneof![
                2 => (1_u64..400).prop_map(FaultDraw::DiskSlow),
                1 => Just(FaultDraw::DiskFull),
                2 => (1_u16..300).prop_map(FaultDraw::DiskErrors),
            ]
            .boxed(),
        }
    }
}

fn remains() -> impl Strategy<Value = Remains> {
    prop::sample::select(&[Remains::Nothing, Remains::Everything, Remains::SmallSectors, Remains::Sectors][..])
}

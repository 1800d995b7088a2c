//! What a power cut leaves of the writes that were not synced.
//! Each model is a legal outcome for a disk that keeps what was synced, except where it says so.
//! The outcome is drawn from the disk's own stream, sector by sector, in the order of the writes.

use serde::{Deserialize, Serialize};

use super::faults::WHOLE_PPM;
use super::rng::Rng;

/// Which of the unsynced writes a power cut leaves on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// None of them. Draws nothing.
    DropAll,
    /// All of them. Draws nothing.
    KeepAll,
    /// Each sector of each write has its own fate; so has each truncation and each change of the
    /// directory, which is kept or lost as a whole.
    Subset {
        /// The unit that the medium writes at once, in bytes. Above the sector size that the disk
        /// declares ([`super::Geometry`]), damage reaches further than SQLite was told.
        sector_bytes: u32,
        /// The chances of each fate.
        odds: Odds,
    },
    /// The disk was working through what was not synced, in an order of its own, and stopped somewhere between none and
    /// all of it: each sector is new with one chance for all, which the cut draws, and now and then torn.
    Partway {
        /// As of [`Loss::Subset`].
        sector_bytes: u32,
    },
}

impl Loss {
    /// Sectors of `sector_bytes` that are kept or lost, and now and then torn or garbage.
    pub const fn subset(sector_bytes: u32) -> Self {
        Self::Subset { sector_bytes, odds: Odds::MIXED }
    }

    /// One cut of this kind: what is drawn once for all files is drawn here.
    pub(super) fn draw(self, rng: &mut Rng) -> Left {
        match self {
            Self::DropAll => Left::Nothing,
            Self::KeepAll => Left::All,
            Self::Subset { sector_bytes, odds } => Left::Sectors { sector_bytes, odds },
            Self::Partway { sector_bytes } => Left::Sectors { sector_bytes, odds: Odds::partway(rng) },
        }
    }
}

/// What one cut leaves of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    Nothing,
    All,
    Sectors { sector_bytes: u32, odds: Odds },
}

/// The chances of a sector's fate, in parts per million; what is missing to one whole is the
/// chance that the old content stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Odds {
    /// The new content is there.
    pub new_ppm: u32,
    /// The first bytes are new, the others old.
    pub torn_ppm: u32,
    /// The sector holds noise. Unless the disk promises that a torn write spares its neighbours
    /// ([`super::Geometry::powersafe_overwrite`]) that is the whole sector, synced bytes included.
    pub garbage_ppm: u32,
}

impl Odds {
    /// Mostly old or new, often enough torn or noise for a short run to meet both.
    pub const MIXED: Self = Self { new_ppm: 400_000, torn_ppm: 100_000, garbage_ppm: 100_000 };

    /// How far a disk came that was stopped on its way: anything from nothing to all. One sector in twenty is torn, so
    /// that a commit of a dozen sectors is as likely as not to have one.
    fn partway(rng: &mut Rng) -> Self {
        let torn_ppm = WHOLE_PPM / 20;
        let new_ppm = rng.below(u64::from(WHOLE_PPM - torn_ppm) + 1) as u32;
        Self { new_ppm, torn_ppm, garbage_ppm: 0 }
    }

    /// Draws one fate.
    pub(super) fn draw(&self, rng: &mut Rng) -> Fate {
        let drawn = rng.below(u64::from(WHOLE_PPM));
        let torn_from = u64::from(self.new_ppm);
        let garbage_from = torn_from + u64::from(self.torn_ppm);
        let old_from = garbage_from + u64::from(self.garbage_ppm);
        match drawn {
            _ if drawn < torn_from => Fate::New,
            _ if drawn < garbage_from => Fate::Torn,
            _ if drawn < old_from => Fate::Garbage,
            _ => Fate::Old,
        }
    }

    /// Draws whether a change that cannot be torn is kept.
    pub(super) fn keeps(&self, rng: &mut Rng) -> bool {
        rng.below(u64::from(WHOLE_PPM)) < u64::from(self.new_ppm)
    }
}

/// What a sector holds after the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Old,
    New,
    Torn,
    Garbage,
}

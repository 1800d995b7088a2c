//! The loss models of a sweep: what a power cut leaves of what was not synced. Each has a name, by which a point is
//! replayed, and where chance decides, a number that tells its draws apart.

use std::fmt;
use std::str::FromStr;

use crate::disk::Loss;

/// The kinds and how many independent draws of each a full sweep makes. Both sector sizes: those of old disks and of new.
const KINDS: &[(&str, Loss, u32)] = &[
    ("drop-all", Loss::DropAll, 1),
    ("keep-all", Loss::KeepAll, 1),
    ("sectors-512", Loss::subset(512), 4),
    ("sectors-4096", Loss::subset(4096), 4),
    ("partway-512", Loss::Partway { sector_bytes: 512 }, 2),
    ("partway-4096", Loss::Partway { sector_bytes: 4096 }, 2),
];

/// One loss model: a kind, and which of its draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Model {
    kind: usize,
    draw: u32,
}

impl Model {
    /// Every model of a full sweep, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        let draws = |(kind, (_, _, draws)): (usize, &(&str, Loss, u32))| {
            let draws = *draws;
            (1..=draws).map(move |draw| Self { kind, draw })
        };
        KINDS.iter().enumerate().flat_map(draws)
    }

    /// Its name without its draw.
    pub fn kind(self) -> &'static str {
        KINDS[self.kind].0
    }

    /// What it leaves.
    pub(super) fn loss(self) -> Loss {
        KINDS[self.kind].1
    }
}

/// `sectors-512:2`; without a number where chance decides nothing.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KINDS[self.kind] {
            (name, _, 1) => f.write_str(name),
            (name, ..) => write!(f, "{name}:{}", self.draw),
        }
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::all().find(|model| model.to_string() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::all().map(|model| model.to_string()).collect();
            format!("there is no such loss model; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_found_by_its_name() {
        for model in Model::all() {
            assert_eq!(model.to_string().parse(), Ok(model));
        }
        assert!("sectors-512:9".parse::<Model>().is_err());
        assert_eq!(Model::all().count(), 14);
    }
}

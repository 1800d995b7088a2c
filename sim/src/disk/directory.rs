//! The names of a disk's files. A name that was made or removed is durable only after a sync of
//! the directory, which is a thing apart from a sync of the file: a database whose deleted
//! journal comes back after a power cut is rolled back by it.
//! A disk has one directory; a slash in a name is part of the name.

use std::collections::BTreeMap;

use super::loss::Left;
use super::rng::Rng;

/// More unsynced changes than this are folded. A rollback journal makes two per commit, so this
/// is reached only where nothing is ever synced, and what is forgotten are journals long deleted.
const FOLD_CHANGES: usize = 64;

/// The identity of a file, which it keeps when its name is gone.
pub(super) type Inode = u64;

/// The names, live and durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    live: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    unsynced: Vec<Change>,
}

/// An unsynced change.
#[derive(Clone, Debug)]
enum Change {
    Link(String, Inode),
    Unlink(String),
}

impl Directory {
    /// The file that has this name now.
    pub(super) fn find(&self, name: &str) -> Option<Inode> {
        self.live.get(name).copied()
    }

    /// All names and files there are now, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Inode)> {
        self.live.iter().map(|(name, inode)| (name.as_str(), *inode))
    }

    /// Gives a file a name.
    pub(super) fn link(&mut self, name: &str, inode: Inode) {
        self.record(Change::Link(name.to_owned(), inode));
    }

    /// Removes a name.
    pub(super) fn unlink(&mut self, name: &str) {
        self.record(Change::Unlink(name.to_owned()));
    }

    /// Makes every change so far durable.
    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable.clone_from(&self.live);
    }

    /// Cuts the power: decides which changes the medium holds.
    pub(super) fn cut(&mut self, left: Left, rng: &mut Rng) {
        match left {
            Left::Nothing => self.unsynced.clear(),
            Left::All => self.sync(),
            Left::Sectors { odds, .. } => {
                for change in self.unsynced.drain(..).filter(|_| odds.keeps(rng)) {
                    change.apply(&mut self.durable);
                }
            }
        }
        self.live.clone_from(&self.durable);
    }

    /// Whether a file has a name, or may have one after a power cut.
    pub(super) fn may_name(&self, inode: Inode) -> bool {
        self.live.values().chain(self.durable.values()).any(|named| *named == inode)
            || self.unsynced.iter().any(|change| matches!(change, Change::Link(_, i) if *i == inode))
    }

    fn record(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
        if self.unsynced.len() > FOLD_CHANGES {
            self.fold();
        }
    }

    /// Keeps only what leads from the durable names to the live ones.
    fn fold(&mut self) {
        let gone = self.durable.keys().filter(|name| !self.live.contains_key(*name));
        let made = self.live.iter().filter(|(name, inode)| self.durable.get(*name) != Some(inode));
        self.unsynced = gone
            .map(|name| Change::Unlink(name.clone()))
            .chain(made.map(|(name, inode)| Change::Link(name.clone(), *inode)))
            .collect();
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            Self::Link(name, inode) => names.insert(name.clone(), *inode),
            Self::Unlink(name) => names.remove(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::loss::Odds;
    use super::*;

    #[test]
    fn folded_changes_lead_to_the_same_names() {
        let odds = Odds { new_ppm: 1_000_000, torn_ppm: 0, garbage_ppm: 0 };
        let mut rng = Rng::new(1);
        let mut directory = Directory::default();
        for name in ["kept", "removed", "replaced"] {
            directory.link(name, 1);
        }
        directory.sync();
        for inode in 2..200 {
            directory.link("journal", inode);
            directory.unlink("journal");
        }
        directory.unlink("removed");
        directory.link("replaced", 200);
        directory.link("made", 201);
        directory.fold();
        let live = directory.live.clone();
        directory.cut(Left::Sectors { sector_bytes: 512, odds }, &mut rng);
        assert_eq!(directory.live, live);
        assert!(!directory.may_name(199), "a journal long deleted is forgotten");
    }
}

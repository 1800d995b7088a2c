//! Which stays of a user heard of something. Most users have few, and those fit into one number.

use std::collections::BTreeSet;

/// A set of stays, by their places among those of their user.
#[derive(Debug, Default)]
pub(super) struct Stays {
    /// The first 32, one bit each.
    first: u32,
    /// All further ones.
    more: BTreeSet<usize>,
}

impl Stays {
    pub(super) fn add(&mut self, stay: usize) {
        match bit(stay) {
            Some(bit) => self.first |= bit,
            None => drop(self.more.insert(stay)),
        }
    }

    pub(super) fn has(&self, stay: usize) -> bool {
        match bit(stay) {
            Some(bit) => self.first & bit != 0,
            None => self.more.contains(&stay),
        }
    }
}

fn bit(stay: usize) -> Option<u32> {
    1_u32.checked_shl(u32::try_from(stay).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stay_is_remembered_however_many_there_are() {
        let mut stays = Stays::default();
        [0, 31, 32, 1_000].iter().for_each(|&stay| stays.add(stay));
        assert!([0, 31, 32, 1_000].iter().all(|&stay| stays.has(stay)));
        assert!([1, 30, 33, 999].iter().all(|&stay| !stays.has(stay)));
    }
}

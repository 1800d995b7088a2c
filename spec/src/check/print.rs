//! Fingerprints of texts that need only be told apart (payloads, deliveries, sessions), and tables that find things by
//! number or fingerprint.
//!
//! A fingerprint has 128 bits from two sums, so that two texts of one history share one with a chance of far less than
//! one in 2⁶⁰. It is the same in every process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// The fingerprint of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Print(u64, u64);

/// Odd numbers without a pattern: the binary digits of π.
const DIGITS: [u64; 5] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89, 0x4528_21e6_38d0_1377];

impl Print {
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut sums = Self(DIGITS[0] ^ bytes.len() as u64, DIGITS[1]);
        let mut parts = bytes.chunks_exact(16);
        for part in &mut parts {
            sums.add(word(&part[..8]), word(&part[8..]));
        }
        let rest = parts.remainder();
        let (low, high) = rest.split_at(rest.len().min(8));
        sums.add(word(low), word(high));
        sums
    }

    /// A part of it, for a table that compares texts as well.
    pub(super) fn short(self) -> u32 {
        (self.0 ^ self.0 >> 32) as u32
    }

    fn add(&mut self, low: u64, high: u64) {
        self.0 = fold(self.0 ^ low, high ^ DIGITS[2]) ^ self.0.rotate_left(23);
        self.1 = fold(self.1 ^ high, low ^ DIGITS[3]) ^ self.1.rotate_left(31);
    }
}

/// At most eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Both halves of the product in one.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

impl Hash for Print {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Spreads numbers over a table. It is quick, and the same in every process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = fold(self.0.rotate_left(23) ^ number ^ DIGITS[4], DIGITS[2]);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

/// Finds things by number or fingerprint. It has no order, so nothing can go through it, but for keys that are put in
/// order first.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V>(HashMap<K, V, BuildHasherDefault<Spread>>);

impl<K: Copy + Eq + Hash + Ord, V> Table<K, V> {
    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.0.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.0.get_mut(&key)
    }

    pub(super) fn contains(&self, key: K) -> bool {
        !self.0.is_empty() && self.0.contains_key(&key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        if self.0.is_empty() { None } else { self.0.remove(&key) }
    }

    pub(super) fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        self.0.entry(key)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys, in their order.
    pub(super) fn keys(&self) -> Vec<K> {
        let mut keys: Vec<K> = self.0.keys().copied().collect();
        keys.sort_unstable();
        keys
    }
}

impl<K: Copy + Eq + Hash + Ord, V: Default> Table<K, V> {
    /// What is kept under `key`, a default if nothing was.
    pub(super) fn at(&mut self, key: K) -> &mut V {
        self.0.entry(key).or_default()
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn texts_that_differ_have_fingerprints_that_do() {
        let texts = (0..2_000_u32)
            .flat_map(|n| [format!("{n}"), format!("{n:040}"), "a".repeat(n as usize), format!("a\0{n}")]);
        let texts: BTreeSet<String> = texts.collect();
        let prints: BTreeSet<Print> = texts.iter().map(|text| Print::of(text)).collect();
        let halves: BTreeSet<u64> = prints.iter().map(|print| print.1).collect();
        assert_eq!((prints.len(), halves.len()), (texts.len(), texts.len()));
    }

    #[test]
    fn a_table_tells_its_keys_in_order() {
        let mut table = Table::default();
        for n in [5_u64, 1, 9, 3] {
            table.insert(n, n);
        }
        assert_eq!((table.remove(9), table.len()), (Some(9), 3));
        assert_eq!(table.keys(), [1, 3, 5]);
    }
}

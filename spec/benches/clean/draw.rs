//! Chance: a generator with a fixed seed (splitmix64), and what is drawn from it.

pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// An id in the form of a UUID of version 7 at the clock's `clock`.
    pub(super) fn id(&mut self, clock: u64) -> String {
        let (a, b) = (self.next(), self.next());
        let (high, low) = (clock >> 16, clock & 0xffff);
        format!(
            "{high:08x}-{low:04x}-7{:03x}-{:04x}-{:012x}",
            a & 0xfff,
            0x8000 | (a >> 16) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }

    /// A payload's fingerprint.
    pub(super) fn fingerprint(&mut self) -> String {
        format!("{:016x}", self.next())
    }
}

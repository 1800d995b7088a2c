//! The disk's own stream of random bits: SplitMix64, one stream per disk.
//! It is small enough to live in a thread-local cell, where the entropy override keeps one too.
//! Nothing here asks the machine for entropy: a seed in, always the same numbers out.

/// A stream of random numbers drawn from one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream that `seed` starts.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits. The constants are those of Steele, Lea and Flood's SplitMix64.
    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number under `bound`, which is not 0. The bias of the remainder is below 2⁻³² for the
    /// bounds used here (sectors and parts per million).
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// Fills `bytes` from the stream.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

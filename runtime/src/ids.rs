//! Ids and random numbers from a seed. Whoever runs the queue brings the seed; a simulator brings its own.

/// A stream of ids and random numbers. The same seed gives the same stream.
#[derive(Clone, Debug)]
pub struct Ids {
    state: u64,
}

impl Ids {
    /// The stream that begins at `seed`.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A stream that nobody can foresee, from the operating system's entropy.
    pub fn from_entropy() -> Self {
        let seed = getrandom::u64().expect("the operating system has entropy");
        Self::from_seed(seed)
    }

    /// The next random number (SplitMix64, Steele et al. 2014).
    pub fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A new id that sorts by time: a UUID of version 7 (RFC 9562). Time order keeps the store's index compact.
    pub fn next(&mut self, now_ms: u64) -> String {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.random().to_le_bytes());
        bytes[8..].copy_from_slice(&self.random().to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(now_ms, &bytes).into_uuid().to_string()
    }
}

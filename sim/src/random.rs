//! Random streams. Each part of the world draws from its own, so that a new draw in one does not reshuffle another.

use kew_runtime::ids::Ids;

/// The stream of one part of the world of `seed`.
pub fn stream(seed: u64, part: &str) -> Ids {
    // FNV-1a: the parts' names only have to land apart.
    let hash = part
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    let mut ids = Ids::from_seed(seed ^ hash);
    Ids::from_seed(ids.random())
}

//! One test per clause of Kew's conformance, on effectum in this process.
//!
//! What effectum does not offer passes and says so, and so does what it is known to break: known-failing.toml has the
//! reasons. `cargo test -- --nocapture` shows how it stands with each clause.

use kew_example_effectum::Effectum;
use kew_verify::Options;

// Each scenario is played once: how often a clause breaks is `kew verify`'s business.
kew_verify::conformance!(
    Effectum::new,
    Options { repeats: 0, ..Options::default() },
    known: include_str!("../known-failing.toml")
);

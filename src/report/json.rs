//! A verdict as JSON: the verdict itself, and for each broken clause the excerpt that shows it.

use kew_spec::causes::Causes;
use kew_spec::verdict::Verdict;
use serde::Serialize;

use super::excerpt::Excerpts;

/// What `kew check --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Checked<'a> {
    /// Kew's version.
    pub(crate) kew: &'static str,
    /// The history's name.
    pub(crate) history: &'a str,
    /// What was observed.
    pub(crate) system: &'a str,
    /// How many events it holds.
    pub(crate) events: u64,
    /// Per clause how it stands.
    pub(crate) verdict: &'a Verdict,
    /// How often jobs were delivered again, by cause; absent where the player could not see enough to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redeliveries: Option<&'a Causes>,
    /// Per broken clause what shows it best.
    pub(crate) excerpts: &'a Excerpts,
}

/// This program's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

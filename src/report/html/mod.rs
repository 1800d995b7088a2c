//! A verdict and the history behind it as one HTML page that needs nothing else: no network, no other file. The same
//! page for every player. What is drawn is worked out here ([`verdict`], [`timeline`]); the page's own files (style,
//! template, scripts) only show it. They must not know what is right.

mod embed;
mod timeline;
mod verdict;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kew_spec::history::{Event, Header};
use kew_spec::verdict::Verdict;
use serde::Serialize;

use self::timeline::Timeline;
use self::verdict::Family;
use super::excerpt::Excerpt;
use super::json::VERSION;
use crate::outcome::Failure;

/// What a page shows.
pub(crate) struct Page<'a> {
    /// What was tried, in a few words: `seed 5`.
    pub(crate) title: &'a str,
    /// What is worth knowing beside it.
    pub(crate) subtitle: &'a str,
    /// The line that plays the run again, where there is one.
    pub(crate) replay: Option<&'a str>,
    /// The run's history: its first line.
    pub(crate) header: &'a Header,
    /// The run's history: its events, each with its line.
    pub(crate) events: &'a [(u64, Event)],
    /// How many events of the history are not among them.
    pub(crate) left_out: u64,
    /// The verdict on that history.
    pub(crate) verdict: &'a Verdict,
    /// The clause to open the page with; absent, the one that is shown with the fewest lines.
    pub(crate) opening: Option<&'a str>,
    /// Set where the run is one of many.
    pub(crate) across: Option<Across<'a>>,
    /// The clauses that the system does not claim to keep, each with why: they are shown as such.
    pub(crate) not_offered: Option<&'a BTreeMap<String, String>>,
    /// What the play came by, each with how often.
    pub(crate) coverage: Option<&'a [(String, u64)]>,
}

/// Many runs together, of which the page shows one.
pub(crate) struct Across<'a> {
    /// How many.
    pub(crate) runs: u64,
    /// Their verdicts added up.
    pub(crate) verdict: &'a Verdict,
    /// Per broken clause the run that shows it best.
    pub(crate) shown: Vec<Elsewhere<'a>>,
}

/// A broken clause as another run shows it.
#[derive(Serialize)]
pub(crate) struct Elsewhere<'a> {
    /// The clause's id.
    #[serde(skip)]
    pub(crate) clause: &'a str,
    /// The run, in a few words: `seed 7`.
    pub(crate) run: String,
    /// The line that plays it again.
    pub(crate) replay: String,
    /// What shows it.
    pub(crate) excerpt: &'a Excerpt,
}

/// What the page's scripts read.
#[derive(Serialize)]
struct Data<'a> {
    kew: &'static str,
    title: &'a str,
    subtitle: &'a str,
    replay: Option<&'a str>,
    system: &'a str,
    player: &'a str,
    scenario: Option<&'a str>,
    seed: Option<u64>,
    runs: u64,
    left_out: u64,
    opening: Option<&'a str>,
    families: Vec<Family<'a>>,
    coverage: Option<&'a [(String, u64)]>,
    timeline: Timeline<'a>,
}

/// Writes the page to a file.
pub(crate) fn write(path: &Path, page: &Page<'_>) -> Result<(), Failure> {
    let written = fs::write(path, self::page(page));
    written.map_err(|error| Failure::input(format!("write report {}: {error}", path.display())))
}

/// The page. The same input gives the same bytes.
pub(crate) fn page(page: &Page<'_>) -> String {
    let Page { title, subtitle, replay, header, events, .. } = *page;
    let data = Data {
        kew: VERSION,
        title,
        subtitle,
        replay,
        system: &header.system,
        player: &header.player,
        scenario: header.scenario.as_deref(),
        seed: header.seed,
        runs: page.across.as_ref().map_or(1, |across| across.runs),
        left_out: page.left_out,
        opening: page.opening,
        families: verdict::families(page),
        coverage: page.coverage,
        timeline: timeline::timeline(events),
    };
    embed::page(title, &data)
}

#[cfg(test)]
mod tests;

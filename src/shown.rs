//! Which events of a history are kept to be shown: those that findings name, and for a page as many others as a browser
//! bears.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use kew_spec::history::Event;
use kew_spec::verdict::Verdict;

use crate::report::excerpt;

/// How many events a page gets beside those that are named. At some 150 bytes each a browser still opens it at once.
const OTHERS_MAX: usize = 100_000;

/// The events that are kept.
#[derive(Debug)]
pub(crate) struct Shown {
    named: BTreeSet<u64>,
    /// How many more may be kept beside those that are named.
    room: usize,
    /// The last line that is of use.
    last: Option<u64>,
    /// What was kept, each with its line.
    pub(crate) events: Vec<(u64, Event)>,
}

impl Shown {
    /// Of the history that was judged, what its excerpts need.
    pub(crate) fn for_excerpts(verdict: &Verdict) -> Self {
        let named = excerpt::lines_named(verdict);
        Self { room: 0, last: named.last().copied(), named, events: Vec::new() }
    }

    /// What a page needs of a history that ends with the line `last`.
    pub(crate) fn for_page(verdict: &Verdict, last: u64) -> Self {
        let findings = verdict.clauses.iter().flat_map(|entry| &entry.findings);
        let named = findings.flat_map(|finding| finding.lines.iter().copied()).collect();
        Self { room: OTHERS_MAX, last: Some(last), named, events: Vec::new() }
    }

    /// The lines from the first to the last that is of use.
    pub(crate) fn lines(&self) -> RangeInclusive<u64> {
        1..=self.last.unwrap_or(0)
    }

    /// Whether the line is kept when it is given.
    pub(crate) fn wants(&self, line: u64) -> bool {
        0 < self.room || self.named.contains(&line)
    }

    /// Keeps an event, or passes it over.
    pub(crate) fn give(&mut self, line: u64, event: Event) {
        if self.wants(line) {
            self.room -= usize::from(!self.named.contains(&line));
            self.events.push((line, event));
        }
    }

    /// The events by their lines.
    pub(crate) fn by_line(&self) -> BTreeMap<u64, &Event> {
        self.events.iter().map(|(line, event)| (*line, event)).collect()
    }
}

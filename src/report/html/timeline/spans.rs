//! What lasts from one event to another: handlers, sessions, processors that are up.

use std::collections::BTreeMap;

use kew_spec::history::{AttemptOutcome, Ended, Event, Started, What};
use serde::Serialize;

use super::lanes::Lanes;

/// From one event to another, or to the end of the history.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Span {
    lane: Option<usize>,
    from: usize,
    to: Option<usize>,
}

/// A handler at work.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Handler {
    #[serde(flatten)]
    span: Span,
    /// The worst end among its jobs; absent while it runs, or when its processor went down.
    outcome: Option<AttemptOutcome>,
}

/// The handlers. One whose processor goes down ends there.
pub(super) fn handlers(events: &[(u64, Event)], lanes: &Lanes) -> Vec<Handler> {
    let mut handlers: Vec<Handler> = Vec::new();
    let mut running: Vec<(&Started, usize)> = Vec::new();
    for (i, (_, event)) in events.iter().enumerate() {
        match &event.what {
            What::Started(started) => {
                running.push((started, handlers.len()));
                let span = Span { lane: lanes.of_event(&event.what), from: i, to: None };
                handlers.push(Handler { span, outcome: None });
            }
            What::Finished(finished) => {
                let is_it = |(started, _): &(&Started, usize)| {
                    let is_same = match (&started.delivery, &finished.delivery) {
                        (Some(one), Some(other)) => one == other,
                        _ => started.jobs.iter().any(|given| is_of(given.job.as_str(), &finished.jobs)),
                    };
                    started.processor == finished.processor && is_same
                };
                if let Some(which) = running.iter().position(is_it) {
                    let handler = &mut handlers[running.remove(which).1];
                    handler.span.to = Some(i);
                    handler.outcome = finished.jobs.iter().map(|ended| ended.outcome).max();
                }
            }
            What::Processor(turn) => running.retain(|(started, place)| {
                let goes_on = started.processor != turn.processor;
                handlers[*place].span.to = handlers[*place].span.to.or((!goes_on).then_some(i));
                goes_on
            }),
            _ => {}
        }
    }
    handlers
}

fn is_of(job: &str, ended: &[Ended]) -> bool {
    ended.iter().any(|ended| ended.job == job)
}

/// The users' sessions.
pub(super) fn sessions(events: &[(u64, Event)], lanes: &Lanes) -> Vec<Span> {
    turns(events, lanes, |what| match what {
        What::Session(session) => Some((session.session.as_str(), session.open)),
        _ => None,
    })
}

/// Processors while they are up.
pub(super) fn ups(events: &[(u64, Event)], lanes: &Lanes) -> Vec<Span> {
    turns(events, lanes, |what| match what {
        What::Processor(turn) => Some((turn.processor.as_str(), turn.up)),
        _ => None,
    })
}

/// Spans of what is turned on and off, by name. What is turned on twice goes on anew.
fn turns<'a>(
    events: &'a [(u64, Event)],
    lanes: &Lanes,
    turn: impl Fn(&'a What) -> Option<(&'a str, bool)>,
) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut on = BTreeMap::new();
    for (i, (_, event)) in events.iter().enumerate() {
        let Some((name, is_on)) = turn(&event.what) else { continue };
        if let Some(place) = on.remove(name) {
            let span: &mut Span = &mut spans[place];
            span.to = Some(i);
        }
        if is_on {
            on.insert(name, spans.len());
            spans.push(Span { lane: lanes.of_event(&event.what), from: i, to: None });
        }
    }
    spans
}

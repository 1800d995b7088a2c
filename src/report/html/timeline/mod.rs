//! A history as something to draw: lanes with events on them, bars for what lasts, arrows for the messages that the
//! events imply. Events are named by their place in the history, lanes and jobs by theirs in the lists here.
//!
//! All times are on the player's clock.

mod arrows;
mod faults;
mod jobs;
mod lanes;
mod leases;
mod spans;

use kew_spec::history::{
    Accepted, AttemptOutcome, Drained, Event, How, Processor, Reply, Session, Settled, Stored, Told, What,
};
use serde::Serialize;

use self::arrows::Arrow;
use self::faults::Band;
use self::jobs::{Job, Jobs};
use self::lanes::{Lane, Lanes};
use self::leases::{Delivery, Lease, Leases};
use self::spans::{Handler, Span};
use crate::report::tell::tell;

/// What is drawn.
#[derive(Serialize)]
pub(super) struct Timeline<'a> {
    lanes: Vec<Lane>,
    jobs: Vec<Job<'a>>,
    events: Vec<Row>,
    deliveries: Vec<Delivery>,
    leases: Vec<Lease>,
    handlers: Vec<Handler>,
    sessions: Vec<Span>,
    ups: Vec<Span>,
    faults: Vec<Band<'a>>,
    arrows: Vec<Arrow>,
    drained: Option<End>,
}

/// One event. In JSON it is a list, since there are many of them.
#[derive(Serialize)]
struct Row(Line, AtMs, Kind, Turn, Option<usize>, Vec<usize>, Text, Beside);

type Line = u64;
type AtMs = u64;
type Kind = &'static str;
/// How it went, where that is drawn: an outcome, a turn.
type Turn = &'static str;
type Text = String;
type Beside = Option<String>;

/// How the play ended.
#[derive(Serialize)]
struct End {
    event: usize,
    ok: bool,
    bound_ms: u64,
}

/// Works out what is drawn of `events`, which stand in the order of time.
pub(super) fn timeline(events: &[(u64, Event)]) -> Timeline<'_> {
    let lanes = Lanes::of(events);
    let jobs = Jobs::of(events);
    let Leases { deliveries, leases } = Leases::of(events, &lanes, &jobs);
    Timeline {
        events: events.iter().map(|(line, event)| row(*line, event, &lanes, &jobs)).collect(),
        deliveries,
        leases,
        handlers: spans::handlers(events, &lanes),
        sessions: spans::sessions(events, &lanes),
        ups: spans::ups(events, &lanes),
        faults: faults::bands(events, &lanes),
        arrows: arrows::arrows(events),
        drained: events.iter().enumerate().find_map(|(i, (_, event))| end(i, event)),
        lanes: lanes.list,
        jobs: jobs.list,
    }
}

fn row(line: u64, event: &Event, lanes: &Lanes, jobs: &Jobs<'_>) -> Row {
    let (text, beside) = tell(event);
    let what = &event.what;
    Row(line, event.at, what.name(), how(what), lanes.of_event(what), jobs.of_event(what), text, beside)
}

fn how(what: &What) -> Turn {
    match what {
        What::Reply(Reply { outcome: Told::Ok, .. }) => "ok",
        What::Reply(Reply { outcome: Told::Refused, .. }) => "refused",
        What::Reply(Reply { outcome: Told::Unknown, .. }) => "unknown",
        What::Accepted(Accepted { how: How::Created, .. }) => "created",
        What::Accepted(_) => "known",
        What::Settled(Settled { accepted: false, .. }) => "refused",
        What::Stored(Stored { applied: false, .. }) => "known",
        What::Processor(Processor { up: false, .. }) | What::Session(Session { open: false, .. }) => "off",
        What::Settled(settled) => outcome(settled.outcome),
        _ => "",
    }
}

fn outcome(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Completed => "completed",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::TimedOut => "timed-out",
        AttemptOutcome::Lost => "lost",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

fn end(event: usize, seen: &Event) -> Option<End> {
    match seen.what {
        What::Drained(Drained { ok, bound_ms }) => Some(End { event, ok, bound_ms }),
        _ => None,
    }
}

/// `time` of the queue's clock, which read `clock` when the player's read `at`. What would come before the history
/// comes at its beginning.
fn on_players_clock(time: u64, clock: u64, at: u64) -> u64 {
    at.saturating_add(time).saturating_sub(clock)
}

#[cfg(test)]
mod tests;

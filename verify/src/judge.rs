//! From what was seen to a verdict: a play's history with the queue's word worked out, read by the checkers of `spec`.

use kew_spec::check::Checker;
use kew_spec::history::{Event, Header, Sight, Slack};
use kew_spec::verdict::Verdict;

use crate::infer::reads::fill_counts;
use crate::infer::{Known, infer};
use crate::play::Played;
use crate::protocol::About;

/// How far the harness may misjudge the moment of something it sees: the time of a line through a pipe.
const CLOCK_ERROR_MS: u64 = 25;

/// A play with its history and what the checkers say of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The history's first line.
    pub header: Header,
    /// Its events.
    pub events: Vec<Event>,
    /// What the checkers say.
    pub verdict: Verdict,
    /// Whether the machine stood still meanwhile.
    pub stalled: bool,
}

/// Judges what was seen. `late_ms` is what this machine and this system may take on top of any bound.
pub(crate) fn judge(played: &Played, about: &About, scenario: &str, late_ms: u64, strikes: bool) -> Judged {
    let can = &about.capabilities;
    let mut sees = vec![Sight::Clients, Sight::Queue, Sight::Handlers, Sight::Processors, Sight::Effects];
    sees.extend(can.status.is_there().then_some(Sight::Status));
    sees.extend(can.dead_letters.is_there().then_some(Sight::DeadLetters));
    let recovers_ms = can.recovers_ms(&played.policies);
    let recovery_ms = if strikes { recovers_ms + 2 * late_ms } else { late_ms };
    let known = Known {
        policies: &played.policies,
        sees: &sees,
        epoch_ms: played.epoch_ms,
        names: &played.names,
        late_ms,
        newest_wins: can.deduplication.has("newest"),
    };
    let mut events = infer(&played.events, &known);
    if !can.status.has("retry_count") {
        fill_counts(&mut events);
    }
    let header = Header {
        player: "verify".into(),
        scenario: Some(scenario.into()),
        queues: played.policies.clone(),
        sees,
        inferred: true,
        slack: Slack { late_ms, recovery_ms, clock_error_ms: CLOCK_ERROR_MS },
        ..Header::new(about.title())
    };
    let mut checker = Checker::new(&header);
    for (line, event) in (2..).zip(&events) {
        checker.see(line, event);
    }
    Judged { verdict: checker.finish(), header, events, stalled: played.stalled }
}

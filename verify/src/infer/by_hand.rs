//! Histories written by hand, for tests: what was seen, one line each as in docs/history.md, and what is inferred of it.

use std::collections::BTreeMap;

use kew_spec::check::Checker;
use kew_spec::history::{Event, Header, Sight, Slack, What};
use kew_spec::queues::Queues;
use kew_spec::verdict::Verdict;

use super::{Known, infer};

/// What is late in these histories.
const LATE_MS: u64 = 400;

/// What is seen of a queue with status and dead letters, from outside.
const SEES: [Sight; 7] = [
    Sight::Clients,
    Sight::Queue,
    Sight::Handlers,
    Sight::Processors,
    Sight::Effects,
    Sight::Status,
    Sight::DeadLetters,
];

/// A history that was seen by hand.
pub(super) struct ByHand {
    policies: Queues,
    /// With the queue's word among it.
    pub(super) events: Vec<Event>,
}

impl ByHand {
    /// What is inferred of `lines`, seen at queues with `policies`. The first enqueue of a job, `"op"`, asks for the job
    /// that its payload is named after.
    pub(super) fn new(policies: &str, lines: &[&str]) -> Self {
        let policies = Queues::parse(policies).expect("the policies are right");
        let read = |line: &&str| serde_json::from_str::<Event>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let seen: Vec<_> = lines.iter().map(read).collect();
        let names: BTreeMap<_, _> = seen
            .iter()
            .filter_map(|event| match &event.what {
                What::Enqueue(it) => Some((it.op, it.payload.clone())),
                _ => None,
            })
            .collect();
        let known = Known {
            policies: &policies,
            sees: &SEES,
            epoch_ms: 1_000_000,
            names: &names,
            late_ms: LATE_MS,
            newest_wins: true,
        };
        let events = infer(&seen, &known);
        Self { policies, events }
    }

    /// The names of the queue's own words and of handlers' starts, each with its time, in order.
    pub(super) fn told(&self) -> Vec<String> {
        let told = self.events.iter().filter_map(|event| {
            let of = match &event.what {
                What::Granted(it) => it.jobs.iter().map(|lease| format!("{} {}", lease.job, lease.attempt)).collect(),
                What::Settled(it) => vec![format!("{} {}", it.job, it.attempt)],
                What::Redriven(it) => vec![it.job.clone()],
                _ => return None,
            };
            Some(format!("{} {} {}", event.at, event.what.name(), of.join(", ")))
        });
        told.collect()
    }

    /// The clauses that it breaks, as the checkers see it.
    pub(super) fn broken(&self) -> Vec<String> {
        self.verdict().broken().map(|entry| entry.clause.clone()).collect()
    }

    fn verdict(&self) -> Verdict {
        let header = Header {
            queues: self.policies.clone(),
            sees: SEES.to_vec(),
            inferred: true,
            slack: Slack { late_ms: LATE_MS, recovery_ms: LATE_MS, clock_error_ms: 25 },
            ..Header::new("by hand")
        };
        let mut checker = Checker::new(&header);
        for (line, event) in (2..).zip(&self.events) {
            checker.see(line, event);
        }
        checker.finish()
    }
}

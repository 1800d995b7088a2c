//! Bugs of `retry/caused`: jobs are delivered again although nothing happened to the delivery before.

use kew_runtime::broker::Request;
use kew_runtime::store::{Answer, Command, Outcome};

use super::Bug;
use super::alter::{self, StoreBug};
use super::plant::{decision, processor};

pub(super) const BUGS: &[Bug] = &[
    decision("settles-dropped", "retry/caused", "Every seventh settle is acknowledged and not done.", |store| {
        alter::store(store, Dropped::default())
    }),
    processor("settles-forgotten", "retry/caused", "A processor forgets every seventh settle.", |queue| {
        let mut count = 0_u32;
        let forget = move |request: &mut Request| {
            if let Request::Settle(settlements) = request {
                count += 1;
                if count.is_multiple_of(7) {
                    settlements.clear();
                }
            }
        };
        alter::requests(queue, forget)
    }),
    processor(
        "grants-forgotten",
        "retry/caused",
        "A processor forgets every seventh delivery it is granted.",
        |queue| {
            let mut count = 0_u32;
            alter::pulls(queue, move |pulled| {
                pulled.deliveries.retain(|_| {
                    count += 1;
                    !count.is_multiple_of(7)
                });
            })
        },
    ),
];

/// Every seventh settle of a processor goes nowhere; its lease runs out later.
#[derive(Default)]
struct Dropped {
    count: u32,
}

impl StoreBug for Dropped {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Settle(it) = command else { return None };
        self.count += u32::from(!matches!(it.outcome, Outcome::Lost(_)));
        let is_dropped = !matches!(it.outcome, Outcome::Lost(_)) && self.count.is_multiple_of(7);
        is_dropped.then_some(Answer::Settled { accepted: true })
    }
}

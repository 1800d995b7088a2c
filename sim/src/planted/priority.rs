//! Bugs of the family `priority`: the wrong queue is served first, or some are never served.

use std::collections::BTreeMap;

use kew_runtime::broker::Request;
use kew_runtime::store::{Answer, Command, Outlook};
use kew_spec::queues::Priority;

use super::Bug;
use super::alter::track::Leases;
use super::alter::{self, StoreBug};
use super::plant::{decision, policy, processor};

/// One level of aging, of the contract.
const LEVEL_MS: u64 = 30_000;

pub(super) const BUGS: &[Bug] = &[
    policy("priorities-ignored", "priority/order", "All queues have the same priority.", |it| {
        it.priority = Priority::Low;
    }),
    decision(
        "queues-in-turn",
        "priority/order",
        "The queue that was served last has to wait for the others.",
        |store| alter::store(store, InTurn::default()),
    ),
    decision(
        "bullmq-1322-one-entity-holds-up-others",
        "priority/order",
        "While an entity is processing, all others of its queue wait.",
        |store| alter::store(store, HoldsUpOthers::default()),
    ),
    processor(
        "processor-asks-queue-by-queue",
        "priority/order",
        "A processor asks for one of its queues after the other.",
        |queue| {
            let mut turn = 0;
            alter::requests(queue, move |request| {
                if let Request::Pull(pull) = request
                    && 0 < pull.slots
                {
                    turn += 1;
                    let one = pull.queues.remove(turn % pull.queues.len());
                    pull.queues = vec![one];
                }
            })
        },
    ),
    decision("never-ages", "priority/aging", "A waiting job never rises.", |store| aged(store, LEVEL_MS - 1)),
    decision("ages-one-level-alone", "priority/aging", "A waiting job rises by one level and no more.", |store| {
        aged(store, 2 * LEVEL_MS - 1)
    }),
    decision(
        "ages-since-the-last-claim",
        "priority/aging",
        "With each claim, a queue's waiting begins anew.",
        |store| alter::store(store, SinceLastClaim::default()),
    ),
];

/// No job of a queue counts as waiting for longer than `most_ms`.
fn aged(inner: Box<dyn kew_runtime::store::Store>, most_ms: u64) -> Box<dyn kew_runtime::store::Store> {
    alter::queues(inner, move |now_ms, queue| {
        queue.oldest_ready_ms = queue.oldest_ready_ms.map(|oldest_ms| oldest_ms.max(now_ms.saturating_sub(most_ms)));
    })
}

/// The queue that was served last.
#[derive(Default)]
struct InTurn {
    last: String,
}

impl StoreBug for InTurn {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Claim(it), Answer::Claimed(Some(_))) = (asked, answer) {
            self.last.clone_from(&it.queue);
        }
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        let waits = |queue: &kew_runtime::store::QueueOutlook| queue.oldest_ready_ms.is_some() && !queue.paused;
        let others = outlook.queues.iter().filter(|queue| queue.queue != self.last).any(waits);
        if others {
            let last = outlook.queues.iter_mut().filter(|queue| queue.queue == self.last);
            last.for_each(|queue| queue.oldest_ready_ms = None);
        }
    }
}

#[derive(Default)]
struct HoldsUpOthers {
    leases: Leases,
}

impl StoreBug for HoldsUpOthers {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        self.leases.see(asked, answer);
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        for queue in &mut outlook.queues {
            let of_it = |leased: &&super::alter::track::Leased| leased.lease.queue == queue.queue;
            if self.leases.0.values().filter(of_it).any(|leased| leased.key.is_some()) {
                queue.oldest_ready_ms = None;
            }
        }
    }
}

/// When each queue was last claimed from.
#[derive(Default)]
struct SinceLastClaim {
    last_ms: BTreeMap<String, u64>,
}

impl StoreBug for SinceLastClaim {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        if let (Command::Claim(it), Answer::Claimed(Some(_))) = (asked, answer)
            && it.max == 1
        {
            self.last_ms.insert(it.queue.clone(), it.now_ms);
        }
    }

    fn outlook(&mut self, _now_ms: u64, outlook: &mut Outlook) {
        for queue in &mut outlook.queues {
            let last_ms = self.last_ms.get(&queue.queue).copied().unwrap_or(0);
            queue.oldest_ready_ms = queue.oldest_ready_ms.map(|oldest_ms| oldest_ms.max(last_ms));
        }
    }
}

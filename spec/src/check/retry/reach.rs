//! Whether a processor and the queue could reach each other: since when the processor is up, and what was in the way.
//!
//! It goes by the hosts that a fault names, not by its kind: what strikes either side, or the link between them, may cost
//! a message. A fault that is over still counts for the player's `recovery_ms`, in which connections find out that they
//! are dead.

use std::collections::BTreeMap;

use crate::history::{Fault, Processor, What};

/// Hosts that no grant and no settle passes.
const ELSEWHERE: &[&str] = &["api", "notifier", "users", "outside"];

#[derive(Default)]
pub(super) struct Reach {
    /// Every processor that was ever up, and since when it is; `None` while it is down.
    up: BTreeMap<String, Option<u64>>,
    /// Faults in force, with the hosts they strike.
    active: BTreeMap<u64, Vec<String>>,
    /// When a fault on these hosts was last over.
    over: BTreeMap<Vec<String>, u64>,
}

impl Reach {
    pub(super) fn see(&mut self, at: u64, what: &What) {
        match what {
            What::Processor(it) => self.processor(at, it),
            What::Fault(it) => self.fault(at, it),
            _ => {}
        }
    }

    fn processor(&mut self, at: u64, it: &Processor) {
        self.up.insert(it.processor.clone(), it.up.then_some(at));
    }

    fn fault(&mut self, at: u64, it: &Fault) {
        if it.active {
            self.active.insert(it.fault, it.on.clone());
        } else if let Some(on) = self.active.remove(&it.fault) {
            self.over.insert(on, at);
        }
    }

    /// Whether the processor has been up without a break since `since`. One that was never seen up is not.
    pub(super) fn is_up_since(&self, processor: &str, since: u64) -> bool {
        self.up.get(processor).copied().flatten().is_some_and(|up| up <= since)
    }

    /// Whether something was in the way of the processor and the queue at `from` or later. A processor that had just come
    /// up counts: what was meant for its predecessor did not find it.
    pub(super) fn was_in_the_way(&self, processor: &str, from: u64, recovery_ms: u64) -> bool {
        let recent = |at: u64| from <= at + recovery_ms;
        let begun = self.up.get(processor).copied().flatten().is_some_and(recent);
        let over = |(on, &at): (&Vec<String>, &u64)| recent(at) && self.is_between(on, processor);
        begun || self.active.values().any(|on| self.is_between(on, processor)) || self.over.iter().any(over)
    }

    /// Whether a fault on these hosts strikes the processor, the queue, or the link between them. Two hosts are the ends
    /// of a link; any other number are struck one by one, and none means all.
    fn is_between(&self, on: &[String], processor: &str) -> bool {
        let near = |host: &String| {
            let other = host != processor && self.up.contains_key(host);
            !other && !ELSEWHERE.contains(&host.as_str())
        };
        match on {
            [] => true,
            [one, other] => near(one) && near(other),
            hosts => hosts.iter().any(near),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(faults: &[&[&str]]) -> Reach {
        let mut reach = Reach::default();
        for processor in ["processor-1", "processor-2"] {
            let it = Processor { processor: processor.into(), up: true, slots: 1 };
            reach.see(0, &it.into());
        }
        for (fault, on) in (1..).zip(faults) {
            let on = on.iter().map(|&host| host.to_owned()).collect();
            reach.see(5_000, &Fault { fault, kind: "partition".into(), on, active: true }.into());
        }
        reach
    }

    #[test]
    fn only_a_fault_on_one_side_or_on_the_link_is_in_the_way() {
        let is_in_the_way = |on: &[&str]| reach(&[on]).was_in_the_way("processor-1", 4_000, 100);
        assert!(is_in_the_way(&[]));
        assert!(is_in_the_way(&["broker"]));
        assert!(is_in_the_way(&["processor-1"]));
        assert!(is_in_the_way(&["broker", "processor-1"]));
        assert!(!is_in_the_way(&["processor-2"]));
        assert!(!is_in_the_way(&["broker", "processor-2"]));
        assert!(!is_in_the_way(&["api", "broker"]));
        assert!(!is_in_the_way(&["processor-1", "outside"]));
    }

    #[test]
    fn a_fault_that_is_over_excuses_while_the_system_recovers() {
        let mut reach = reach(&[&["broker"]]);
        reach.see(6_000, &Fault { fault: 1, kind: "power".into(), on: vec!["broker".into()], active: false }.into());
        assert!(reach.was_in_the_way("processor-1", 6_100, 100));
        assert!(!reach.was_in_the_way("processor-1", 6_101, 100));
    }

    #[test]
    fn a_processor_that_came_up_anew_was_not_up_since_before() {
        let mut reach = reach(&[]);
        assert!(reach.is_up_since("processor-1", 0));
        assert!(!reach.is_up_since("processor-3", 9_000), "never seen");
        reach.see(9_000, &Processor { processor: "processor-1".into(), up: true, slots: 1 }.into());
        assert!(!reach.is_up_since("processor-1", 8_999));
        assert!(reach.was_in_the_way("processor-1", 9_010, 10), "the grant may have gone to its predecessor");
    }
}

//! When "not late" bounds run: only while no fault is active, the system has had time to recover, and a processor slot
//! is free. This keeps the sum of such calm time, so that a checker can ask how much of a wait was without excuse.
//!
//! A slot counts as free once it could have been filled: each may stay empty for the player's `late_ms` after every
//! delivery, and a busy queue, which fills slot after slot with more urgent jobs, is no excuse to accuse it.
//!
//! It also maps the queue's clock to the player's, since promises are on the one and faults on the other.

use std::collections::{BTreeSet, VecDeque};

/// How many turning points are kept. When older ones go, waits that began before them count as shorter than they were:
/// a checker then says too little, never too much.
const TURNS_MAX: usize = 1 << 16;

/// How many of the last are looked at before a search begins.
const LATELY: usize = 8;

/// The sum of calm time up to any moment, on the player's clock.
#[derive(Debug, Default)]
pub(super) struct Calm {
    recovery_ms: u64,
    late_ms: u64,
    faults: BTreeSet<u64>,
    /// Until when the system may still be recovering from the last fault.
    recovering_until: u64,
    /// One entry per free slot: the times at which slots became free last, the oldest first. Whichever slots these
    /// were, at least one has been free since the first of them.
    freed: VecDeque<u64>,
    turns: VecDeque<Turn>,
    clocks: VecDeque<Reading>,
}

/// From `at` on, time is calm or not; `sum_ms` is the calm time before.
#[derive(Clone, Copy, Debug)]
struct Turn {
    at: u64,
    sum_ms: u64,
    calm: bool,
}

/// The queue's clock read `clock` at the player's `at`.
#[derive(Clone, Copy, Debug)]
struct Reading {
    clock: u64,
    at: u64,
}

impl Calm {
    pub(super) fn new(recovery_ms: u64, late_ms: u64) -> Self {
        Self { recovery_ms, late_ms, ..Self::default() }
    }

    /// A fault begins or ends.
    pub(super) fn fault(&mut self, at: u64, fault: u64, active: bool) {
        if active {
            self.faults.insert(fault);
        } else {
            self.faults.remove(&fault);
            self.recovering_until = at + self.recovery_ms;
        }
        self.turn(at);
    }

    /// Something that is no declared fault has upset the system (a processor died by itself).
    pub(super) fn upset(&mut self, at: u64) {
        self.recovering_until = at + self.recovery_ms;
        self.turn(at);
    }

    /// How many slots the processors have free from now on.
    pub(super) fn slots(&mut self, at: u64, free: usize) {
        let before = self.free_from();
        let more = free.saturating_sub(self.freed.len());
        self.freed.extend(std::iter::repeat_n(at, more));
        let fewer = self.freed.len() - free;
        self.freed.drain(..fewer);
        let now = self.free_from();
        let settled = |from: Option<u64>| from.is_some_and(|from| from <= at);
        if before != now && !(settled(before) && settled(now)) {
            self.turn(at);
        }
    }

    /// From when on a slot has been free for so long that it could have been filled.
    fn free_from(&self) -> Option<u64> {
        self.freed.front().map(|freed| freed + self.late_ms)
    }

    /// The queue's clock was read.
    pub(super) fn clock(&mut self, at: u64, clock: u64) {
        let known = self.clocks.back().is_some_and(|last| clock.wrapping_sub(last.clock) == at - last.at);
        if !known {
            self.clocks.push_back(Reading { clock, at });
            if TURNS_MAX < self.clocks.len() {
                self.clocks.pop_front();
            }
        }
    }

    /// No fault is active, the system has recovered and a slot is free.
    pub(super) fn now(&self, at: u64) -> bool {
        self.no_fault(at) && self.free_from().is_some_and(|from| from <= at)
    }

    /// No fault is active, whatever the slots.
    pub(super) fn no_fault(&self, at: u64) -> bool {
        self.faults.is_empty() && self.recovering_until <= at
    }

    /// Until when the system may still be recovering from the last fault, on the player's clock.
    pub(super) fn recovering_until(&self) -> u64 {
        self.recovering_until
    }

    /// How much of the time from `from` to `to` (player's clock) was calm.
    pub(super) fn between(&self, from: u64, to: u64) -> u64 {
        self.sum(to).saturating_sub(self.sum(from))
    }

    /// When the queue's clock came to `clock`, on the player's clock, going by the last reading before.
    pub(super) fn at(&self, clock: u64) -> u64 {
        let after = self.clocks.partition_point(|reading| reading.clock <= clock);
        match self.clocks.get(after.saturating_sub(1)) {
            Some(reading) => reading.at + clock.saturating_sub(reading.clock),
            None => clock,
        }
    }

    fn turn(&mut self, at: u64) {
        let free_from = self.free_from().filter(|_| self.faults.is_empty());
        let calm_begins = free_from.map(|from| from.max(self.recovering_until));
        self.push(at, calm_begins.is_some_and(|begins| begins <= at));
        if let Some(begins) = calm_begins.filter(|&begins| at < begins) {
            self.push(begins, true);
        }
    }

    /// Turning points in the future (the end of a recovery) are revoked by whatever comes before them.
    fn push(&mut self, at: u64, calm: bool) {
        while self.turns.back().is_some_and(|last| at <= last.at) {
            self.turns.pop_back();
        }
        let sum_ms = self.sum(at);
        self.turns.push_back(Turn { at, sum_ms, calm });
        if TURNS_MAX < self.turns.len() {
            self.turns.pop_front();
        }
    }

    fn sum(&self, at: u64) -> u64 {
        let after = point(&self.turns, |turn| turn.at <= at);
        match after.checked_sub(1).and_then(|i| self.turns.get(i)) {
            Some(turn) if turn.calm => turn.sum_ms + (at - turn.at),
            Some(turn) => turn.sum_ms,
            None => self.turns.front().map_or(0, |turn| turn.sum_ms),
        }
    }
}

/// The place of the first that is not `early`; all before it are. Most questions are about what was lately, so the last
/// few are looked at first.
fn point<T>(sorted: &VecDeque<T>, early: impl Fn(&T) -> bool) -> usize {
    let late = sorted.iter().rev().take(LATELY).take_while(|entry| !early(entry)).count();
    if late < LATELY { sorted.len() - late } else { sorted.partition_point(early) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_without_faults_and_with_a_free_slot_is_calm() {
        let mut calm = Calm::new(100, 0);
        calm.slots(0, 1);
        calm.fault(1_000, 7, true);
        calm.fault(2_000, 7, false);
        calm.slots(3_000, 0);
        assert_eq!(calm.between(0, 1_000), 1_000);
        assert_eq!(calm.between(0, 2_100), 1_000);
        assert_eq!(calm.between(0, 5_000), 1_900);
        assert!(!calm.now(5_000));
    }

    #[test]
    fn a_fault_during_recovery_revokes_it() {
        let mut calm = Calm::new(100, 0);
        calm.slots(0, 1);
        calm.fault(10, 1, true);
        calm.fault(20, 1, false);
        calm.fault(50, 2, true);
        calm.fault(60, 2, false);
        assert_eq!(calm.between(0, 160), 10);
        assert_eq!(calm.between(0, 170), 20);
    }

    #[test]
    fn a_slot_that_is_filled_in_time_is_not_free() {
        let mut calm = Calm::new(0, 50);
        calm.slots(0, 1);
        for at in (1_000..2_000).step_by(100) {
            calm.slots(at, 0);
            calm.slots(at + 60, 1);
        }
        assert_eq!(calm.between(0, 1_000), 950);
        assert_eq!(calm.between(1_000, 2_000), 0, "each time it is filled after 40 ms");
    }

    #[test]
    fn a_jump_of_the_queues_clock_does_not_reach_back() {
        let mut calm = Calm::new(0, 0);
        calm.clock(50, 1_050);
        calm.clock(51, 1_111);
        assert_eq!(calm.at(1_100), 100, "going by the reading before the jump");
        assert_eq!(calm.at(1_120), 60);
    }

    #[test]
    fn a_fault_and_what_follows_it_are_no_time_without_faults() {
        let mut calm = Calm::new(100, 0);
        calm.fault(1_000, 1, true);
        assert!(!calm.no_fault(5_000), "it has not ended");
        calm.fault(5_000, 1, false);
        assert!(!calm.no_fault(5_099), "the system recovers");
        assert!(calm.no_fault(5_100));
    }

    #[test]
    fn a_slot_that_is_filled_leaves_the_one_that_became_free_later() {
        let mut calm = Calm::new(0, 50);
        calm.slots(0, 1);
        calm.slots(10, 2);
        calm.slots(20, 1);
        assert_eq!(calm.between(0, 100), 40, "one has been free since 10, and could have been filled by 60");
    }
}

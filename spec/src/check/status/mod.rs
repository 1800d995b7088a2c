//! Clauses of the family `status`: what reads of `job_status` show, one by one, one after the other, and against what
//! clients were told and the queue said.
//!
//! `row` judges a row by itself and by the queue's word, `moves` compares reads of one job, `writes` compares reads with
//! what was acknowledged. Only a read that was asked after another was answered is held against it: two that overlap may
//! show the job in either order.

mod moves;
mod row;
mod writes;

use std::collections::BTreeSet;

use super::ledger::Question;
use super::number::Job;
use super::print::Table;
use super::{Family, Seen};
use crate::clause::Place;
use crate::history::{Fault, Reply, StatusRead, Told, What};
use crate::lifecycle::Stage;
use crate::verdict::Notes;

const DURABLE: Place = Place::of("status/durable");
const FINAL: Place = Place::of("status/final");
const FLOW: Place = Place::of("status/flow");
const MONOTONIC: Place = Place::of("status/monotonic");
const READ_YOUR_WRITES: Place = Place::of("status/read-your-writes");

#[derive(Default)]
pub(super) struct Status {
    crashes: Crashes,
    redrives: Redrives,
    moves: moves::Moves,
    rows: row::Rows,
    writes: writes::Writes,
}

impl Family for Status {
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        self.crashes.see(seen);
        self.redrives.see(seen);
        self.writes.see(seen, &self.crashes, notes);
        self.rows.see(seen, &self.redrives, notes);
        if let What::StatusRead(it) = &seen.event.what {
            self.writes.read(seen, it, &self.crashes, &self.redrives, notes);
            self.rows.read(seen, it, &self.crashes, &self.redrives, notes);
            let purged = self.writes.may_be_purged(seen.ledger, seen.named.job);
            self.moves.read(seen, it, purged, &self.crashes, &self.redrives, notes);
        }
    }
}

/// The stage that a row shows.
fn stage(row: &crate::history::Row) -> Stage {
    Stage { status: row.status, is_final: row.is_final }
}

/// The stage in words.
fn words(stage: Stage) -> String {
    let end = if stage.is_final { ", final" } else { "" };
    format!("{}{end}", stage.status)
}

/// When the queue's own host last died or lost power. Other hosts keep nothing that was acknowledged.
#[derive(Debug, Default)]
struct Crashes {
    last: Option<Crash>,
}

#[derive(Clone, Copy, Debug)]
struct Crash {
    at: u64,
    line: u64,
}

impl Crashes {
    fn see(&mut self, seen: &Seen<'_>) {
        if let What::Fault(it) = &seen.event.what
            && strikes_the_queue(it)
        {
            self.last = Some(Crash { at: seen.event.at, line: seen.line });
        }
    }

    /// The line of a crash that may have undone what stood at the player's time `at`.
    fn since(&self, at: u64) -> Option<u64> {
        self.last.filter(|crash| at <= crash.at).map(|crash| crash.line)
    }

    /// The line of a crash after `line`.
    fn after_line(&self, line: u64) -> Option<u64> {
        self.last.filter(|crash| line < crash.line).map(|crash| crash.line)
    }
}

fn strikes_the_queue(it: &Fault) -> bool {
    let kind = it.kind == "kill" || it.kind == "power";
    it.active && kind && (it.on.is_empty() || it.on.iter().any(|host| host == "broker"))
}

/// Since when a job may have been put back: only that leads out of a final failure.
#[derive(Debug, Default)]
struct Redrives {
    jobs: Table<Job, Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Without a reply yet, or with an unknown one: they may take effect at any later time.
    open: BTreeSet<u64>,
    /// When the last one was surely done.
    done_at: Option<u64>,
}

impl Redrives {
    fn see(&mut self, seen: &Seen<'_>) {
        match &seen.event.what {
            What::Redrive(it) => drop(self.jobs.at(seen.named.job).open.insert(it.op)),
            What::Redriven(_) => self.jobs.at(seen.named.job).done_at = Some(seen.event.at),
            What::Reply(it) => self.reply(seen, it),
            _ => {}
        }
    }

    fn reply(&mut self, seen: &Seen<'_>, it: &Reply) {
        let Some(asked) = seen.asked.filter(|asked| matches!(asked.what, Question::Redrive)) else { return };
        let Some(job) = self.jobs.get_mut(asked.named.job) else { return };
        if it.outcome != Told::Unknown {
            job.open.remove(&it.op);
        }
        if it.outcome == Told::Ok {
            job.done_at = Some(seen.event.at);
        }
    }

    /// Whether `job` may have been put back after the player's time `at`.
    fn may_lie_after(&self, job: Job, at: u64) -> bool {
        let Some(asked) = self.jobs.get(job) else {
            return false;
        };
        !asked.open.is_empty() || asked.done_at.is_some_and(|done_at| at <= done_at)
    }

    /// Whether `job` may have been put back ever.
    fn may_lie(&self, job: Job) -> bool {
        self.may_lie_after(job, 0)
    }
}

/// The row's word on a read: who asked and when, for findings.
fn read_by(it: &StatusRead) -> String {
    format!("{} asked for {} at {}", it.user, it.job, it.asked_at)
}

/// Lines in order, each once.
fn in_order(lines: impl IntoIterator<Item = u64>) -> Vec<u64> {
    lines.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

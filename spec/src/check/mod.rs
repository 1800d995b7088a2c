//! The checkers: they read a history once, in order, and note where each clause was put to the test and where it broke.
//!
//! One file per clause family. All share the [`Ledger`], the bookkeeping of what the history has said so far. None of
//! this knows any queue's code: what is right follows from the policies in the header and from the clauses alone.

mod calm;
mod ledger;
mod named;
mod number;
mod print;
mod slots;
mod waiting;

mod backoff;
mod batch;
mod dead_letter;
mod dedup;
mod job;
mod notify;
mod priority;
mod rate;
mod retry;
mod schedule;
mod status;
mod timeout;

use std::io::BufRead;

use crate::causes::Causes;
use crate::clause::Place;
use crate::history::{self, Event, Header, What};
use crate::verdict::{Notes, Verdict};
use ledger::{Asked, Ledger};
use named::Named;
use number::Job;

/// One line of the history together with all that the lines before it have said. The ledger stands as it was *before*
/// this event.
struct Seen<'a> {
    /// The line's number in the history.
    line: u64,
    event: &'a Event,
    /// What the event names.
    named: Named,
    /// The jobs of its list, in the list's order.
    jobs: &'a [Job],
    /// What a reply answers.
    asked: Option<&'a Asked>,
    ledger: &'a Ledger,
}

/// A number and its noun, as findings say it: `1 attempt`, `3 attempts`.
fn counted(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The checkers of one clause family.
trait Family {
    /// Reads one event.
    fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes);

    /// Reads the end of the history. `ledger` stands after the last event.
    fn finish(&mut self, _ledger: &Ledger, _notes: &mut Notes) {}
}

/// All checkers at work on one history.
pub struct Checker {
    ledger: Ledger,
    families: Vec<Box<dyn Family>>,
    notes: Notes,
    needs_unmet: Vec<Place>,
    /// The jobs of the event at hand, kept for its room.
    jobs: Vec<Job>,
}

impl Checker {
    /// Checkers for a history with this header.
    pub fn new(header: &Header) -> Self {
        Self {
            ledger: Ledger::new(header.clone()),
            families: vec![
                Box::new(job::Job::default()),
                Box::new(retry::Retry::default()),
                Box::new(backoff::Backoff::default()),
                Box::new(timeout::Timeout::default()),
                Box::new(dead_letter::DeadLetter::default()),
                Box::new(rate::Rate::default()),
                Box::new(batch::Batch::default()),
                Box::new(dedup::Dedup::default()),
                Box::new(schedule::Schedule::default()),
                Box::new(priority::Priority::default()),
                Box::new(status::Status::default()),
                Box::new(notify::Notify::default()),
            ],
            notes: Notes::default(),
            needs_unmet: Place::all().filter(|place| !header.can_judge(place.clause())).collect(),
            jobs: Vec::new(),
        }
    }

    /// Reads the event at `line`.
    pub fn see(&mut self, line: u64, event: &Event) {
        self.ledger.pass(event.at);
        let named = Named::of(&event.what, &mut self.ledger.known, &mut self.jobs);
        let asked = match &event.what {
            What::Reply(it) => self.ledger.asked(it.op),
            _ => None,
        };
        let seen = Seen { line, event, named, jobs: &self.jobs, asked, ledger: &self.ledger };
        for family in &mut self.families {
            family.see(&seen, &mut self.notes);
        }
        self.ledger.apply(line, event, named, &self.jobs);
    }

    /// How often jobs were delivered again so far, by cause; `None` where the player could not see enough to tell.
    pub fn causes(&self) -> Option<Causes> {
        let is_seen = !self.needs_unmet.contains(&retry::CAUSED);
        is_seen.then(|| self.notes.causes())
    }

    /// The verdict on all that was read. A clause whose needs the player could not see is not exercised.
    pub fn finish(mut self) -> Verdict {
        for family in &mut self.families {
            family.finish(&self.ledger, &mut self.notes);
        }
        self.notes.verdict_without(&self.needs_unmet)
    }
}

/// Reads a whole history and judges it.
pub fn check<R: BufRead>(reader: history::Reader<R>) -> Result<Verdict, history::Error> {
    let mut checker = Checker::new(reader.header());
    for read in reader {
        let (line, event) = read?;
        checker.see(line, &event);
    }
    Ok(checker.finish())
}

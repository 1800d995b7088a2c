//! `dead-letter/redrive`: each redrive that is acknowledged puts a dead letter back once, with fresh attempts.
//!
//! A redrive whose reply was lost may have done so or not. That a redriven job is out of its dead letter queue is judged
//! where those are read.

use super::spent::Spent;
use crate::check::ledger::{EndHow, Ledger, Question};
use crate::check::number::Job;
use crate::check::print::Table;
use crate::check::{Seen, counted};
use crate::clause::Place;
use crate::history::{Lease, Redriven, Reply, Settled, Then, Told, What};
use crate::verdict::Notes;

const REDRIVE: Place = Place::of("dead-letter/redrive");

#[derive(Default)]
pub(super) struct Redrives {
    jobs: Table<Job, Account>,
}

/// The redrives of one job.
#[derive(Default)]
struct Account {
    /// Asked for and not refused.
    asked: u64,
    /// Acknowledged.
    acknowledged: u64,
    /// Done, by the queue's word.
    done: u64,
    /// Whether the next delivery is the first since.
    fresh: bool,
    told: bool,
    lines: Vec<u64>,
}

impl Redrives {
    pub(super) fn see(&mut self, seen: &Seen<'_>, spent: &Spent, notes: &mut Notes) {
        match &seen.event.what {
            What::Redrive(_) => {
                let account = self.jobs.at(seen.named.job);
                account.asked += 1;
                account.lines.push(seen.line);
            }
            What::Reply(it) => self.answer(seen, it, notes),
            What::Redriven(it) => self.redrive(seen, it, spent, notes),
            What::Granted(it) => {
                for (lease, &job) in it.jobs.iter().zip(seen.jobs) {
                    self.grant(seen, lease, job, notes);
                }
            }
            What::Settled(it) if it.accepted => self.settle(seen, it, notes),
            What::Drained(_) => self.finish(seen.ledger, notes),
            _ => {}
        }
    }

    /// Every acknowledged redrive must have been done by now.
    pub(super) fn finish(&mut self, ledger: &Ledger, notes: &mut Notes) {
        for job in ledger.known.jobs.in_order(self.jobs.keys()) {
            let Some(account) = self.jobs.get_mut(job) else { continue };
            let job = ledger.job_name(job);
            if account.done < account.acknowledged {
                let (acknowledged, done) = (account.acknowledged, account.done);
                account.tell(
                    format!(
                        "{acknowledged} redrives of {job} were acknowledged, but it was put back {}",
                        counted(done, "time")
                    ),
                    None,
                    notes,
                );
            }
        }
    }

    fn answer(&mut self, seen: &Seen<'_>, reply: &Reply, notes: &mut Notes) {
        let Some(asked) = seen.asked else {
            return;
        };
        let Question::Redrive = asked.what else {
            return;
        };
        let Some(account) = self.jobs.get_mut(asked.named.job) else {
            return;
        };
        account.lines.push(seen.line);
        match reply.outcome {
            Told::Ok => {
                notes.exercised(REDRIVE);
                account.acknowledged += 1;
            }
            Told::Refused => account.asked -= 1,
            Told::Unknown => {}
        }
        account.judge_excess(seen.ledger.job_name(asked.named.job), notes);
    }

    fn redrive(&mut self, seen: &Seen<'_>, it: &Redriven, spent: &Spent, notes: &mut Notes) {
        notes.exercised(REDRIVE);
        let account = self.jobs.at(seen.named.job);
        account.lines.push(seen.line);
        account.done += 1;
        account.fresh = true;
        account.judge_excess(&it.job, notes);
        let end = seen.ledger.ended(seen.named.job);
        let why = match end.map(|end| end.how) {
            _ if spent.get(seen.named.job).is_some() => return,
            Some(EndHow::Completed) => return, // `retry/stops` tells of that.
            Some(how) => format!("it had {}", how.words()),
            None if seen.ledger.live(seen.named.job).is_some() => "it had not ended".into(),
            None => "there was no such job".into(),
        };
        let says = format!("{} was put back at clock {}, but was no dead letter: {why}", it.job, it.clock);
        account.tell(says, None, notes);
    }

    fn grant(&mut self, seen: &Seen<'_>, lease: &Lease, job: Job, notes: &mut Notes) {
        let Some(account) = self.jobs.get_mut(job).filter(|account| account.fresh) else {
            return;
        };
        account.fresh = false;
        notes.exercised(REDRIVE);
        if lease.attempt != 1 {
            let says = format!(
                "the first delivery of {} after it was put back has the number {}, not 1",
                lease.job, lease.attempt,
            );
            account.tell(says, Some(seen.line), notes);
        }
    }

    /// Given up again, a redriven job must have had all its attempts again.
    fn settle(&mut self, seen: &Seen<'_>, it: &Settled, notes: &mut Notes) {
        if !matches!(it.then, Some(Then::Failed | Then::DeadLetter)) {
            return;
        }
        let Some(account) = self.jobs.get_mut(seen.named.job).filter(|account| 0 < account.done) else {
            return;
        };
        let Some(live) = seen.ledger.live(seen.named.job) else {
            return;
        };
        let max = seen.ledger.policy(live.queue).and_then(|policy| policy.attempts.max());
        let Some(max) = max.filter(|&max| live.attempts.len() < max as usize) else {
            return;
        };
        let says = format!(
            "{} was put back with {max} fresh attempts, but was given up again after {}",
            it.job,
            live.attempts.len(),
        );
        account.tell(says, Some(seen.line), notes);
    }
}

impl Account {
    fn judge_excess(&mut self, job: &str, notes: &mut Notes) {
        if self.asked < self.done {
            let (asked, done) = (self.asked, self.done);
            let says = format!(
                "{job} was put back {}, but only {asked} redrives can have done that (asked for and not refused)",
                counted(done, "time")
            );
            self.tell(says, None, notes);
        }
    }

    fn tell(&mut self, says: String, line: Option<u64>, notes: &mut Notes) {
        if !std::mem::replace(&mut self.told, true) {
            notes.broken(REDRIVE, says, self.lines.iter().copied().chain(line).collect());
        }
    }
}

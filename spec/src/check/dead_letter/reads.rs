//! `dead-letter/exactly` and `dead-letter/none`: what a read of a dead letter queue shows against what belongs in it.
//!
//! A read races with what happens between its question and its answer: whatever came to be or went in between may be there
//! or not.

use std::collections::BTreeSet;

use super::intact;
use super::spent::Spent;
use crate::check::Seen;
use crate::check::number::{Job, Queue};
use crate::clause::Place;
use crate::history::{DeadLetters, What};
use crate::queues::Policy;
use crate::verdict::Notes;

const EXACTLY: Place = Place::of("dead-letter/exactly");
const NONE: Place = Place::of("dead-letter/none");
const REDRIVE: Place = Place::of("dead-letter/redrive");

#[derive(Default)]
pub(super) struct Reads {
    /// The line and time of the last `drained`: what was dead before it is surely dead in a read asked for after it.
    drained: Option<(u64, u64)>,
    /// Queues that have given deliveries, so that jobs of theirs could have gone astray.
    used: BTreeSet<Queue>,
    /// Entries that should not be there and have been told of, with the clause.
    told: BTreeSet<(Place, String, Job)>,
}

impl Reads {
    pub(super) fn see(&mut self, seen: &Seen<'_>, spent: &mut Spent, notes: &mut Notes) {
        match &seen.event.what {
            What::DeadLetters(it) => {
                self.missing(seen, it, spent, notes);
                self.superfluous(seen, it, spent, notes);
                intact::see(seen, it, spent, notes);
            }
            What::Drained(_) => self.drained = Some((seen.line, seen.event.at)),
            What::Granted(_) => drop(self.used.insert(seen.named.queue)),
            _ => {}
        }
    }

    fn missing(&self, seen: &Seen<'_>, read: &DeadLetters, spent: &mut Spent, notes: &mut Notes) {
        let held: BTreeSet<Job> = seen.jobs.iter().copied().collect();
        for job in seen.ledger.known.jobs.in_order(spent.belonging(&read.dead_letter_queue)) {
            let Some(dead) = spent.get_mut(job) else { continue };
            if !self.was_dead(dead.at, dead.lines.last().copied(), read.asked_at) {
                continue;
            }
            notes.exercised(EXACTLY);
            if held.contains(&job) || !dead.told.insert(EXACTLY) {
                continue;
            }
            let word = if dead.by_word { "a dead letter" } else { "no dead letter" };
            let says = format!(
                "the last of {} attempts of {} ({}) ended at {}, but it is not in {} as read at {}; the queue called \
                 it {word}",
                dead.attempts.len(),
                seen.ledger.job_name(job),
                seen.ledger.queue_name(dead.queue),
                dead.at,
                read.dead_letter_queue,
                seen.event.at,
            );
            let lines = dead.lines.iter().copied().chain([seen.line]).collect();
            notes.broken(EXACTLY, says, lines);
        }
    }

    /// Whether what died at `at`, on line `line`, was dead when the question was sent.
    fn was_dead(&self, at: u64, line: Option<u64>, asked_at: u64) -> bool {
        let before_drained = self
            .drained
            .is_some_and(|(drained, drained_at)| drained_at <= asked_at && line.is_some_and(|line| line < drained));
        at < asked_at || before_drained
    }

    fn superfluous(&mut self, seen: &Seen<'_>, read: &DeadLetters, spent: &Spent, notes: &mut Notes) {
        let here = |policy: &Policy| policy.dead_letter_queue.as_ref() == Some(&read.dead_letter_queue);
        let queue = seen.ledger.queues().find(|(_, policy)| here(policy));
        if queue.is_some_and(|(queue, _)| self.used.contains(&queue)) || !read.entries.is_empty() {
            notes.exercised(NONE);
        }
        let mut once = BTreeSet::new();
        for (entry, &job) in read.entries.iter().zip(seen.jobs) {
            if !once.insert(job) {
                let says = format!("{} is in {} twice", entry.job, read.dead_letter_queue);
                self.tell(EXACTLY, job, read, says, vec![seen.line], notes);
                continue;
            }
            if let Some((clause, says, mut lines)) = stray(seen, read, spent, job, &entry.job) {
                lines.push(seen.line);
                self.tell(clause, job, read, says, lines, notes);
            }
        }
    }

    fn tell(&mut self, clause: Place, job: Job, read: &DeadLetters, says: String, lines: Vec<u64>, notes: &mut Notes) {
        if self.told.insert((clause, read.dead_letter_queue.clone(), job)) {
            notes.broken(clause, says, lines);
        }
    }
}

/// Why `job` should not be where it was read, if so: the clause that it breaks, the reason and the lines before.
fn stray(
    seen: &Seen<'_>,
    read: &DeadLetters,
    spent: &Spent,
    number: Job,
    job: &str,
) -> Option<(Place, String, Vec<u64>)> {
    let here = &read.dead_letter_queue;
    if let Some(dead) = spent.get(number) {
        if !dead.has_policy {
            return None;
        }
        let (queue, lines) = (seen.ledger.queue_name(dead.queue), dead.lines.clone());
        if dead.dead_letter_queue.as_ref() != Some(here) {
            return Some((NONE, format!("{job} of the queue {queue} is in {here}"), lines));
        }
        let had = dead.attempts.len();
        let says = || format!("{job} ({queue}) is in {here} after {had} attempts, with some left");
        return (!dead.by_promise).then(|| (NONE, says(), lines));
    }
    if let Some(gone) = spent.gone(number) {
        let (clause, what) = if gone.redriven { (REDRIVE, "put back into its queue") } else { (NONE, "dropped") };
        let says = || format!("{job} was {what} at {}, but is in {here} as asked for at {}", gone.at, read.asked_at);
        return (gone.at < read.asked_at).then(|| (clause, says(), vec![gone.line]));
    }
    if let Some(live) = seen.ledger.live(number) {
        let says = format!("{job} ({}) is in {here}, but has not ended", seen.ledger.queue_name(live.queue));
        return Some((NONE, says, live.lines_and(seen.line)[..].split_last()?.1.to_vec()));
    }
    let Some(end) = seen.ledger.ended(number) else {
        return Some((NONE, format!("{job} is in {here}, but no such job was accepted"), Vec::new()));
    };
    let says = format!("{job} is in {here}, but had {} at clock {}", end.how.words(), end.clock);
    Some((NONE, says, vec![end.line]))
}

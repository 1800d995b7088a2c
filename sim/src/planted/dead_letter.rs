//! Bugs of the family `dead-letter`: who is in a dead letter queue, with what, and how they come back.

use std::collections::{BTreeMap, BTreeSet};

use kew_runtime::store::{Answer, Command, DeadLetterRow, Ending, Outcome, Reader, Rows, Settle, Store, Then};
use serde_json::Value;

use super::Bug;
use super::alter::{self, StoreBug};
use super::plant::{decision, reader, store};

/// How much of an error a narrow column keeps.
const ERROR_BYTES: usize = 12;

pub(super) const BUGS: &[Bug] = &[
    store("dead-letter-lost", "dead-letter/exactly", "The dead letter is not kept.", |store| unburied(store, |_| true)),
    decision(
        "failed-without-dead-letter",
        "dead-letter/exactly",
        "A job whose attempts are spent just fails.",
        |store| unburied(store, |_| true),
    ),
    decision(
        "dead-of-a-crash-just-fails",
        "dead-letter/exactly",
        "A job whose last attempt was lost is no dead letter.",
        |store| unburied(store, |it| matches!(it.outcome, Outcome::Lost(_))),
    ),
    store("second-death-not-buried", "dead-letter/exactly", "A redriven job that dies again is not kept.", |store| {
        alter::store(store, SecondDeath::default())
    }),
    reader("dead-letter-doubled", "dead-letter/exactly", "A dead letter is kept twice.", |inner| {
        dead_letters(inner, |dead| dead.extend(dead.first().cloned()))
    }),
    store(
        "dead-letter-of-others",
        "dead-letter/none",
        "Jobs of queues without one land in a dead letter queue.",
        |store| {
            alter::settles(store, |it| {
                if it.then == Then::Fail {
                    it.then = Then::DeadLetter("pdf_generation_dlq".into());
                }
            })
        },
    ),
    store("purge-forgotten", "dead-letter/none", "A dead letter that was dropped is still there.", |store| {
        alter::store(store, Unheard(|command| matches!(command, Command::Purge { .. })))
    }),
    decision(
        "dead-at-a-timeout",
        "dead-letter/none",
        "A timeout sends a job to the dead letters with attempts left.",
        |store| alter::store(store, DeadAtTimeout::default()),
    ),
    reader("dead-letter-without-error", "dead-letter/intact", "A dead letter does not say why it died.", |inner| {
        dead_letters(inner, |dead| dead.iter_mut().for_each(|dead| dead.job.error = Some(String::new())))
    }),
    reader(
        "dead-letter-forgets-attempts",
        "dead-letter/intact",
        "A dead letter keeps its last attempt alone.",
        |inner| {
            dead_letters(inner, |dead| {
                dead.iter_mut().for_each(|dead| drop(dead.attempts.drain(..dead.attempts.len().saturating_sub(1))));
            })
        },
    ),
    reader(
        "dead-letter-attempts-all-at-death",
        "dead-letter/intact",
        "All attempts of a dead letter ended when it died.",
        |inner| {
            dead_letters(inner, |dead| {
                dead.iter_mut().for_each(|dead| dead.attempts.iter_mut().for_each(|it| it.ended_ms = dead.died_ms));
            })
        },
    ),
    reader(
        "dead-letter-payload-written-anew",
        "dead-letter/intact",
        "A dead letter's payload is written anew.",
        |inner| {
            dead_letters(inner, |dead| {
                for dead in dead {
                    let value: Value = serde_json::from_str(dead.job.payload.get()).unwrap_or_default();
                    dead.job.payload = serde_json::value::to_raw_value(&value).expect("a value is JSON");
                }
            })
        },
    ),
    store("errors-cut-short", "dead-letter/intact", "Only the beginning of an error is kept.", |store| {
        alter::settles(store, |it| {
            if let Outcome::Failed(error) | Outcome::TimedOut(error) | Outcome::Lost(error) = &mut it.outcome {
                error.truncate(error.floor_char_boundary(ERROR_BYTES));
            }
        })
    }),
    decision(
        "bullmq-3555-redrive-keeps-the-count",
        "dead-letter/redrive",
        "A redriven job has no attempts left.",
        |store| alter::store(store, KeepsCount::default()),
    ),
    store(
        "redrive-acknowledged-and-forgotten",
        "dead-letter/redrive",
        "A redrive is acknowledged and not done.",
        |store| alter::store(store, Unheard(|command| matches!(command, Command::Redrive { .. }))),
    ),
    store(
        "redriven-attempts-count-on",
        "dead-letter/redrive",
        "The attempts of a redriven job are numbered on from before.",
        |store| super::retry::renumbered(store, |lease| lease.fence),
    ),
    reader(
        "redriven-listed-still",
        "dead-letter/redrive",
        "A redriven job is still among the dead letters.",
        |inner| {
            let mut dead = BTreeMap::new();
            alter::reader(inner, move |rows| list_still(&mut dead, rows))
        },
    ),
];

/// Lets `alter` change the dead letters that are read.
fn dead_letters(
    inner: Box<dyn Reader>,
    mut alter: impl FnMut(&mut Vec<DeadLetterRow>) + Send + 'static,
) -> Box<dyn Reader> {
    alter::reader(inner, move |rows| {
        if let Rows::DeadLetters(dead) = rows {
            alter(dead);
        }
    })
}

/// Lists all that has ever been seen to be dead.
fn list_still(dead: &mut BTreeMap<String, DeadLetterRow>, rows: &mut Rows) {
    match rows {
        Rows::Jobs(jobs) => {
            for job in jobs.iter().filter(|job| job.dead_letter_queue.is_some()) {
                let died_ms = job.updated_ms;
                dead.insert(job.id.clone(), DeadLetterRow { job: job.clone(), died_ms, attempts: Vec::new() });
            }
        }
        Rows::DeadLetters(listed) => {
            let known: BTreeSet<_> = listed.iter().map(|dead| dead.job.id.clone()).collect();
            listed.extend(dead.values().filter(|dead| !known.contains(&dead.job.id)).cloned());
        }
        _ => {}
    }
}

/// Dead letters of choice just fail.
fn unburied(inner: Box<dyn Store>, choice: fn(&Settle) -> bool) -> Box<dyn Store> {
    alter::settles(inner, move |it| {
        if matches!(it.then, Then::DeadLetter(_)) && choice(it) {
            it.then = Then::Fail;
        }
    })
}

/// The jobs that have been put back.
#[derive(Default)]
struct SecondDeath {
    redriven: BTreeSet<String>,
}

impl StoreBug for SecondDeath {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Redrive { job, .. } => drop(self.redriven.insert(job.clone())),
            Command::Settle(it) if self.redriven.contains(&it.lease.job) => {
                if matches!(it.then, Then::DeadLetter(_)) {
                    it.then = Then::Fail;
                }
            }
            _ => {}
        }
        None
    }
}

/// Commands of choice are acknowledged, and the store never hears of them.
struct Unheard(fn(&Command) -> bool);

impl StoreBug for Unheard {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        (self.0)(command).then_some(Answer::Ended(Ending::Done))
    }
}

/// The dead letter queues, as far as they have been used.
#[derive(Default)]
struct DeadAtTimeout {
    dead_letter_queues: BTreeMap<String, String>,
}

impl StoreBug for DeadAtTimeout {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        let Command::Settle(it) = command else { return None };
        if let Then::DeadLetter(to) = &it.then {
            self.dead_letter_queues.insert(it.lease.queue.clone(), to.clone());
        } else if let (Then::RetryAt(_), Outcome::TimedOut(_) | Outcome::Lost(_)) = (&it.then, &it.outcome)
            && let Some(to) = self.dead_letter_queues.get(&it.lease.queue)
        {
            it.then = Then::DeadLetter(to.clone());
        }
        None
    }
}

/// The jobs that have been put back, and where they died.
#[derive(Default)]
struct KeepsCount {
    died: BTreeMap<String, String>,
    redriven: BTreeSet<String>,
}

impl StoreBug for KeepsCount {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        match command {
            Command::Redrive { job, .. } => drop(self.redriven.insert(job.clone())),
            Command::Settle(Settle { lease, then, .. }) => match then {
                Then::DeadLetter(to) => drop(self.died.insert(lease.job.clone(), to.clone())),
                Then::RetryAt(_) if self.redriven.contains(&lease.job) => {
                    if let Some(to) = self.died.get(&lease.job) {
                        *then = Then::DeadLetter(to.clone());
                    }
                }
                _ => {}
            },
            _ => {}
        }
        None
    }
}

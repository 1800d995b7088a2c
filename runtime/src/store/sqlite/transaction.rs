//! One transaction: a slice of commands, all of them or none.

use rusqlite::Connection;

use super::ready::Ready;
use super::statement::{atomically, failed};
use super::{claim, dead_letter, enqueue, finish, settle, upkeep};
use crate::store::{Answer, Command, Error};

/// A transaction in the making.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    /// Told of every change of a `ready_ms`.
    pub(super) ready: &'a mut Ready,
    /// The version of the newest accepted payload.
    version: u64,
}

impl Transaction<'_> {
    /// The version of a payload that is being accepted.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}

/// Applies `commands` in order.
pub(super) fn apply(connection: &Connection, ready: &mut Ready, commands: &[Command]) -> Result<Vec<Answer>, Error> {
    let Some(now_ms) = commands.iter().map(now_ms).max() else { return Ok(Vec::new()) };
    let answers = atomically(connection, "BEGIN IMMEDIATE", || {
        let version = number(connection, "version")?;
        let mut transaction = Transaction { connection, ready: &mut *ready, version };
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let answer = carry_out(&mut transaction, command);
            answers.push(answer.map_err(|error| failed(purpose(command), &error))?);
        }
        raise(connection, "version", transaction.version)?;
        raise(connection, "last_ms", now_ms)?;
        Ok(answers)
    });
    if answers.is_err() {
        // It went along with changes that did not take place.
        ready.forget();
    }
    answers
}

fn number(connection: &Connection, key: &str) -> Result<u64, Error> {
    upkeep::number(connection, key).map_err(|error| failed(format!("read the number {key}"), &error))
}

fn raise(connection: &Connection, key: &str, value: u64) -> Result<(), Error> {
    upkeep::raise(connection, key, value).map_err(|error| failed(format!("write the number {key}"), &error))
}

fn carry_out(transaction: &mut Transaction<'_>, command: &Command) -> rusqlite::Result<Answer> {
    match command {
        Command::Enqueue(job) => enqueue::enqueue(transaction, job),
        Command::Claim(claim) => claim::claim(transaction, claim).map(Answer::Claimed),
        Command::Settle(settle) => settle::settle(transaction, settle).map(|accepted| Answer::Settled { accepted }),
        Command::Cancel { job, user, now_ms } => {
            finish::cancel(transaction, job, user.as_deref(), *now_ms).map(Answer::Ended)
        }
        Command::Pause { queue, paused, .. } => upkeep::pause(transaction, queue, *paused).map(|()| Answer::Done),
        Command::Redrive { job, ready_ms, now_ms } => {
            dead_letter::redrive(transaction, job, *ready_ms, *now_ms).map(Answer::Ended)
        }
        Command::Purge { job, .. } => dead_letter::purge(transaction, job).map(Answer::Ended),
        Command::Told { through, .. } => upkeep::raise(transaction.connection, "told", *through).map(|()| Answer::Done),
        Command::Prune { now_ms } => upkeep::prune(transaction, *now_ms).map(|()| Answer::Done),
    }
}

fn now_ms(command: &Command) -> u64 {
    match command {
        Command::Enqueue(job) => job.now_ms,
        Command::Claim(claim) => claim.now_ms,
        Command::Settle(settle) => settle.now_ms,
        Command::Cancel { now_ms, .. }
        | Command::Pause { now_ms, .. }
        | Command::Redrive { now_ms, .. }
        | Command::Purge { now_ms, .. }
        | Command::Told { now_ms, .. }
        | Command::Prune { now_ms } => *now_ms,
    }
}

/// What a command is for, as it reads after "failed to".
fn purpose(command: &Command) -> String {
    match command {
        Command::Enqueue(job) => format!("enqueue job {}", job.id),
        Command::Claim(claim) => format!("claim from {}", claim.queue),
        Command::Settle(settle) => format!("settle {}", settle.lease),
        Command::Cancel { job, .. } => format!("cancel job {job}"),
        Command::Pause { queue, paused: true, .. } => format!("pause {queue}"),
        Command::Pause { queue, paused: false, .. } => format!("resume {queue}"),
        Command::Redrive { job, .. } => format!("redrive job {job}"),
        Command::Purge { job, .. } => format!("purge job {job}"),
        Command::Told { through, .. } => format!("remember that end {through} was told"),
        Command::Prune { .. } => "forget what is past its time".into(),
    }
}

//! One transaction: the commands between two commits, all of them or none.

use std::rc::Rc;

use rusqlite::Connection;

use super::lines::Lines;
use super::statement::{Prepared, Statements, failed};
use super::together::Together;
use super::{claim, dead_letter, enqueue, finish, prune, settle, upkeep};
use crate::store::{Answer, Claim, Command, Error};
use crate::timestamp;

/// What a transaction that is under way has come to; written when it ends.
#[derive(Debug)]
pub(super) struct Open {
    /// The version of the newest accepted payload.
    version: u64,
    /// The number of the newest end.
    ended: u64,
    /// The latest time that a command carried.
    last_ms: u64,
}

/// Commands of a transaction as they are carried out.
pub(super) struct Transaction<'a, 'c> {
    pub(super) connection: &'a Prepared<'c>,
    /// Told of every change of what is live.
    pub(super) lines: &'a mut Lines,
    /// What is still to be written for many jobs at once.
    pub(super) together: Together,
    open: &'a mut Open,
    /// The last time that was written as text: most commands of a transaction carry the same one.
    stamp: (u64, Rc<str>),
}

impl Transaction<'_, '_> {
    /// The version of the newest accepted payload.
    pub(super) fn newest_version(&self) -> u64 {
        self.open.version
    }

    /// The version of a payload that is being accepted.
    pub(super) fn next_version(&mut self) -> u64 {
        self.open.version += 1;
        self.open.version
    }

    /// The number of a final end.
    pub(super) fn next_end(&mut self) -> u64 {
        self.open.ended += 1;
        self.open.ended
    }

    /// A time as `job_status` holds it.
    pub(super) fn stamp(&mut self, ms: u64) -> Rc<str> {
        if self.stamp.0 != ms {
            self.stamp = (ms, timestamp::sql(ms).into());
        }
        self.stamp.1.clone()
    }
}

/// Applies `commands` in order, in the transaction that is under way or a new one.
pub(super) fn apply(
    connection: &Connection,
    lines: &mut Lines,
    open: &mut Option<Open>,
    commands: &[Command],
) -> Result<Vec<Answer>, Error> {
    let Some(now_ms) = commands.iter().map(now_ms).max() else { return Ok(Vec::new()) };
    let open = match open {
        Some(open) => open,
        None => open.insert(begin(connection)?),
    };
    open.last_ms = open.last_ms.max(now_ms);
    let prepared = Prepared::new(connection);
    let (together, stamp) = (Together::default(), (now_ms, timestamp::sql(now_ms).into()));
    let mut transaction = Transaction { connection: &prepared, lines, together, open, stamp };
    let mut answers = Vec::with_capacity(commands.len());
    for alike in commands.chunk_by(share) {
        carry_out(&mut transaction, alike, &mut answers)?;
        let last = alike.last().map(purpose).unwrap_or_default();
        transaction.together.write(&prepared).map_err(|error| failed(last, &error))?;
    }
    Ok(answers)
}

fn begin(connection: &Connection) -> Result<Open, Error> {
    connection.run("BEGIN IMMEDIATE", []).map_err(|error| failed("begin a transaction", &error))?;
    Ok(Open { version: number(connection, "version")?, ended: number(connection, "ended")?, last_ms: 0 })
}

/// Ends the transaction that is under way, if there is one.
pub(super) fn commit(connection: &Connection, lines: &mut Lines, open: &mut Option<Open>) -> Result<(), Error> {
    let Some(Open { version, ended, last_ms }) = open.take() else { return Ok(()) };
    raise(connection, "version", version)?;
    raise(connection, "ended", ended)?;
    raise(connection, "last_ms", last_ms)?;
    let noted = upkeep::note_depths(connection, lines);
    noted.map_err(|error| failed("write how many jobs the queues hold", &error))?;
    connection.run("COMMIT", []).map_err(|error| failed("commit", &error))?;
    Ok(())
}

fn number(connection: &impl Statements, key: &str) -> Result<u64, Error> {
    upkeep::number(connection, key).map_err(|error| failed(format!("read the number {key}"), &error))
}

fn raise(connection: &impl Statements, key: &str, value: u64) -> Result<(), Error> {
    upkeep::raise(connection, key, value).map_err(|error| failed(format!("write the number {key}"), &error))
}

/// Whether two commands that follow each other share statements: none of these looks in the file for what another of its
/// kind has collected in [`Together`]. A cancel, say, does.
fn share(one: &Command, next: &Command) -> bool {
    matches!(
        (one, next),
        (Command::Enqueue(_), Command::Enqueue(_))
            | (Command::Claim(_), Command::Claim(_))
            | (Command::Settle(_), Command::Settle(_))
    )
}

/// Carries out one command, or several that share statements.
fn carry_out(transaction: &mut Transaction<'_, '_>, alike: &[Command], answers: &mut Vec<Answer>) -> Result<(), Error> {
    let claims: Vec<&Claim> = alike
        .iter()
        .filter_map(|command| match command {
            Command::Claim(claim) => Some(claim),
            _ => None,
        })
        .collect();
    if let [first, ..] = claims[..] {
        let claimed = claim::claim(transaction, &claims);
        let claimed = claimed.map_err(|error| failed(format!("claim from {}", first.queue), &error))?;
        answers.extend(claimed.into_iter().map(Answer::Claimed));
        return Ok(());
    }
    for command in alike {
        let answer = carry_out_alone(transaction, command);
        answers.push(answer.map_err(|error| failed(purpose(command), &error))?);
    }
    Ok(())
}

fn carry_out_alone(transaction: &mut Transaction<'_, '_>, command: &Command) -> rusqlite::Result<Answer> {
    match command {
        Command::Enqueue(job) => enqueue::enqueue(transaction, job),
        Command::Claim(_) => unreachable!("claims are carried out together"),
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
        Command::Prune { ended_before_ms, now_ms } => {
            prune::prune(transaction, *ended_before_ms, *now_ms).map(|more| Answer::Pruned { more })
        }
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
        | Command::Prune { now_ms, .. } => *now_ms,
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

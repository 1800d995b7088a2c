//! What one turn of the writer has done, and who asked for it. They are told once it is durable, or that it failed.

use tokio::sync::oneshot;

use super::waiting::Waiting;
use super::{EnqueuedJob, Pulled, Refusal, Response};
use crate::store::{Answer, Command, Ending, Error, How};

/// A turn, whose changes take place as a whole or not at all.
#[derive(Default)]
pub(super) struct Turn {
    /// Whether the store has something to commit.
    pub(super) is_applied: bool,
    /// Whether a job may have ended.
    pub(super) has_ended: bool,
    asked: Vec<Asked>,
    /// What it became, once that was applied.
    pub(super) commands: Vec<Command>,
    /// Of all that was asked, in its order.
    answers: Vec<Answer>,
    pulled: Vec<(Waiting, Pulled)>,
}

/// A write request: how many commands it became, and where its answer goes.
struct Asked {
    commands: usize,
    kind: Kind,
    reply: oneshot::Sender<Result<Response, Refusal>>,
}

/// How a write request's answers are put together.
pub(super) enum Kind {
    /// What became of the first of several jobs, when it was asked for ahead of the others.
    Enqueue(Option<How>),
    Settle,
    Cancel(String),
    DeadLetter(String),
    Other,
}

impl Turn {
    /// Somebody asks for so many commands, after all that was asked before.
    pub(super) fn ask(&mut self, kind: Kind, commands: usize, reply: oneshot::Sender<Result<Response, Refusal>>) {
        self.asked.push(Asked { commands, kind, reply });
    }

    /// The answers to all that was asked.
    pub(super) fn answer(&mut self, answers: Vec<Answer>) {
        self.answers = answers;
    }

    /// A pull is given this.
    pub(super) fn give(&mut self, waiting: Waiting, pulled: Pulled) {
        self.pulled.push((waiting, pulled));
    }

    /// All of it is durable. Whoever asked may be gone; what was asked is done all the same.
    pub(super) fn tell(self, now_ms: u64) {
        let mut answers = self.answers.into_iter();
        for it in self.asked {
            let own = answers.by_ref().take(it.commands).collect();
            let _ = it.reply.send(response(&it.kind, own));
        }
        for (waiting, pulled) in self.pulled {
            waiting.answer(pulled, now_ms);
        }
    }

    /// It is not, or not for certain.
    pub(super) fn refuse(mut self, error: &Error) {
        self.refuse_pulls(error);
        for it in self.asked {
            let _ = it.reply.send(Err(refusal(error)));
        }
    }

    /// Nothing is given.
    pub(super) fn refuse_pulls(&mut self, error: &Error) {
        for (waiting, _) in self.pulled.drain(..) {
            waiting.refuse(refusal(error));
        }
    }
}

fn refusal(error: &Error) -> Refusal {
    Refusal::Unavailable(format!("failed to {error}; it may or may not be done"))
}

/// Puts the answers to one request's commands together.
fn response(kind: &Kind, answers: Vec<Answer>) -> Result<Response, Refusal> {
    match kind {
        Kind::Enqueue(first) => {
            let several = 1 < answers.len();
            let jobs = answers.into_iter().map(enqueued).collect::<Result<Vec<_>, _>>();
            let mut jobs = jobs.map_err(|refusal| if several { of_several(refusal) } else { refusal })?;
            if let (Some(how), Some(job)) = (first, jobs.first_mut()) {
                job.how = *how;
            }
            Ok(Response::Enqueued(jobs))
        }
        Kind::Settle => {
            let held = |answer| matches!(answer, Answer::Settled { accepted: true });
            Ok(Response::Settled(answers.into_iter().map(held).collect()))
        }
        Kind::Cancel(job) => ended(job, answers, "has ended already; only a job that has not can be cancelled"),
        Kind::DeadLetter(job) => ended(job, answers, "is no dead letter"),
        Kind::Other => Ok(Response::Done),
    }
}

/// What became of one job that was to be made.
pub(super) fn enqueued(answer: Answer) -> Result<EnqueuedJob, Refusal> {
    match answer {
        Answer::Enqueued { job, how } => Ok(EnqueuedJob { id: job, how }),
        Answer::OthersEntity => Err(Refusal::Conflict(
            "a job of another user waits for the same key; ask again once it has begun, or use keys of your own".into(),
        )),
        _ => Err(Refusal::KeyReused(
            "the idempotency key was used for a different request; use a new key for a new request".into(),
        )),
    }
}

/// What is refused for another user's sake is only known when it is its turn.
fn of_several(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Conflict(reason) => Refusal::Conflict(format!("{reason}; all else that the list asks for is made")),
        other => other,
    }
}

fn ended(job: &str, answers: Vec<Answer>, not_allowed: &str) -> Result<Response, Refusal> {
    match answers.into_iter().next() {
        Some(Answer::Ended(Ending::Done)) => Ok(Response::Done),
        Some(Answer::Ended(Ending::NotAllowed)) => Err(Refusal::Conflict(format!("job {job} {not_allowed}"))),
        Some(Answer::Ended(Ending::KeyTaken)) => {
            let reason = "a newer job for the same key is live; purge this one, or wait for that one to end";
            Err(Refusal::Conflict(format!("job {job} cannot be redriven: {reason}")))
        }
        _ => Err(Refusal::NotFound(format!("there is no job {job}"))),
    }
}

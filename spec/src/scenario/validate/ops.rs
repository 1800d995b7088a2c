//! What a scenario may state of what clients and operators do.

use std::collections::BTreeMap;

use super::{Wrong, check_time, check_user, names};
use crate::queues::Queues;
use crate::scenario::{OpAct, OpSpec, Scenario};

/// Which of its three words an operation takes.
struct Takes {
    job: bool,
    queue: bool,
    /// `None`: it may have one.
    user: Option<bool>,
}

/// `labels` are those of all jobs, each with its queue.
pub(super) fn check(op: &OpSpec, scenario: &Scenario, labels: &BTreeMap<String, &str>, queues: &Queues) -> Wrong {
    check_time("at_ms", op.at_ms)?;
    let takes = takes(op.act);
    check_word("job", op.job.is_some(), Some(takes.job))?;
    check_word("queue", op.queue.is_some(), Some(takes.queue))?;
    check_word("user", op.user.is_some(), takes.user)?;
    if let Some(queue) = &op.queue
        && queues.get(queue).is_none()
    {
        return Err(format!("there is no queue {queue:?}; there are {}", names(queues)));
    }
    if let Some(label) = &op.job {
        check_job(op.act, label, labels, queues)?;
    }
    match &op.user {
        Some(user) => check_user_of(op.act, user, scenario),
        None => Ok(()),
    }
}

fn takes(act: OpAct) -> Takes {
    match act {
        OpAct::Cancel => Takes { job: true, queue: false, user: None },
        OpAct::Redrive | OpAct::Purge => Takes { job: true, queue: false, user: Some(false) },
        OpAct::Pause | OpAct::Resume => Takes { job: false, queue: true, user: Some(false) },
        OpAct::Disconnect | OpAct::Connect => Takes { job: false, queue: false, user: Some(true) },
    }
}

fn check_word(word: &str, given: bool, wanted: Option<bool>) -> Wrong {
    match (given, wanted) {
        (false, Some(true)) => Err(format!("it needs a {word}")),
        (true, Some(false)) => Err(format!("it takes no {word}; remove it")),
        _ => Ok(()),
    }
}

fn check_job(act: OpAct, label: &str, labels: &BTreeMap<String, &str>, queues: &Queues) -> Wrong {
    let Some(queue) = labels.get(label) else {
        return Err(format!("there is no job {label:?}; a job with a count has labels that end in its number"));
    };
    let dead_letters = queues.get(queue).is_some_and(|policy| policy.dead_letter_queue.is_some());
    if matches!(act, OpAct::Redrive | OpAct::Purge) && !dead_letters {
        return Err(format!("queue {queue} of job {label:?} has no dead letter queue"));
    }
    Ok(())
}

fn check_user_of(act: OpAct, user: &str, scenario: &Scenario) -> Wrong {
    if act != OpAct::Cancel && !scenario.job_specs.iter().any(|spec| spec.user == user) {
        return Err(format!("user {user:?} has no job"));
    }
    check_user(user)
}

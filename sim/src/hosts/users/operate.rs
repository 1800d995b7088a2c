//! What users and operators do besides enqueueing.

use std::time::Duration;

use axum::http::Method;
use kew_runtime::net::Client;
use kew_spec::history::{Cancel, Pause, Purge, Redrive, Reply, Resume, Told, What};
use kew_spec::scenario::{OpAct, OpSpec};

use super::session::Sessions;
use super::{OPERATOR, TIMEOUT, Users, enqueue};
use crate::clock;

/// How often an operation whose job is not there yet is tried: a redrive has to wait until its job has died.
const TRIES_MAX: u32 = 3;

/// How often an operator tries to resume a queue who is not answered: of a queue that stays paused nothing drains.
const RESUMES_MAX: u32 = 60;

/// How long to wait before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An operation, ready to be sent.
struct Call {
    what: What,
    op: u64,
    method: Method,
    path: String,
    token: String,
    /// The job that has its end before it again.
    redrives: Option<String>,
}

/// Does `op` at its time.
pub(super) async fn operate(users: Users, sessions: Sessions, op: OpSpec) {
    tokio::time::sleep(Duration::from_millis(op.at_ms)).await;
    match (op.act, &op.user) {
        (OpAct::Disconnect, Some(user)) => return sessions.set(user, false),
        (OpAct::Connect, Some(user)) => return sessions.set(user, true),
        _ => {}
    }
    let redriving = u32::from(op.act == OpAct::Redrive);
    users.known().redriving += redriving;
    let (tries, again_if) = match op.act {
        OpAct::Resume => (RESUMES_MAX, Told::Unknown),
        _ => (TRIES_MAX, Told::Refused),
    };
    for _ in 0..tries {
        let Some(call) = call(&users, &op) else { break };
        let client = users.client(&call.token);
        if send(&users, &client, call).await != again_if {
            break;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    users.known().redriving -= redriving;
}

/// Sends it.
async fn send(users: &Users, client: &Client, call: Call) -> Told {
    users.recorder.see(call.what);
    let reply = client.request(call.method, &call.path, &[], Vec::new(), TIMEOUT).await;
    let (outcome, error) = enqueue::told(reply);
    if let (Some(job), Told::Ok | Told::Unknown) = (call.redrives, outcome) {
        users.known().redrive(job, clock::now_ms());
    }
    users.recorder.see(Reply { op: call.op, outcome, job: None, error });
    outcome
}

/// The call that `it` makes; none if its job was never acknowledged.
fn call(users: &Users, it: &OpSpec) -> Option<Call> {
    let op = users.recorder.next_op();
    let queue = it.queue.clone().unwrap_or_default();
    let known = |label: &Option<String>| users.known().of_label.get(label.as_deref()?).cloned();
    let dead_letters = |job: &str| {
        let label = users.known().jobs.get(job).map(|(_, label)| label.clone())?;
        let policies = users.scenario.policies();
        policies.get(&users.script.get(&label)?.queue)?.dead_letter_queue.clone()
    };
    let (what, method, path, token) = match it.act {
        OpAct::Cancel => {
            let job = known(&it.job)?;
            let user = it.user.clone().or_else(|| users.known().jobs.get(&job).map(|(user, _)| user.clone()))?;
            let path = format!("/v1/jobs/{job}/cancel");
            (Cancel { op, user: user.clone(), job }.into(), Method::POST, path, user)
        }
        OpAct::Redrive => {
            let job = known(&it.job)?;
            let path = format!("/v1/dead-letters/{}/{job}/redrive", dead_letters(&job)?);
            (Redrive { op, job }.into(), Method::POST, path, OPERATOR.to_owned())
        }
        OpAct::Purge => {
            let job = known(&it.job)?;
            let path = format!("/v1/dead-letters/{}/{job}", dead_letters(&job)?);
            (Purge { op, job }.into(), Method::DELETE, path, OPERATOR.to_owned())
        }
        OpAct::Pause => {
            let path = format!("/v1/queues/{queue}/pause");
            (Pause { op, queue }.into(), Method::POST, path, OPERATOR.to_owned())
        }
        OpAct::Resume => {
            let path = format!("/v1/queues/{queue}/resume");
            (Resume { op, queue }.into(), Method::POST, path, OPERATOR.to_owned())
        }
        OpAct::Disconnect | OpAct::Connect => return None,
    };
    let redrives = (it.act == OpAct::Redrive).then(|| known(&it.job)).flatten();
    Some(Call { what, op, method, path, token, redrives })
}

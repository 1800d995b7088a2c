//! Carries what the harness asks to a queue in this process, and its answers back.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use super::handler::Calls;
use super::{Handler, Queue, Setup};
use crate::link::Local;
use crate::protocol::{Answer, Ask, Configured, Dead, Request, Said};

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Serves until the harness says goodbye or is gone.
pub(crate) async fn serve<Q: Queue>(queue: Arc<Q>, mut local: Local) {
    let calls = Arc::new(Calls::default());
    while let Some(Request { id, ask }) = local.requests.recv().await {
        let is_bye = ask == Ask::Bye;
        if let Ask::Outcome { invocation, jobs } = ask {
            calls.end(&invocation, jobs);
        } else if let Some(id) = id {
            let answering = answer(Arc::clone(&queue), ask, &calls, &local.said);
            reply(id, caught(answering), local.said.clone()).await;
        }
        if is_bye {
            return;
        }
    }
}

/// Requests are begun in their order, so that a queue which needs not wait keeps it; those that wait do so side by side.
async fn reply(id: u64, mut answering: Answering, said: UnboundedSender<Said>) {
    let first = poll_fn(|context| Poll::Ready(answering.as_mut().poll(context))).await;
    let say = move |answer| drop(said.send(Said::Reply { id, answer }));
    match first {
        Poll::Ready(answer) => say(answer),
        Poll::Pending => drop(tokio::spawn(async move { say(answering.await) })),
    }
}

/// A queue that panics is told of, in place of a wait for its answer.
fn caught(mut answering: Answering) -> Answering {
    Box::pin(poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Answer::Unknown("it panicked".into())))
    }))
}

fn answer<Q: Queue>(queue: Arc<Q>, ask: Ask, calls: &Arc<Calls>, said: &UnboundedSender<Said>) -> Answering {
    match ask {
        Ask::Hello(hello) => Box::pin(async move {
            hello.clock_ms.iter().for_each(|now_ms| queue.set_clock(*now_ms));
            done(Ok(queue.about()))
        }),
        Ask::Configure { queue: name, policy, slots, beside } => {
            let handler = Handler::new(name.clone(), Arc::clone(calls), said.clone());
            let setup = Setup { queue: name, policy: *policy, slots, beside };
            let configured = async move { queue.configure(setup, handler).await };
            Box::pin(async move { done(configured.await.map(|applied| Configured { applied: Some(applied) })) })
        }
        Ask::Enqueue(job) => Box::pin(async move { done(queue.enqueue(job).await) }),
        Ask::DeadLetters { queue: name } => {
            Box::pin(async move { done(queue.dead_letters(name).await.map(|jobs| Dead { jobs })) })
        }
        Ask::Status(which) => Box::pin(async move { done(queue.status(which).await) }),
        Ask::Redrive(which) => Box::pin(async move { done(queue.redrive(which).await) }),
        Ask::Cancel(which) => Box::pin(async move { done(queue.cancel(which).await) }),
        Ask::Pause { queue: name } => Box::pin(async move { done(queue.pause(name).await) }),
        Ask::Resume { queue: name } => Box::pin(async move { done(queue.resume(name).await) }),
        Ask::KillServer | Ask::StartServer | Ask::Advance { .. } => {
            Box::pin(async { Answer::Refused("it lives in this process".into()) })
        }
        Ask::Bye | Ask::Outcome { .. } => Box::pin(async { Answer::Ok(json!({})) }),
    }
}

fn done<T: Serialize>(answer: Result<T, String>) -> Answer {
    match answer {
        Ok(value) => Answer::Ok(serde_json::to_value(value).expect("an answer is JSON")),
        Err(why) => Answer::Refused(why),
    }
}

//! The worker's part: Kew's own processor, with one handler that reports every call and waits for its outcome.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::Remote;
use kew_runtime::net::TokioNet;
use kew_runtime::processor::{Delivery, Failure, Handler, Processor, Report};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::{Fault, LOOK, Line, address_file, answer, name_of, play_of, say, text};

/// Handlers that wait for their outcome, by invocation.
type Waiting = Arc<Mutex<BTreeMap<String, oneshot::Sender<Value>>>>;

/// Works until it is told to end.
pub(super) async fn run(dir: PathBuf, name: String, mut lines: UnboundedReceiver<Line>) {
    let waiting = Waiting::default();
    let mut plays: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (stop, _) = watch::channel(false);
    while let Some(line) = lines.recv().await {
        match line.op.as_str() {
            "configure" => {
                let queue = text(&line.asked, "queue");
                let play = play_of(&queue).to_owned();
                let queues = plays.entry(play.clone()).or_default();
                queues.push(queue);
                let wanted = line.asked.get("beside").and_then(Value::as_array).map_or(1, Vec::len);
                if queues.len() == wanted {
                    let slots = line.asked.get("slots").and_then(Value::as_u64).unwrap_or(1) as u32;
                    start(&dir, &name, &play, queues, slots, &waiting, stop.subscribe());
                }
                answer(line.id, Ok(json!({})));
            }
            "outcome" => {
                let invocation = text(&line.asked, "invocation");
                let handler = waiting.lock().expect("nobody panics with it").remove(&invocation);
                // One that is gone was stopped.
                let _ = handler.map(|handler| handler.send(line.asked));
            }
            "bye" => return answer(line.id, Ok(json!({}))),
            other => answer(line.id, Err(Fault::Refused(format!("a worker has no operation {other}")))),
        }
    }
}

/// Starts Kew's processor on the queues of a play.
fn start(
    dir: &std::path::Path,
    name: &str,
    play: &str,
    queues: &[String],
    slots: u32,
    waiting: &Waiting,
    stopped: watch::Receiver<bool>,
) {
    let handler = |queue: &String| {
        let told =
            Told { dir: dir.to_owned(), queue: queue.clone(), name: name.to_owned(), waiting: Arc::clone(waiting) };
        (queue.clone(), Arc::new(told) as Arc<dyn Handler>)
    };
    let handlers = queues.iter().map(handler).collect();
    let (name, address) = (name.to_owned(), address_file(dir, play));
    tokio::spawn(async move {
        let address = written(&address).await;
        let queue = Remote::for_processor(Arc::new(TokioNet), format!("http://{address}"), None);
        Processor { name, queue: Arc::new(queue), handlers, slots }.run(stopped).await;
    });
}

/// What the client writes into a file, once it has.
async fn written(path: &std::path::Path) -> String {
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if !text.is_empty() => return text,
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// The one handler.
struct Told {
    dir: PathBuf,
    queue: String,
    name: String,
    waiting: Waiting,
}

/// Says that a handler was stopped, if it goes before it has ended.
struct Ending {
    invocation: String,
    until: Instant,
    ended: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.ended {
            let why = if Instant::now() < self.until { "cancelled" } else { "timeout" };
            say(&json!({ "event": "stopped", "invocation": self.invocation, "why": why }));
        }
    }
}

impl Handler for Told {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            // A handler is dropped at its timeout, not before: a little less tells that from a cancel.
            let until = Instant::now() + Duration::from_millis(delivery.timeout_ms.saturating_sub(100));
            let invocation = format!("{}/{}", self.name, delivery.id);
            let (mut jobs, mut ids) = (Vec::new(), BTreeMap::new());
            for job in &delivery.jobs {
                let name = name_of(&self.dir, play_of(&self.queue), &job.id, job.payload.get()).await;
                jobs.push(json!({ "job": name, "attempt": job.attempt, "payload": job.payload.get() }));
                ids.insert(name, job.id.clone());
            }
            let mut ending = Ending { invocation: invocation.clone(), until, ended: false };
            let (sender, outcome) = oneshot::channel();
            self.waiting.lock().expect("nobody panics with it").insert(invocation.clone(), sender);
            say(&json!({ "event": "invoke", "invocation": invocation, "queue": self.queue, "jobs": jobs }));
            let outcome = outcome.await.map_err(|_| Failure::new("the harness is gone"))?;
            ending.ended = true;
            for it in outcome.get("jobs").and_then(Value::as_array).into_iter().flatten() {
                let Some(id) = ids.get(&text(it, "job")) else { continue };
                let failed = text(it, "result") == "failed";
                let ended = if failed { Err(Failure::new(text(it, "error"))) } else { Ok(RawValue::NULL.to_owned()) };
                report.job(id, ended);
            }
            Ok(())
        }
        .boxed()
    }
}

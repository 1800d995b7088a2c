//! effectum: a Kew queue is a job type with a worker of its own, all in one process, as effectum has it. Attempts, backoff,
//! timeout and cancelling are effectum's own. It lists no failed jobs, so the dead letters are those of the adapter's jobs
//! that effectum calls failed.

mod queue;
mod say;

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use queue::{Jobs, Policy};
use say::{Calls, say};

fn main() {
    let runtime = Runtime::new().expect("the system has threads for it");
    let calls = Arc::new(Calls::default());
    let mut jobs: Option<Arc<Jobs>> = None;
    for text in std::io::stdin().lock().lines() {
        let Ok(text) = text else { break };
        let line: Value = serde_json::from_str(&text).expect("the harness says JSON");
        let id = line["id"].as_u64().unwrap_or_default();
        match (line["op"].as_str().unwrap_or_default(), &jobs) {
            ("hello", _) => {
                let file = Path::new(line["dir"].as_str().unwrap_or(".")).join("effectum.db");
                match runtime.block_on(Jobs::open(&file, Arc::clone(&calls))) {
                    Ok(open) => {
                        jobs = Some(Arc::new(open));
                        say(&json!({ "id": id, "ok": about() }));
                    }
                    Err(error) => say(&json!({ "id": id, "unknown": error.to_string() })),
                }
            }
            ("configure", Some(jobs)) => {
                let (policy, applied) = Policy::read(&line["policy"]);
                let slots = line["slots"].as_u64().unwrap_or(1) as u16;
                let queue = line["queue"].as_str().unwrap_or_default();
                runtime.block_on(jobs.work(queue, policy, slots)).expect("a worker can be made");
                say(&json!({ "id": id, "ok": { "applied": applied } }));
            }
            ("outcome", _) => calls.end(&line),
            ("bye", _) => {
                say(&json!({ "id": id, "ok": {} }));
                break;
            }
            (_, Some(jobs)) => drop(runtime.spawn(answer(Arc::clone(jobs), line, id))),
            (_, None) => say(&json!({ "id": id, "refused": "nobody said hello" })),
        }
    }
    std::process::exit(0); // Handlers that hang are still there.
}

async fn answer(jobs: Arc<Jobs>, line: Value, id: u64) {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let done = match line["op"].as_str().unwrap_or_default() {
        "enqueue" => {
            // A key is its user's own.
            let once = line["idempotency_key"].as_str().map(|key| format!("{}/{key}", text("user")));
            jobs.enqueue(&text("queue"), &text("job"), &text("payload"), once.as_deref()).await
        }
        "status" => jobs.status(&text("job")).await,
        "cancel" => jobs.cancel(&text("job")).await,
        "dead_letters" => jobs.dead_letters(&text("queue")).await,
        other => Err(format!("there is no operation {other}")),
    };
    match done {
        Ok(ok) => say(&json!({ "id": id, "ok": ok })),
        Err(why) => say(&json!({ "id": id, "refused": why })),
    }
}

fn about() -> Value {
    json!({
        "system": "effectum", "version": "0.7.0", "backend": format!("SQLite {}", rusqlite::version()),
        "quantum_ms": 1000,
        "capabilities": {
            "attempts": "native",
            "infinite_attempts": { "is": "native", "note": "2³¹ − 1 retries" },
            "exponential_backoff": { "is": "native", "jitter": false, "cap": false, "note": "in whole seconds" },
            "timeout": { "is": "native", "stops": false, "note": "the handler goes on, and its end is not taken" },
            "dead_letters": { "is": "emulated", "errors": true, "note": "each job is asked for by its name" },
            "idempotency_key": { "is": "emulated", "note": "the job's id is made of the key, and must be unique" },
            "priority": { "is": "absent", "note": "jobs have priorities, but only scenarios with deduplication try them" },
            "cancel": "native",
            "status": { "is": "native", "times": false, "note": "times are whole seconds" },
            "attempt_number": { "is": "native", "note": "current_try + 1" },
        },
    })
}

//! apalis on SQLite: a Kew queue is a queue of its storage, in one file that all processes share. Attempts are the storage's
//! `max_attempts` where a queue has no backoff, and apalis's retry layer where it has one, since the storage takes a failed
//! task again at once. The timeout is apalis's timeout layer. A dead worker's tasks come back by its heartbeats.

mod client;
mod say;
mod worker;

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apalis_sqlite::SqliteStorage;
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tokio::runtime::Runtime;

use client::Client;
use say::{Calls, say};
use worker::Worker;

/// How often a worker looks for tasks.
pub const POLL: Duration = Duration::from_millis(200);

/// How often a worker says that it lives; a worker that misses three is dead.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// A task: the harness's name of the job, and its payload.
pub type Args = (String, String);

fn main() {
    let runtime = Runtime::new().expect("the system has threads for it");
    let calls = Arc::new(Calls::default());
    let mut me: Option<(Arc<Client>, Option<Worker>)> = None;
    for text in std::io::stdin().lock().lines() {
        let Ok(text) = text else { break };
        let line: Value = serde_json::from_str(&text).expect("the harness says JSON");
        let id = line["id"].as_u64().unwrap_or_default();
        match (line["op"].as_str().unwrap_or_default(), &me) {
            ("hello", _) => match runtime.block_on(open(&line)) {
                Ok((pool, sqlite)) => {
                    let name = line["name"].as_str().unwrap_or_default().to_owned();
                    let client = Arc::new(Client::new(pool.clone()));
                    let consumes = line["role"] != "client";
                    me = Some((client, consumes.then(|| Worker { name, pool, calls: Arc::clone(&calls) })));
                    say(&json!({ "id": id, "ok": about(&sqlite) }));
                }
                Err(error) => say(&json!({ "id": id, "unknown": error.to_string() })),
            },
            ("configure", Some((client, worker))) => {
                client.configure(&line);
                if let Some(worker) = worker {
                    runtime.spawn(worker.clone().consume(line));
                }
                say(&json!({ "id": id, "ok": {} }));
            }
            ("outcome", _) => calls.end(&line),
            ("bye", _) => {
                say(&json!({ "id": id, "ok": {} }));
                break;
            }
            (_, Some((client, _))) => drop(runtime.spawn(answer(Arc::clone(client), line, id))),
            (_, None) => say(&json!({ "id": id, "refused": "nobody said hello" })),
        }
    }
    std::process::exit(0); // Handlers that hang are still there.
}

/// Opens the file and makes its tables. Processes that begin together wait for each other's locks.
async fn open(hello: &Value) -> Result<(SqlitePool, String), Box<dyn std::error::Error>> {
    let file = Path::new(hello["dir"].as_str().unwrap_or(".")).join("apalis.db");
    let pool = SqlitePool::connect(&format!("sqlite://{}?mode=rwc", file.display())).await?;
    let mut tries = 0;
    while let Err(error) = SqliteStorage::setup(&pool).await {
        tries += 1;
        if 50 < tries {
            return Err(error.into());
        }
        tokio::time::sleep(POLL).await;
    }
    let version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&pool).await?;
    Ok((pool, version))
}

async fn answer(client: Arc<Client>, line: Value, id: u64) {
    let done = match line["op"].as_str().unwrap_or_default() {
        "enqueue" => client.enqueue(&line).await,
        "status" => client.status(&line).await,
        "dead_letters" => client.dead_letters(&line).await,
        other => Ok(json!({ "refused": format!("there is no operation {other}") })),
    };
    let mut said = done.unwrap_or_else(|error| json!({ "unknown": error.to_string() }));
    said["id"] = json!(id);
    say(&said);
}

fn about(sqlite: &str) -> Value {
    let recovers_ms = 9000; // Three heartbeats in whole seconds, and until the next worker looks.
    json!({
        "system": "apalis", "version": "1.0.0", "backend": format!("apalis-sqlite 1.0.0, SQLite {sqlite}"),
        "quantum_ms": POLL.as_millis() as u64,
        "capabilities": {
            "attempts": { "is": "native", "note": "max_attempts; with backoff the retry layer" },
            "infinite_attempts": { "is": "native", "note": "10⁹ attempts" },
            "exponential_backoff": { "is": "native", "jitter": false, "note": "the retry layer, in the worker's memory" },
            "timeout": { "is": "native", "note": "the timeout layer" },
            "crash": { "is": "native", "recovers_ms": recovers_ms, "note": "heartbeat_interval 2 s, missed_heartbeats 3" },
            "dead_letters": { "is": "native", "errors": true, "note": "failed tasks stay in the table" },
            "idempotency_key": "native",
            "status": { "is": "native", "times": false, "note": "times are whole seconds" },
            "attempt_number": "native",
        },
    })
}

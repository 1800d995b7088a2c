//! `kew adapter`: speaks for Kew's own queue under `kew verify`, as any adapter does for any queue (docs/adapters.md).
//!
//! The client starts a `kew serve` for each play, on files of its own, and talks HTTP to it; a worker is Kew's own
//! processor with one generic handler. What both must know of each other goes through files in the run's directory.

mod client;
mod server;
mod worker;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How often to look whether the client has written something down, and how many times.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_MAX: u32 = 20;

/// A line of the harness.
#[derive(Debug, Deserialize)]
struct Line {
    id: Option<u64>,
    op: String,
    #[serde(flatten)]
    asked: Value,
}

/// Why a request was not done.
enum Fault {
    /// Surely not done.
    Refused(String),
    /// It may have been done.
    Unknown(String),
}

type Answer = Result<Value, Fault>;

/// Runs until standard input ends or the harness says goodbye.
pub(crate) fn run() -> ExitCode {
    let (sender, lines) = unbounded_channel();
    read_lines(sender);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::from(3) };
    runtime.block_on(serve(lines));
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

#[expect(
    clippy::disallowed_methods,
    reason = "standard input is read on a thread of its own; nothing here is simulated"
)]
fn read_lines(sender: tokio::sync::mpsc::UnboundedSender<Line>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(line) => drop(sender.send(line)),
                Err(error) => eprintln!("a line that is not of the protocol: {error}: {line}"),
            }
        }
    });
}

async fn serve(mut lines: UnboundedReceiver<Line>) {
    let Some(hello) = lines.recv().await else { return };
    let dir = PathBuf::from(text(&hello.asked, "dir"));
    say(&json!({ "id": hello.id, "ok": about() }));
    match text(&hello.asked, "role").as_str() {
        "client" => client::run(dir, lines).await,
        _ => worker::run(dir, text(&hello.asked, "name"), lines).await,
    }
}

fn about() -> Value {
    json!({
        "system": "Kew", "version": env!("CARGO_PKG_VERSION"), "backend": "SQLite", "quantum_ms": 10,
        "capabilities": {
            "attempts": "native", "infinite_attempts": "native", "exponential_backoff": "native", "timeout": "native",
            "crash": { "is": "native", "after_timeout": true, "recovers_ms": LEASE_MARGIN_MS + 1_000, "note": "a lease holds for the timeout and 5 s" },
            "dead_letters": "native", "redrive": "native", "rate_limit": "native", "batch": "native",
            "deduplication": "native", "idempotency_key": "native", "priority": "native", "schedule": "native",
            "cancel": "native", "pause": "native", "status": "native", "attempt_number": "native",
            "server": { "is": "native", "note": "kew serve, killed with SIGKILL" },
        },
    })
}

const LEASE_MARGIN_MS: u64 = kew_runtime::broker::LEASE_MARGIN_MS;

/// Says a line to the harness.
fn say(line: &Value) {
    let mut output = std::io::stdout().lock();
    // A harness that is gone shows where its lines are read.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn answer(id: Option<u64>, answer: Answer) {
    say(&match answer {
        Ok(ok) => json!({ "id": id, "ok": ok }),
        Err(Fault::Refused(why)) => json!({ "id": id, "refused": why }),
        Err(Fault::Unknown(why)) => json!({ "id": id, "unknown": why }),
    });
}

/// A field that is a text; empty when it is absent.
fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What the queues of a play have in common in their names.
fn play_of(queue: &str) -> &str {
    queue.split('-').next().unwrap_or(queue)
}

/// Where a play's server listens, as its client has written it down.
fn address_file(dir: &Path, play: &str) -> PathBuf {
    dir.join(format!("{play}.address"))
}

/// Where the harness's name of a job is written down.
fn name_file(dir: &Path, job: &str) -> PathBuf {
    dir.join(format!("{job}.name"))
}

/// Where the names are written down that the harness has used for a payload in a play, before it enqueues.
fn names_file(dir: &Path, play: &str, payload: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    dir.join(format!("{play}.payload-{:016x}.names", hasher.finish()))
}

/// The harness's name of a job: by its id, or while nobody has heard that, by its payload. Where that payload has but one
/// name there is nothing to wait for: a handler must be told of before its time is over.
async fn name_of(dir: &Path, play: &str, job: &str, payload: &str) -> String {
    let read = |path: PathBuf| std::fs::read_to_string(path).ok().filter(|text| !text.is_empty());
    let names = || read(names_file(dir, play, payload)).unwrap_or_default();
    for _ in 0..LOOKS_MAX {
        if let Some(name) = read(name_file(dir, job)) {
            return name;
        }
        if let [only] = names().lines().collect::<Vec<_>>()[..] {
            return only.to_owned();
        }
        tokio::time::sleep(LOOK).await;
    }
    names().lines().next().unwrap_or(job).to_owned()
}

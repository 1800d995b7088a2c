//! What the adapter says, and the handlers that wait to be told how they end.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::sync::oneshot;

/// Says one line.
pub fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush()); // Without a harness nobody listens.
}

/// Handlers at work, by invocation.
#[derive(Debug, Default)]
pub struct Calls {
    next: AtomicU64,
    open: Mutex<BTreeMap<String, oneshot::Sender<Value>>>,
}

impl Calls {
    /// A handler begins: the name of its invocation, and where it is told how it ends.
    pub fn begin(&self) -> (String, oneshot::Receiver<Value>) {
        let invocation = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let (sender, outcome) = oneshot::channel();
        self.open.lock().expect("nobody panics with it").insert(invocation.clone(), sender);
        (invocation, outcome)
    }

    /// The harness says how one ends.
    pub fn end(&self, line: &Value) {
        let invocation = line["invocation"].as_str().unwrap_or_default();
        let sender = self.open.lock().expect("nobody panics with it").remove(invocation);
        if let Some(sender) = sender {
            let _ = sender.send(line["jobs"][0].clone()); // Its handler may be gone.
        }
    }
}

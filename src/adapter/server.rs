//! A `kew serve` of the adapter's own: one for each play, since its queues are stated when it starts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use kew_runtime::net::{Client, TokioNet};
use serde_json::Value;
use tokio::process::{Child, Command};

/// How long a server may take to listen.
const UP: Duration = Duration::from_secs(20);

/// A server at work. It dies with this value.
pub(super) struct Server {
    pub(super) client: Client,
    child: Child,
    address: String,
    folder: PathBuf,
}

impl Server {
    /// Starts a server for queues with these policies.
    pub(super) async fn start(folder: PathBuf, policies: &BTreeMap<String, Value>) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let text: String = policies.iter().map(|(queue, policy)| toml_of(queue, policy)).collect();
        std::fs::write(folder.join("queues.toml"), text)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let child = spawn(&folder, &address).await?;
        let client = Client::new(Arc::new(TokioNet), format!("http://{address}"), None);
        Ok(Self { client, child, address, folder })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Kills it as a power cut of the process would.
    pub(super) async fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill().await
    }

    /// Starts it again, on the same address and files, unless it runs.
    pub(super) async fn start_again(&mut self) -> std::io::Result<()> {
        if self.child.try_wait()?.is_none() {
            return Ok(());
        }
        self.child = spawn(&self.folder, &self.address).await?;
        Ok(())
    }
}

async fn spawn(folder: &Path, address: &str) -> std::io::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--listen", address, "--data"]).arg(folder.join("data"));
    command.arg("--queues").arg(folder.join("queues.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    let mut child = command.spawn()?;
    let until = tokio::time::Instant::now() + UP;
    while TcpStream::connect(address).is_err() {
        if child.try_wait()?.is_some() || until < tokio::time::Instant::now() {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(std::io::Error::other(format!("kew serve does not listen at {address}: {log}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(child)
}

/// A policy as queues.toml states it.
fn toml_of(queue: &str, policy: &Value) -> String {
    let mut text = format!("[{queue}]\n");
    let mut line = |name: &str, value: String| writeln!(text, "{name} = {value}").expect("text can be written");
    for (name, value) in policy.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("deduplication", Value::Bool(true)) => line(name, "\"key\"".into()),
            ("deduplication", _) => {}
            ("backoff", Value::Object(it)) => line(name, inline(&it["exponential"])),
            (_, Value::Object(_)) => line(name, inline(value)),
            (_, Value::Null) => {}
            (_, value) => line(name, value.to_string()),
        }
    }
    text
}

fn inline(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let fields: Vec<_> = fields.map(|(name, value)| format!("{name} = {value}")).collect();
    format!("{{ {} }}", fields.join(", "))
}

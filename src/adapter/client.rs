//! The client's part: makes servers, and does over HTTP what the harness asks for.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Mutex, RwLock};

use super::server::Server;
use super::{Answer, Fault, Line, address_file, answer, name_file, name_of, names_file, play_of, text};

/// How long a reply may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the client knows.
struct Client {
    dir: PathBuf,
    /// The servers, by play.
    servers: RwLock<BTreeMap<String, Mutex<Server>>>,
    /// Policies of plays whose server does not run yet, and of those that do.
    policies: Mutex<BTreeMap<String, BTreeMap<String, Value>>>,
    /// Kew's job by the harness's, and back.
    jobs: Mutex<(BTreeMap<String, String>, BTreeMap<String, String>)>,
}

/// Answers until it is told to end.
pub(super) async fn run(dir: PathBuf, mut lines: UnboundedReceiver<Line>) {
    let client =
        Arc::new(Client { dir, servers: RwLock::default(), policies: Mutex::default(), jobs: Mutex::default() });
    while let Some(line) = lines.recv().await {
        if line.op == "bye" {
            for server in client.servers.write().await.values() {
                let _ = server.lock().await.kill().await; // It is on its way out.
            }
            return answer(line.id, Ok(json!({})));
        }
        let client = Arc::clone(&client);
        tokio::spawn(async move { answer(line.id, client.act(&line.op, &line.asked).await) });
    }
}

impl Client {
    async fn act(&self, op: &str, asked: &Value) -> Answer {
        match op {
            "configure" => self.configure(asked).await,
            "enqueue" => self.enqueue(asked).await,
            "dead_letters" => self.dead_letters(asked).await,
            "status" => self.status(asked).await,
            "redrive" => self.redrive(asked).await,
            "cancel" => {
                let path = format!("/v1/jobs/{}/cancel", self.job(asked).await?);
                self.call(&text(asked, "queue"), Method::POST, &path, &[], String::new()).await.map(|_| json!({}))
            }
            "pause" | "resume" => {
                let queue = text(asked, "queue");
                let path = format!("/v1/queues/{queue}/{op}");
                self.call(&queue, Method::POST, &path, &[], String::new()).await.map(|_| json!({}))
            }
            "kill_server" => self.with_servers(true).await,
            "start_server" => self.with_servers(false).await,
            other => Err(Fault::Refused(format!("there is no operation {other}"))),
        }
    }

    /// The play's server is started when its last queue is known.
    async fn configure(&self, asked: &Value) -> Answer {
        let queue = text(asked, "queue");
        let play = play_of(&queue).to_owned();
        let mut policies = self.policies.lock().await;
        let of_play = policies.entry(play.clone()).or_default();
        of_play.insert(queue, asked.get("policy").cloned().unwrap_or_default());
        let wanted = asked.get("beside").and_then(Value::as_array).map_or(1, Vec::len);
        if of_play.len() < wanted {
            return Ok(json!({}));
        }
        let fault = |error: std::io::Error| Fault::Refused(error.to_string());
        let server = Server::start(self.dir.join(&play), of_play).await.map_err(fault)?;
        std::fs::write(address_file(&self.dir, &play), server.address()).map_err(fault)?;
        self.servers.write().await.insert(play, Mutex::new(server));
        Ok(json!({}))
    }

    async fn enqueue(&self, asked: &Value) -> Answer {
        let (queue, name, payload) = (text(asked, "queue"), text(asked, "job"), text(asked, "payload"));
        let key = asked.get("key").map(|key| format!(",\"key\":{key}")).unwrap_or_default();
        let body = format!("{{\"type\":\"{queue}\",\"payload\":{payload}{key}}}");
        let once = text(asked, "idempotency_key");
        let headers = [("Idempotency-Key", once.as_str())];
        let headers = if once.is_empty() { &[][..] } else { &headers[..] };
        // A payload with a key may come to another job, so its name alone does not tell.
        let line = if key.is_empty() { format!("{name}\n") } else { format!("{name}\n{name}\n") };
        let names =
            std::fs::File::options().create(true).append(true).open(names_file(&self.dir, play_of(&queue), &payload));
        names
            .and_then(|mut names| names.write_all(line.as_bytes()))
            .map_err(|error| Fault::Refused(error.to_string()))?;
        let made: Value = read(&self.call(&queue, Method::POST, "/v1/jobs", headers, body).await?)?;
        let id = text(&made, "id");
        let mut jobs = self.jobs.lock().await;
        let known = jobs.1.entry(id.clone()).or_insert_with(|| name.clone()).clone();
        jobs.0.insert(known.clone(), id.clone());
        drop(jobs);
        std::fs::write(name_file(&self.dir, &id), &known).map_err(|error| Fault::Unknown(error.to_string()))?;
        Ok(if known == name { json!({}) } else { json!({ "job": known }) })
    }

    async fn dead_letters(&self, asked: &Value) -> Answer {
        let queue = text(asked, "queue");
        let Some(kept) = self.dead_letter_queue(&queue).await else { return Ok(json!({ "jobs": [] })) };
        let path = format!("/v1/dead-letters/{kept}?limit=1000");
        let list: DeadLetters = read(&self.call(&queue, Method::GET, &path, &[], String::new()).await?)?;
        let mut names = self.jobs.lock().await.1.clone();
        for it in &list.dead_letters {
            if !names.contains_key(&it.job.id) {
                names.insert(
                    it.job.id.clone(),
                    name_of(&self.dir, play_of(&queue), &it.job.id, it.job.payload.get()).await,
                );
            }
        }
        let entry = |it: DeadLetter| {
            let attempts = it
                .attempts
                .iter()
                .map(|it| json!({ "attempt": it.attempt, "error": it.error, "ended_at": ms(&it.ended_at) }));
            let attempts: Vec<_> = attempts.collect();
            let id = it.job.id;
            let name = names.get(&id).unwrap_or(&id);
            json!({ "job": name, "payload": it.job.payload.get(), "error": it.job.error, "attempts": attempts })
        };
        Ok(json!({ "jobs": list.dead_letters.into_iter().map(entry).collect::<Vec<_>>() }))
    }

    async fn status(&self, asked: &Value) -> Answer {
        let Ok(id) = self.job(asked).await else { return Ok(json!({ "status": null })) };
        let path = format!("/v1/jobs/{id}");
        let row: Value = match self.call(&text(asked, "queue"), Method::GET, &path, &[], String::new()).await {
            Ok(row) => read(&row)?,
            Err(Fault::Refused(why)) if why.contains("there is no job") => return Ok(json!({ "status": null })),
            Err(fault) => return Err(fault),
        };
        let mut standing = json!({
            "status": row["status"], "final": row["final"], "retry_count": row["retry_count"],
            "created_at": ms(&text(&row, "created_at")), "updated_at": ms(&text(&row, "updated_at")),
        });
        for name in ["error", "dead_letter_queue", "result"] {
            if !row[name].is_null() {
                standing[name] = row[name].clone();
            }
        }
        if !row["completed_at"].is_null() {
            standing["completed_at"] = ms(&text(&row, "completed_at")).into();
        }
        Ok(standing)
    }

    async fn redrive(&self, asked: &Value) -> Answer {
        let queue = text(asked, "queue");
        let kept = self.dead_letter_queue(&queue).await.unwrap_or_default();
        let path = format!("/v1/dead-letters/{kept}/{}/redrive", self.job(asked).await?);
        self.call(&queue, Method::POST, &path, &[], String::new()).await.map(|_| json!({}))
    }

    async fn with_servers(&self, kill: bool) -> Answer {
        for server in self.servers.read().await.values() {
            let mut server = server.lock().await;
            let done = if kill { server.kill().await } else { server.start_again().await };
            done.map_err(|error| Fault::Refused(error.to_string()))?;
        }
        Ok(json!({}))
    }

    async fn dead_letter_queue(&self, queue: &str) -> Option<String> {
        let policies = self.policies.lock().await;
        let policy = policies.get(play_of(queue))?.get(queue)?;
        Some(policy.get("dead_letter_queue")?.as_str()?.to_owned())
    }

    async fn job(&self, asked: &Value) -> Result<String, Fault> {
        let name = text(asked, "job");
        let known = self.jobs.lock().await.0.get(&name).cloned();
        known.ok_or_else(|| Fault::Refused(format!("there is no job {name}")))
    }

    async fn call(
        &self,
        queue: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Vec<u8>, Fault> {
        let http = {
            let servers = self.servers.read().await;
            let server = servers.get(play_of(queue)).ok_or_else(|| Fault::Refused(format!("no queue {queue}")))?;
            server.lock().await.client.clone()
        };
        let reply = http.request(method, path, headers, body.into_bytes(), TIMEOUT).await;
        let reply = reply.map_err(|error| Fault::Unknown(error.to_string()))?;
        if reply.status.is_success() {
            return Ok(reply.body.to_vec());
        }
        let problem: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let why = text(&problem, "detail");
        Err(if reply.status.is_client_error() { Fault::Refused(why) } else { Fault::Unknown(why) })
    }
}

/// A page of dead letters, with payloads as they stand.
#[derive(Deserialize)]
struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
}

#[derive(Deserialize)]
struct DeadLetter {
    job: DeadJob,
    attempts: Vec<DeadAttempt>,
}

#[derive(Deserialize)]
struct DeadJob {
    id: String,
    payload: Box<RawValue>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct DeadAttempt {
    attempt: u32,
    error: String,
    ended_at: String,
}

/// What a reply holds. It was done, whatever it says.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::Unknown(format!("a reply that cannot be read: {error}")))
}

/// Milliseconds since the Unix epoch of a time in RFC 3339.
fn ms(text: &str) -> u64 {
    let timestamp: jiff::Timestamp = text.parse().unwrap_or_default();
    timestamp.as_millisecond() as u64
}

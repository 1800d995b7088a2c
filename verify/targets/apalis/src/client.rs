//! The client's part: pushes tasks, and reads how they stand.

use std::collections::BTreeMap;
use std::sync::Mutex;

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use serde_json::{Value, json};
use sqlx::SqlitePool;

use crate::Args;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Attempts without end.
pub const ENDLESS: usize = 1_000_000_000;

/// More than any play has.
const PAGE: u32 = 100_000;

/// What the client knows of its jobs.
pub struct Client {
    pool: SqlitePool,
    /// How many attempts each queue has.
    attempts: Mutex<BTreeMap<String, usize>>,
    /// apalis's id of each job.
    ids: Mutex<BTreeMap<String, TaskId>>,
    /// The first job of each queue's idempotency key.
    keys: Mutex<BTreeMap<(String, String), String>>,
}

impl Client {
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool, attempts: Mutex::default(), ids: Mutex::default(), keys: Mutex::default() }
    }

    /// There is such a queue.
    pub fn configure(&self, line: &Value) {
        let attempts = line["policy"]["attempts"].as_u64().map_or(ENDLESS, |attempts| attempts as usize);
        self.attempts.lock().expect("nobody panics with it").insert(text(line, "queue"), attempts);
    }

    /// Pushes a task. The storage says nothing of one whose idempotency key it has: it is not there afterwards.
    pub async fn enqueue(&self, line: &Value) -> Result<Value, Error> {
        let (queue, job, key) = (text(line, "queue"), text(line, "job"), line["idempotency_key"].as_str());
        let attempts = self.attempts.lock().expect("nobody panics with it").get(&queue).copied();
        let id = TaskId::from_ulid(ulid::Ulid::generate());
        let task = TaskBuilder::new((job.clone(), text(line, "payload"))).task_id(id.clone());
        let mut task = task.max_attempts(attempts.unwrap_or(1));
        // A key is its user's own.
        let key = key.map(|key| format!("{}/{key}", text(line, "user")));
        if let Some(key) = &key {
            task = task.idempotency_key(key);
        }
        let mut storage = self.storage(&queue);
        storage.push_task(task.build()).await?;
        if let Some(key) = key {
            let is_made = storage.fetch_by_id(&id).await?.is_some();
            let mut keys = self.keys.lock().expect("nobody panics with it");
            let known = keys.entry((queue, key));
            if !is_made {
                let there = known.or_default().clone();
                return Ok(json!({ "ok": { "job": there } }));
            }
            known.insert_entry(job.clone());
        }
        self.ids.lock().expect("nobody panics with it").insert(job, id);
        Ok(json!({ "ok": {} }))
    }

    /// How apalis says that a job stands.
    pub async fn status(&self, line: &Value) -> Result<Value, Error> {
        let id = self.ids.lock().expect("nobody panics with it").get(&text(line, "job")).cloned();
        let Some(id) = id else { return Ok(json!({ "ok": { "status": null } })) };
        let mut storage = self.storage(&text(line, "queue"));
        let Some(task) = storage.fetch_by_id(&id).await? else { return Ok(json!({ "ok": { "status": null } })) };
        let (tried, spent) = (task.attempt(), task.max_attempts() <= Some(task.attempt()));
        let (status, is_final, retries) = match task.status() {
            Status::Pending if tried == 0 => ("pending", false, 0),
            Status::Queued | Status::Running => ("processing", false, tried),
            Status::Done => ("completed", true, tried.saturating_sub(1)),
            Status::Killed => ("failed", true, tried.saturating_sub(1)),
            Status::Failed => ("failed", spent, tried.saturating_sub(1)),
            _ => ("failed", false, tried.saturating_sub(1)),
        };
        let mut told = json!({ "status": status, "final": is_final, "retry_count": retries });
        if status == "failed" {
            let error = if is_final { self.error(&mut storage, id).await? } else { None };
            told["error"] = json!(error.unwrap_or_else(|| "it is told at the end alone".to_owned()));
        }
        Ok(json!({ "ok": told }))
    }

    /// The failed tasks of a queue whose attempts are spent.
    pub async fn dead_letters(&self, line: &Value) -> Result<Value, Error> {
        let mut storage = self.storage(&text(line, "queue"));
        let mut jobs = Vec::new();
        for status in [Status::Failed, Status::Killed] {
            let filter = Filter { status: Some(status), page: 1, page_size: Some(PAGE) };
            for task in storage.list_tasks(&filter).await? {
                if task.max_attempts() <= Some(task.attempt()) {
                    let (job, payload): Args = serde_json::from_slice(&task.args)?;
                    let id = task.task_id().cloned().ok_or("it has an id")?;
                    jobs.push(json!({ "job": job, "payload": payload, "error": self.error(&mut storage, id).await? }));
                }
            }
        }
        Ok(json!({ "ok": { "jobs": jobs } }))
    }

    fn storage(&self, queue: &str) -> SqliteStorage<Args> {
        SqliteStorage::new(&self.pool).with_config(Config::default().queue(queue))
    }

    async fn error(&self, storage: &mut SqliteStorage<Args>, id: TaskId) -> Result<Option<String>, Error> {
        let results: Vec<TaskResult<Value>> = storage.check_status([id]).await?;
        Ok(results.into_iter().find_map(|it| it.result.err()))
    }
}

/// A text of a line.
pub fn text(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

//! A task that runs into the worker's timeout stays `Running` while the worker lives, though it has attempts left; one
//! that fails is tried again.
//!
//! apalis = "=1.0.0"
//! apalis-sqlite = "=1.0.0"
//! sqlx = { version = "=0.9.0", default-features = false, features = ["sqlite", "runtime-tokio"] }
//! tempfile = "=3.27.0"
//! tokio = { version = "=1.54.1", features = ["macros", "rt-multi-thread", "time"] }

use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use sqlx::SqlitePool;

const TIMEOUT: Duration = Duration::from_millis(500);
const WATCHED: Duration = Duration::from_secs(10);
const ROWS: &str =
    "SELECT CAST(job AS TEXT), status, attempts, max_attempts, done_at IS NOT NULL, last_result FROM Jobs ORDER BY job";

async fn handle(name: String, attempt: Attempt, begun: Data<Instant>) -> Result<(), BoxDynError> {
    println!("{:6.3}  {name}: attempt {} begins", begun.elapsed().as_secs_f64(), attempt.current());
    match (name.as_str(), attempt.current()) {
        ("fails", 1) => Err("failed as planned".into()),
        ("hangs", 1) => std::future::pending().await,
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let runs = std::env::var("RUNS").map_or(3, |it| it.parse().expect("RUNS is a number"));
    let mut wrong = 0;
    for run in 1..=runs {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("apalis.db");
        let pool = SqlitePool::connect(&format!("sqlite://{}?mode=rwc", file.display())).await?;
        SqliteStorage::setup(&pool).await?;
        let config = Config::default().queue("work").heartbeat_interval(Duration::from_secs(1)).missed_heartbeats(3);
        let mut storage = SqliteStorage::<String>::new(&pool).with_config(config);
        for name in ["fails", "hangs"] {
            storage.push_task(TaskBuilder::new(name.to_owned()).max_attempts(3).build()).await?;
        }

        let backend = storage.poll_with_interval(Duration::from_millis(100));
        let builder = WorkerBuilder::new(format!("worker-{run}")).backend(backend).data(Instant::now());
        let worker = builder.timeout(TIMEOUT).build(handle);
        tokio::time::timeout(WATCHED, worker.run()).await.expect_err("the worker lives on");

        let rows: Vec<(String, String, u32, u32, bool, Option<String>)> = sqlx::query_as(ROWS).fetch_all(&pool).await?;
        for (job, status, attempts, max_attempts, is_done, result) in rows {
            println!(
                "after {} s, {job}: status {status}, attempts {attempts}, max_attempts {max_attempts}",
                WATCHED.as_secs()
            );
            println!("    done_at is set: {is_done}, last_result {}", result.unwrap_or_default());
            wrong += usize::from(job == "\"hangs\"" && status == "Running");
        }
    }
    println!("the task that ran into its timeout stayed Running in {wrong} of {runs} runs");
    Ok(())
}

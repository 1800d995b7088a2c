//! A task that kills its worker is given to the next one for ever, whatever its `max_attempts` say.
//!
//! apalis = "=1.0.0"
//! apalis-sqlite = "=1.0.0"
//! sqlx = { version = "=0.9.0", default-features = false, features = ["sqlite", "runtime-tokio"] }
//! tempfile = "=3.27.0"
//! tokio = { version = "=1.54.1", features = ["macros", "rt-multi-thread", "time"] }

use std::process::Command;
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use sqlx::SqlitePool;

const MAX_ATTEMPTS: usize = 3;

async fn deadly(_: String, attempt: Attempt) -> Result<(), BoxDynError> {
    println!("attempt {} of {MAX_ATTEMPTS}, the worker dies", attempt.current());
    std::process::abort();
}

/// A worker's process. A task comes within some seconds, if it comes.
async fn work(storage: SqliteStorage<String>, name: String) -> Result<(), BoxDynError> {
    let backend = storage.poll_with_interval(Duration::from_millis(100));
    let worker = WorkerBuilder::new(name).backend(backend).build(deadly);
    Ok(tokio::time::timeout(Duration::from_secs(15), worker.run()).await.unwrap_or(Ok(()))?)
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let open = async |file: &str| {
        let pool = SqlitePool::connect(&format!("sqlite://{file}?mode=rwc")).await?;
        SqliteStorage::setup(&pool).await?;
        let config = Config::default().queue("work").heartbeat_interval(Duration::from_secs(1)).missed_heartbeats(2);
        Ok::<_, BoxDynError>((SqliteStorage::<String>::new(&pool).with_config(config), pool))
    };
    if let [_, file, name] = &std::env::args().collect::<Vec<_>>()[..] {
        return work(open(file).await?.0, name.clone()).await;
    }

    let runs = std::env::var("RUNS").map_or(3, |it| it.parse().expect("RUNS is a number"));
    let mut wrong = 0;
    for _ in 0..runs {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("apalis.db").display().to_string();
        let (mut storage, pool) = open(&file).await?;
        storage.push_task(TaskBuilder::new("deadly".to_owned()).max_attempts(MAX_ATTEMPTS).build()).await?;

        let (begun, mut deaths) = (Instant::now(), 0);
        while deaths < MAX_ATTEMPTS + 2 {
            let worker = Command::new(std::env::current_exe()?).args([&file, &format!("worker-{deaths}")]).output()?;
            if worker.status.success() {
                break;
            }
            deaths += 1;
            print!("{:6.3}  {}", begun.elapsed().as_secs_f64(), String::from_utf8_lossy(&worker.stdout));
        }
        let row = sqlx::query_as("SELECT status, attempts, max_attempts FROM Jobs").fetch_one(&pool).await?;
        let (status, attempts, max_attempts): (String, u32, u32) = row;
        println!("{deaths} workers died; status {status}, attempts {attempts}, max_attempts {max_attempts}");
        wrong += usize::from(deaths > MAX_ATTEMPTS);
    }
    println!("more than {MAX_ATTEMPTS} attempts in {wrong} of {runs} runs");
    Ok(())
}

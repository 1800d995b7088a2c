//! A task that has failed is taken again at once, without a backoff, until its attempts are spent.
//!
//! apalis = "=1.0.0"
//! apalis-sqlite = "=1.0.0"
//! sqlx = { version = "=0.9.0", default-features = false, features = ["sqlite", "runtime-tokio"] }
//! tempfile = "=3.27.0"
//! tokio = { version = "=1.54.1", features = ["macros", "rt-multi-thread", "time"] }

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use sqlx::SqlitePool;

const POLL: Duration = Duration::from_millis(100);

/// When each attempt began, which fails at once.
type Begun = Arc<Mutex<Vec<Instant>>>;

async fn fail(_: String, begun: Data<Begun>) -> Result<(), BoxDynError> {
    begun.lock().unwrap().push(Instant::now());
    Err("failed as planned".into())
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let runs = std::env::var("RUNS").map_or(3, |it| it.parse().expect("RUNS is a number"));
    for run in 1..=runs {
        let task = || TaskBuilder::new("task".to_owned());
        for (what, task) in [("max_attempts 3", task().max_attempts(3)), ("default max_attempts", task())] {
            let dir = tempfile::tempdir()?;
            let file = dir.path().join("apalis.db");
            let pool = SqlitePool::connect(&format!("sqlite://{}?mode=rwc", file.display())).await?;
            SqliteStorage::setup(&pool).await?;
            let mut storage = SqliteStorage::<String>::new(&pool).with_config(Config::default().queue("work"));
            storage.push_task(task.build()).await?;

            let (begun, pushed) = (Begun::default(), Instant::now());
            let backend = storage.poll_with_interval(POLL);
            let worker =
                WorkerBuilder::new(format!("worker-{run}")).backend(backend).data(Arc::clone(&begun)).build(fail);
            tokio::time::timeout(Duration::from_secs(10), worker.run()).await.expect_err("the worker lives on");

            let begun = begun.lock().unwrap();
            let last = begun.last().map_or(0.0, |it| (*it - pushed).as_secs_f64());
            let waits: Vec<_> = begun.windows(2).map(|it| (it[1] - it[0]).as_millis()).collect();
            let (least, most) = (waits.iter().min().unwrap_or(&0), waits.iter().max().unwrap_or(&0));
            println!("{what}: {} attempts in 10 s, {least} to {most} ms apart, the last at {last:.3} s", begun.len());
        }
    }
    Ok(())
}

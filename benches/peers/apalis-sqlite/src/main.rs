//! Puts Kew's benchmarks to apalis-sqlite, the SQLite store of apalis, a library of background jobs for Rust.
//!
//! `wal-normal` is its schema in WAL with synchronous=NORMAL on every connection. As shipped, `setup` switches syncing
//! off on whichever connection of the pool it is given, which would not survive a power cut and no user asked for; so
//! it is given one of its own. Batches of 100 and 100 jobs at once are its documents' way to more throughput.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use kew_peer_common::{
    Arguments, IN_FLIGHT, Measured, PAYLOAD, PRODUCERS, Result, ToCreate, Window, Work, locked_version, print_line,
    within_two_minutes,
};
use serde::{Deserialize, Serialize};

const BATCH: usize = 100;
const CONCURRENCY: usize = 100;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Render {
    resume_id: String,
    template: String,
    format: String,
    pages: [u32; 2],
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    if arguments.configuration != "wal-normal" {
        return Err(format!("no such configuration: {}", arguments.configuration).into());
    }
    let pool = open(Path::new(&arguments.place)).await?;
    let measured = measure(&arguments, &pool).await?;
    let sqlite: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&pool).await?;
    let lock = include_str!("../Cargo.lock");
    let version = format!("{} (SQLite {sqlite})", locked_version(lock, "apalis-sqlite"));
    print_line(&arguments, "apalis-sqlite", &version, "B", &measured);
    Ok(())
}

async fn open(folder: &Path) -> Result<SqlitePool> {
    let address = format!("sqlite://{}?mode=rwc", folder.join("apalis.db").display());
    let options = SqliteConnectOptions::from_str(&address)?;
    let alone = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    SqliteStorage::setup(&alone).await?;
    alone.close().await;
    let options = options.pragma("synchronous", "NORMAL").busy_timeout(Duration::from_secs(30));
    Ok(SqlitePoolOptions::new().max_connections(4).connect_with(options).await?)
}

fn storage(pool: &SqlitePool) -> SqliteStorage<Render> {
    SqliteStorage::new(pool).with_config(Config::default().queue("pdf").batch_size(BATCH))
}

fn job() -> Result<Render> {
    Ok(serde_json::from_str(PAYLOAD)?)
}

async fn measure(arguments: &Arguments, pool: &SqlitePool) -> Result<Measured> {
    let (jobs, warm_up) = (arguments.jobs, arguments.warm_up());
    let elapsed = match arguments.work {
        Work::Enqueue => {
            create(pool, warm_up, PRODUCERS, None).await?;
            create(pool, jobs, PRODUCERS, None).await?
        }
        // Each run has a fresh store: completing slows down with the jobs that its worker ever had.
        Work::Process => {
            add_backlog(pool, jobs).await?;
            process(pool, jobs).await?
        }
        Work::Mixed => mixed(pool, jobs).await?,
    };
    let completed = match arguments.work {
        Work::Enqueue => count(pool, "Pending").await?.saturating_sub(warm_up),
        Work::Process | Work::Mixed => count(pool, "Done").await?,
    };
    Ok(Measured { elapsed, completed })
}

/// Single creates, each awaited.
async fn create(pool: &SqlitePool, jobs: usize, producers: usize, window: Option<Arc<Window>>) -> Result<Duration> {
    let to_create = ToCreate::new(jobs);
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..producers {
        let (mut storage, to_create, window) = (storage(pool), to_create.clone(), window.clone());
        tasks.push(tokio::spawn(async move {
            while to_create.take() {
                if let Some(window) = &window {
                    window.enter().await;
                }
                storage.push(job()?).await?;
            }
            Result::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(began.elapsed())
}

async fn add_backlog(pool: &SqlitePool, jobs: usize) -> Result<()> {
    let mut storage = storage(pool);
    for begin in (0..jobs).step_by(1000) {
        let backlog: Result<Vec<_>> = (begin..jobs.min(begin + 1000)).map(|_| job()).collect();
        storage.push_bulk(backlog?).await?;
    }
    Ok(())
}

async fn handle(_job: Render, window: Data<Arc<Window>>) -> std::result::Result<(), BoxDynError> {
    window.leave();
    Ok(())
}

fn start_worker(pool: &SqlitePool, window: Arc<Window>) {
    let worker =
        WorkerBuilder::new("worker").backend(storage(pool)).concurrency(CONCURRENCY).data(window).build(handle);
    // It ends with the process.
    tokio::spawn(async move { worker.run().await });
}

/// From the start of the worker until its store says that all are done.
async fn process(pool: &SqlitePool, jobs: usize) -> Result<Duration> {
    let window = Window::new();
    let began = Instant::now();
    start_worker(pool, window.clone());
    finish(pool, &window, jobs, began).await
}

async fn mixed(pool: &SqlitePool, jobs: usize) -> Result<Duration> {
    let window = Window::new();
    start_worker(pool, window.clone());
    let began = Instant::now();
    create(pool, jobs, IN_FLIGHT, Some(window.clone())).await?;
    finish(pool, &window, jobs, began).await
}

async fn finish(pool: &SqlitePool, window: &Window, jobs: usize, began: Instant) -> Result<Duration> {
    while window.handled() < jobs || count(pool, "Done").await? < jobs {
        within_two_minutes(began)?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(began.elapsed())
}

async fn count(pool: &SqlitePool, status: &str) -> Result<usize> {
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status = ?").bind(status).fetch_one(pool).await?;
    Ok(usize::try_from(count)?)
}

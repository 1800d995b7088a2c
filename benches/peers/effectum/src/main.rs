//! Puts Kew's benchmarks to effectum, a job queue in SQLite for Rust programs.
//!
//! `as-shipped` is what `Queue::new` gives: a rollback journal, as 0.7.0 sets the pragma `journal` where SQLite's is
//! `journal_mode`. `wal` opens a file that was set to WAL before. The worker takes up to 200 jobs at once (the README's
//! example takes 10, which is far slower), without heartbeats, which jobs this short do not need.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use effectum::{Job, JobRunner, Queue, RunningJob, Worker};
use kew_peer_common::{
    Arguments, IN_FLIGHT, Measured, PAYLOAD, PRODUCERS, Result, ToCreate, Window, Work, locked_version, print_line,
    within_two_minutes,
};

const CONCURRENCY_MAX: u16 = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let file = Path::new(&arguments.place).join("effectum.db");
    let durability = match arguments.configuration.as_str() {
        "as-shipped" => "A",
        "wal" => {
            rusqlite::Connection::open(&file)?.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            "B"
        }
        other => return Err(format!("no such configuration: {other}").into()),
    };
    let measured = measure(&arguments, file).await?;
    let lock = include_str!("../Cargo.lock");
    let version = format!("{} (SQLite {})", locked_version(lock, "effectum"), rusqlite::version());
    print_line(&arguments, "effectum", &version, durability, &measured);
    Ok(())
}

async fn measure(arguments: &Arguments, file: PathBuf) -> Result<Measured> {
    let queue = Arc::new(Queue::new(&file).await?);
    let before = match arguments.work {
        Work::Enqueue => create(&queue, arguments.warm_up(), PRODUCERS, None).await.map(|_| arguments.warm_up())?,
        Work::Process | Work::Mixed => {
            add_backlog(&queue, arguments.warm_up()).await?;
            process(&queue, arguments.warm_up()).await?;
            arguments.warm_up()
        }
    };
    let elapsed = match arguments.work {
        Work::Enqueue => create(&queue, arguments.jobs, PRODUCERS, None).await?,
        Work::Process => {
            add_backlog(&queue, arguments.jobs).await?;
            process(&queue, arguments.jobs).await?
        }
        Work::Mixed => mixed(&queue, arguments.jobs).await?,
    };
    queue.close(Duration::from_secs(10)).await?;
    let state = if arguments.work == Work::Enqueue { "active_jobs" } else { "jobs WHERE status = 'succeeded'" };
    let completed = count(&file, state)?.saturating_sub(before);
    Ok(Measured { elapsed, completed })
}

fn job() -> Job {
    Job::builder("pdf").payload(PAYLOAD.as_bytes().to_vec()).build()
}

/// Single creates, each awaited.
async fn create(queue: &Arc<Queue>, jobs: usize, producers: usize, window: Option<Arc<Window>>) -> Result<Duration> {
    let to_create = ToCreate::new(jobs);
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..producers {
        let (queue, to_create, window) = (queue.clone(), to_create.clone(), window.clone());
        tasks.push(tokio::spawn(async move {
            while to_create.take() {
                if let Some(window) = &window {
                    window.enter().await;
                }
                queue.add_job(job()).await?;
            }
            Result::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(began.elapsed())
}

async fn add_backlog(queue: &Queue, jobs: usize) -> Result<()> {
    for begin in (0..jobs).step_by(1000) {
        queue.add_jobs((begin..jobs.min(begin + 1000)).map(|_| job()).collect()).await?;
    }
    Ok(())
}

async fn handle(job: RunningJob, window: Arc<Window>) -> std::result::Result<(), effectum::Error> {
    let _payload: serde_json::Value = job.json_payload()?;
    window.leave();
    Ok(())
}

async fn worker(queue: &Queue, window: Arc<Window>) -> Result<Worker> {
    let runner = JobRunner::builder("pdf", handle).autoheartbeat(false).build();
    let builder = Worker::builder(queue, window).jobs([runner]);
    Ok(builder.min_concurrency(CONCURRENCY_MAX / 2).max_concurrency(CONCURRENCY_MAX).build().await?)
}

/// From the start of the worker until none is left in the store.
async fn process(queue: &Queue, jobs: usize) -> Result<Duration> {
    let began = Instant::now();
    let worker = worker(queue, Window::new()).await?;
    let elapsed = finish(queue, &worker, jobs, began).await?;
    worker.unregister(Some(Duration::from_secs(10))).await?;
    Ok(elapsed)
}

async fn mixed(queue: &Arc<Queue>, jobs: usize) -> Result<Duration> {
    let window = Window::new();
    let worker = worker(queue, window.clone()).await?;
    let began = Instant::now();
    create(queue, jobs, IN_FLIGHT, Some(window)).await?;
    let elapsed = finish(queue, &worker, jobs, began).await?;
    worker.unregister(Some(Duration::from_secs(10))).await?;
    Ok(elapsed)
}

async fn finish(queue: &Queue, worker: &Worker, jobs: usize, began: Instant) -> Result<Duration> {
    while (worker.counts().finished as usize) < jobs {
        within_two_minutes(began)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    loop {
        let active = queue.num_active_jobs().await?;
        if active.pending + active.running == 0 {
            return Ok(began.elapsed());
        }
        within_two_minutes(began)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn count(file: &Path, rows: &str) -> Result<usize> {
    let connection = rusqlite::Connection::open(file)?;
    Ok(connection.query_row(&format!("SELECT count(*) FROM {rows}"), [], |row| row.get(0))?)
}

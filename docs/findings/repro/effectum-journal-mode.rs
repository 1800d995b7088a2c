//! The file is never in WAL mode, so a reader keeps effectum from writing.
//!
//! effectum = "=0.7.0"
//! rusqlite = { version = "=0.31.0", features = ["bundled"] }
//! tempfile = "=3.27.0"
//! tokio = { version = "=1.54.1", features = ["macros", "rt-multi-thread", "time"] }

use std::time::{Duration, Instant};

use effectum::{Job, Queue};
use rusqlite::Connection;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long a reader looks at the table.
const READ: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<()> {
    let runs = std::env::var("RUNS").map_or(3, |it| it.parse().expect("RUNS is a number"));
    let mut wrong = 0;
    for _ in 0..runs {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("effectum.db");
        // Never dropped: effectum closes itself on a runtime, which may be gone by then.
        let queue = &*Box::leak(Box::new(Queue::new(&file).await?));
        let reader = Connection::open(&file)?;

        let mode: String = reader.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        wrong += usize::from(mode != "wal");
        println!("{mode}: {}", add_beside(&reader, queue).await?);

        let mode: String = reader.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))?;
        println!("{mode}, set here: {}", add_beside(&reader, queue).await?);
    }
    println!("a new file was not in WAL mode in {wrong} of {runs} runs");
    Ok(())
}

/// Adds a job while another connection reads.
async fn add_beside(reader: &Connection, queue: &Queue) -> Result<String> {
    let begun = Instant::now();
    reader.execute_batch("BEGIN")?;
    reader.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, u64>(0))?;
    let read = async {
        tokio::time::sleep(READ).await;
        reader.execute_batch("COMMIT")
    };
    let add = async {
        Job::builder("work").add_to(queue).await?;
        Ok::<_, effectum::Error>(begun.elapsed())
    };
    let (read, added) = tokio::join!(read, add);
    read?;
    Ok(format!("a job was added after {} ms, beside a reader of {} ms", added?.as_millis(), READ.as_millis()))
}

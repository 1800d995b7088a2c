//! Writes a clean history of about so many events to standard output, for `kew check` to judge:
//!
//!     cargo run --release -p kew-spec --example clean_history 10000000 > clean.jsonl

#[path = "../benches/clean/mod.rs"]
mod clean;

use std::io::{self, BufWriter, Write};

use kew_spec::history::Writer;

fn main() -> io::Result<()> {
    let asked = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let Some(events) = asked else {
        eprintln!("usage: clean_history EVENTS");
        std::process::exit(2);
    };
    let mut writer = Writer::new(BufWriter::new(io::stdout().lock()), &clean::header())?;
    let mut failed = None;
    let played = clean::play(events, |event| failed = failed.take().or(writer.write(&event).err()));
    if let Some(error) = failed {
        return Err(error);
    }
    eprintln!("{} events of {} jobs", played.events, played.jobs);
    writer.finish()?.flush()
}

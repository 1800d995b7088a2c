//! Judges a clean history of about so many events while it is made, and tells what was resident:
//!
//!     /usr/bin/time -v cargo run --release -p kew-spec --example judge_clean 10000000

#[path = "../benches/clean/mod.rs"]
mod clean;

use kew_spec::check::Checker;
use kew_spec::verdict::State;

fn main() {
    let asked = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let Some(events) = asked else {
        eprintln!("usage: judge_clean EVENTS");
        std::process::exit(2);
    };
    let mut checker = Checker::new(&clean::header());
    let mut line = 1;
    let played = clean::play(events, |event| {
        line += 1;
        checker.see(line, &event);
    });
    let verdict = checker.finish();
    let (kept, broken) = (verdict.count(State::Kept), verdict.count(State::Broken));
    println!("{} events of {} jobs: {kept} clauses kept, {broken} broken", played.events, played.jobs);
}

//! The figures as people read them.

use super::seeds::SeedSpeed;
use super::worlds::{Measured, World, WorldSpeed};
use super::{ROUNDS, Speed};
use crate::report::terminal::{counted, grouped};

/// The page.
pub(super) fn page(speed: &Speed) -> String {
    let mut page = format!(
        "kew {} · speed · the middle of {ROUNDS} rounds · {} at a time where seeds are tried\n\n",
        speed.kew, speed.jobs
    );
    page.push_str(&line("", "simulated s per s", ""));
    speed.worlds.iter().for_each(|it| page.push_str(&world(it)));
    page.push_str(&seeds(&speed.seeds));
    for broken in speed.broken() {
        page.push_str(&format!("  broken: {broken}\n"));
    }
    page
}

fn line(name: &str, figure: &str, more: &str) -> String {
    format!("  {name:<13}  {figure:>17}  {more}").trim_end().to_owned() + "\n"
}

fn world(it: &WorldSpeed) -> String {
    let Some(first) = it.rounds.first() else { return String::new() };
    let (name, about) = match it.world {
        World::Idle => ("idle world", "nothing to do".to_owned()),
        World::Day => ("busy day", busy(first)),
    };
    let shape = format!("{}, tick {} ms", length(first.world.simulated_ms), first.tick_ms);
    let percent = it.percent_of_bare;
    let times = format!("{}.{:02}", percent / 100, percent % 100);
    [
        line(name, &grouped(it.pace), &format!("{shape}: {about}")),
        line("turmoil alone", &grouped(it.bare_pace), &format!("{} that sleep", counted(first.hosts as u64, "host"))),
        line("ratio", &times, "in the same process"),
        "\n".to_owned(),
    ]
    .concat()
}

fn busy(first: &Measured) -> String {
    format!("{}, judged in {} ms besides", counted(first.events, "event"), grouped(first.judged_us.div_ceil(1_000)))
}

fn seeds(it: &SeedSpeed) -> String {
    let round = format!("{}, each in two processes: the same hash", counted(it.seeds, "seed"));
    let [median, p90] = [it.run_median_us, it.run_p90_us].map(|us| grouped(us.div_ceil(1_000)));
    line("seeds an hour", &grouped(it.an_hour), &round)
        + &line("one run", &format!("{median} ms"), &format!("nine of ten at most {p90} ms"))
}

/// Of what is at least minutes long.
fn length(ms: u64) -> String {
    let minutes = ms / 60_000;
    if minutes < 120 { counted(minutes, "minute") } else { counted(minutes / 60, "hour") }
}

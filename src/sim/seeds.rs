//! Does anything break? Runs seeds, adds their verdicts up, prints one page. With `--twice` it also makes sure that a
//! seed gives the same run in two processes.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use kew_sim::capsule::Broken;
use kew_spec::causes::Causes;
use kew_spec::verdict::Verdict;
use serde::Serialize;

use super::coverage::Cell;
use super::minimize::{self, Minimized};
use super::play::{Played, play};
use super::replay::Replay;
use super::total::{Summary, Total};
use super::{Arguments, SEEDS, plan_of, pool, show, twice};
use crate::outcome::{End, Failure};
use crate::report::excerpt::Excerpt;
use crate::report::json::VERSION;
use crate::report::{self, progress, terminal};

/// What `kew sim --json` prints.
#[derive(Serialize)]
struct Simulated<'a> {
    kew: &'static str,
    took_ms: u64,
    simulated_ms: u64,
    verdict: &'a Verdict,
    redeliveries: &'a Causes,
    coverage: Vec<Cell>,
    broken: Vec<BrokenClause<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimized: Option<&'a Minimized>,
    runs: &'a [Summary],
}

/// A broken clause and the seed that shows it best.
#[derive(Serialize)]
pub(super) struct BrokenClause<'a> {
    clause: &'a str,
    seed: u64,
    replay: String,
    excerpt: &'a Excerpt,
}

/// Runs the seeds that were asked for.
pub(super) fn run(arguments: &Arguments) -> Result<End, Failure> {
    let seeds = arguments.range(SEEDS)?;
    let started = now();
    let mut total = Total::none();
    let mut kept = Ok(());
    each(arguments, seeds.clone(), |played| {
        // One seed has one capsule; of several, the shrunk one is kept.
        if let (Some(seed), Some(file), false) = (arguments.seed, &arguments.capsule, arguments.minimize) {
            kept = plan_of(arguments, seed).and_then(|plan| minimize::keep(arguments, file, &plan, &played));
        }
        total.add(played);
        ControlFlow::Continue(())
    })?;
    kept?;
    let took_ms = elapsed_ms(started);
    let minimized = shrink(arguments, &total, None)?;
    show::report(arguments, &total, minimized.as_ref())?;
    if arguments.json {
        report::print_json(&Simulated {
            kew: VERSION,
            took_ms,
            simulated_ms: total.simulated_ms(),
            verdict: &total.verdict,
            redeliveries: &total.causes,
            coverage: total.coverage.cells(),
            broken: broken(arguments, &total),
            minimized: minimized.as_ref(),
            runs: &total.runs,
        });
    } else {
        report::print(&page(arguments, &seeds, &total, took_ms));
        report::print(&minimized.as_ref().map(minimize::page).unwrap_or_default());
        report::print(&terminal::written(arguments.report.as_deref()));
    }
    if arguments.coverage && total.verdict.broken().next().is_none() {
        total.coverage.demand(seeds.end - seeds.start)?;
    }
    Ok(End::from(&total.verdict))
}

/// Shrinks the run that shows best how `clause` breaks (absent: the first broken one), if that was asked for.
pub(super) fn shrink(arguments: &Arguments, total: &Total, clause: Option<&str>) -> Result<Option<Minimized>, Failure> {
    let shown = match clause {
        Some(clause) => total.shown.get_key_value(clause),
        None => total.shown.first_key_value(),
    };
    let Some((clause, (seed, excerpt))) = shown.filter(|_| arguments.minimize) else { return Ok(None) };
    let broken = Broken { clause: clause.clone(), at: excerpt.broke_at.clone().unwrap_or_default() };
    minimize::run(arguments, plan_of(arguments, *seed)?, broken).map(Some)
}

/// Plays each of `seeds` and hands what it came to to `take`, in order, until it breaks off.
pub(super) fn each(
    arguments: &Arguments,
    seeds: Range<u64>,
    mut take: impl FnMut(Played) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let bar = progress::seeds(seeds.end - seeds.start);
    let mut ended = Ok(());
    let play = |seed| play_as_asked(arguments, seed);
    pool::in_order(seeds, arguments.jobs(), play, |played| {
        bar.inc(1);
        match played {
            Ok(played) => take(played),
            Err(failure) => {
                ended = Err(failure);
                ControlFlow::Break(())
            }
        }
    });
    bar.finish_and_clear();
    ended
}

/// The line that runs a seed again.
pub(super) fn replay(arguments: &Arguments, seed: u64) -> Replay<'_> {
    Replay { seed, scenario: arguments.scenario.as_deref(), planted: arguments.planted.as_deref() }
}

fn play_as_asked(arguments: &Arguments, seed: u64) -> Result<Played, Failure> {
    let replay = replay(arguments, seed);
    if arguments.twice { twice::play(&replay) } else { play(&replay, arguments.history.as_deref()) }
}

/// Each broken clause with the seed that shows it best.
pub(super) fn broken<'a>(arguments: &Arguments, total: &'a Total) -> Vec<BrokenClause<'a>> {
    let shown = total.shown.iter();
    shown
        .map(|(clause, (seed, excerpt))| {
            let replay = replay(arguments, *seed).to_string();
            BrokenClause { clause, seed: *seed, replay, excerpt }
        })
        .collect()
}

/// The broken clauses as people read them.
pub(super) fn broken_page(arguments: &Arguments, total: &Total) -> String {
    let mut page = String::new();
    for entry in total.verdict.broken() {
        let shown = total.shown.get(&entry.clause);
        page.push('\n');
        page.push_str(&terminal::broken(entry, shown.map(|(_, excerpt)| excerpt)));
        if let Some((seed, _)) = shown {
            page.push_str(&format!("      replay: {}\n", replay(arguments, *seed)));
        }
    }
    page
}

fn page(arguments: &Arguments, seeds: &Range<u64>, total: &Total, took_ms: u64) -> String {
    let mut page = format!("kew {VERSION} · {}{}\n\n", seeds_told(seeds), asked(arguments));
    page.push_str(&terminal::table(&total.verdict));
    page.push('\n');
    page.push_str(&terminal::summary(&total.verdict));
    page.push_str(&terminal::redeliveries(&total.causes));
    page.push_str(&total.drained());
    page.push_str(&total.pace(took_ms));
    if arguments.twice {
        page.push_str("  each seed run in two processes: the same, to every event and every byte on the network\n");
    }
    if let (Some(_), [run]) = (arguments.seed, total.runs.as_slice()) {
        page.push_str(&format!("  hash {}\n", run.hash));
    }
    if arguments.coverage {
        page.push_str(&total.coverage.page(seeds.end - seeds.start));
    }
    page.push_str(&broken_page(arguments, total));
    page
}

/// `seed 37`, or `100 seeds (0 to 99)`.
pub(super) fn seeds_told(seeds: &Range<u64>) -> String {
    match seeds.end - seeds.start {
        1 => format!("seed {}", seeds.start),
        count => format!("{} ({} to {})", terminal::counted(count, "seed"), seeds.start, seeds.end - 1),
    }
}

fn asked(arguments: &Arguments) -> String {
    let jobs = format!(" · {} at a time", arguments.jobs());
    let scenario = arguments.scenario.as_ref().map(|name| format!(" · scenario {name}"));
    let planted = arguments.planted.as_ref().map(|name| format!(" · planted bug {name}"));
    jobs + &scenario.unwrap_or_default() + &planted.unwrap_or_default()
}

/// The machine's own time.
#[expect(clippy::disallowed_methods, reason = "how long the user waited; no run can see it")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// How long ago that was.
pub(super) fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(now().duration_since(since).as_millis()).unwrap_or(u64::MAX)
}

//! `kew replay`: plays a capsule again, the decisions that it holds and not the seed that they were drawn from.

use std::path::PathBuf;

use clap::Args;
use kew_sim::capsule::Capsule;
use kew_spec::verdict::Verdict;
use serde::Serialize;

use super::play::{Played, play_capsule};
use super::{capsule, show};
use crate::outcome::{EXIT_CODES, End, Failure};
use crate::report::excerpt::Excerpts;
use crate::report::json::VERSION;
use crate::report::{self, terminal};

const EXAMPLES: &str = "\
Examples:
  kew sim --planted lost-lease-does-not-count --minimize   find a run that breaks, shrink it, keep it
  kew replay retry-at-most-5.capsule                       play it again

A capsule holds what was enqueued when, what each attempt does, which faults strike when, and the
world: change it with an editor and play what you like.";

/// Play a run again from its capsule
///
/// Plays the jobs, operations, outcomes and faults that the capsule lists, judges every clause, and
/// says whether the run is the same, event by event, as when the capsule was written.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// The capsule, as `kew sim --capsule` or `--minimize` wrote it
    file: PathBuf,
    /// Write the history to a file, for kew check
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Write a page to look at: the verdict, and the run on a timeline
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What `kew replay --json` prints.
#[derive(Serialize)]
struct Replayed<'a> {
    kew: &'static str,
    same: bool,
    hash: &'a str,
    simulated_ms: u64,
    events: u64,
    verdict: &'a Verdict,
    excerpts: &'a Excerpts,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<End, Failure> {
    super::refuse_unseeded()?;
    let kept = capsule::read(&arguments.file)?;
    let played = play_capsule(&arguments.file, arguments.history.as_deref())?;
    let same = played.hash == kept.hash;
    if let Some(path) = &arguments.report {
        show::report_capsule(path, &arguments.file, &format!("{} · seed {}", kept.plan.scenario.name, kept.plan.seed))?;
    }
    if arguments.json {
        report::print_json(&Replayed {
            kew: VERSION,
            same,
            hash: &played.hash,
            simulated_ms: played.simulated_ms,
            events: played.events,
            verdict: &played.verdict,
            excerpts: &played.excerpts,
        });
    } else {
        report::print(&page(&kept, &played, same));
    }
    Ok(End::from(&played.verdict))
}

fn page(kept: &Capsule, played: &Played, same: bool) -> String {
    let plan = &kept.plan;
    let planted = plan.planted.as_ref().map(|name| format!(" · planted bug {name}")).unwrap_or_default();
    let mut page = format!("kew {VERSION} · {} of seed {}{planted}\n\n", plan.scenario.name, plan.seed);
    page.push_str(&terminal::table(&played.verdict));
    page.push('\n');
    page.push_str(&terminal::summary(&played.verdict));
    for entry in played.verdict.broken() {
        page.push('\n');
        page.push_str(&terminal::broken(entry, played.excerpts.get(&entry.clause)));
    }
    page.push_str(&format!("\n  {}\n", sameness(kept, same)));
    page
}

/// Whether it went as it went then, and whose doing it is if not.
fn sameness(kept: &Capsule, same: bool) -> String {
    let mine = capsule::program();
    let broken = kept.broken.as_ref().map(|it| format!("; then, {} was broken", it.clause)).unwrap_or_default();
    match (same, kept.program == mine) {
        (true, _) => "the same run, event by event, as when the capsule was written".into(),
        (false, true) => format!("not the run that was written down: it was changed since{broken}"),
        (false, false) => {
            let told =
                format!("{} {} built by {}", kept.program.version, kept.program.revision, kept.program.toolchain);
            format!("the same decisions in another program: the capsule is by kew {told}{broken}")
        }
    }
}

//! `kew verify`: puts the scenarios to a queue that somebody else wrote, and shows how it stands with every clause.

mod again;
mod badge;
mod html;
mod junit;
mod list;
#[cfg(test)]
mod made_up;
mod page;
mod scoreboard;
mod self_check;
mod smoke;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use clap::Args;
use kew_spec::clause::CLAUSES;
use kew_spec::scenario;
use kew_verify::known::{self, Against, Known};
use kew_verify::target::{Ready, Target};
use kew_verify::{Options, Progress, Verified, scenarios};

use again::Again;

use crate::outcome::{End, Failure};
use crate::report::{self, progress, terminal};

const EXAMPLES: &str = "\
Examples:
  kew verify kew                      Kew's own queue, over HTTP
  kew verify --list                   the systems there are, and which are installed
  kew verify bullmq --install         install one (pinned versions, in its own folder) and verify it
  kew verify bullmq retry/at-most     one clause alone; a family such as `retry` does as well
  kew verify ./my-queue --smoke       try an adapter of your own: docs/adapters.md
  kew verify bullmq --report b.html   see how it broke what it broke
  kew verify --scoreboard results     put the results of several systems side by side";

const ENDS: &str = "\
Exit codes:
  0  no clause is broken, but for those that known-failing.toml names
  1  another clause is broken, or one that it names is kept or has expired; or what the system
     declares was never exercised; with --smoke, a step failed
  2  wrong usage or input; the system is not installed, or its server does not answer
  3  the harness or the adapter failed; with --self-check, a lie passed or an honest queue was accused";

/// Verify a queue that somebody else wrote
///
/// Plays the scenarios against a real system, in real time or, where its clock can be moved, in
/// virtual time, through an adapter in any language, and lets the same checkers judge what was seen. What the system does not offer is not held
/// against it. Each broken clause comes with the smallest scenario that shows it, and with how
/// often it did when it was played again.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{ENDS}"))]
pub(crate) struct Arguments {
    /// A system of `--list`, or a folder with a target.toml, named with a slash: `./my-queue`
    target: Option<String>,
    /// Look at these clauses and families alone
    clauses: Vec<String>,
    /// List the systems there are: which are installed, and how to install the rest
    #[arg(long)]
    list: bool,
    /// Install the system first, if it is not; with --list, every one
    #[arg(long)]
    install: bool,
    /// Check the harness itself: an honest queue must not be accused, and every lie must be named
    #[arg(long)]
    self_check: bool,
    /// Try the adapter alone: one job, one retry, and what it declares
    #[arg(long)]
    smoke: bool,
    /// Print the adapter protocol as a JSON Schema
    #[arg(long)]
    schema: bool,
    /// Where the systems' folders are
    #[arg(long, value_name = "DIR")]
    targets: Option<PathBuf>,
    /// Play this scenario of the library, or this file, in place of the library
    #[arg(long, value_name = "NAME|FILE.toml")]
    scenario: Vec<String>,
    /// How often to play again what broke a clause
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: u32,
    /// Clauses that are known to be broken; absent, the known-failing.toml beside the target.toml
    #[arg(long, value_name = "FILE.toml")]
    known_failing: Option<PathBuf>,
    /// Write each play's history into this directory
    #[arg(long, value_name = "DIR")]
    histories: Option<PathBuf>,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE.json")]
    result: Option<PathBuf>,
    /// Write a page with the verdict, and the timeline of the play that shows it best
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write the result as JUnit XML, one test per clause
    #[arg(long, value_name = "FILE.xml")]
    junit: Option<PathBuf>,
    /// Write a badge: `kew | 27 kept · 2 broken`
    #[arg(long, value_name = "FILE.svg")]
    badge: Option<PathBuf>,
    /// Print a table of all results (`--result`) in this directory; with --report, write it as a page too
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["target", "list", "smoke", "scenario", "result", "junit", "badge", "histories"]
    )]
    scoreboard: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<End, Failure> {
    if arguments.self_check {
        return self_check::run();
    }
    if arguments.schema {
        report::print(kew_verify::protocol::SCHEMA);
        return Ok(End::Kept);
    }
    let root = root(arguments)?;
    if let Some(folder) = &arguments.scoreboard {
        return scoreboard::run(folder, &root, arguments.report.as_deref());
    }
    if arguments.list {
        return list::run(&root, arguments.install);
    }
    let target = target(arguments, &root)?;
    let known = known_of(arguments, &target)?;
    let options = options(arguments)?;
    ready(&target, arguments.install)?;
    let runtime = kew_verify::runtime(&target).map_err(|error| Failure::harness(format!("start: {error}")))?;
    if arguments.smoke {
        return Ok(runtime.block_on(smoke::run(&target)));
    }
    let verified = runtime.block_on(verify(&target, &options))?;
    let mut against = known.against(&verified.result, &today());
    if !arguments.scenario.is_empty() {
        against.unexercised.clear(); // A few scenarios are not meant to try all.
    }
    write_files(arguments, &verified, &known, &against)?;
    report::print(&page::page(&verified, &known, &against, &Again::of(arguments)));
    report::print(&terminal::written(arguments.report.as_deref()));
    Ok(if against.is_fine() { End::Kept } else { End::Broken })
}

async fn verify(target: &Target, options: &Options) -> Result<Verified, Failure> {
    let bar = Mutex::new(None);
    let tell = |progress: Progress| {
        let mut bar = bar.lock().expect("nobody panics with it");
        match progress {
            Progress::Begun { system, plays } => {
                let begun = progress::plays(plays as u64);
                begun.set_message(system);
                *bar = Some(begun);
            }
            Progress::Played { .. } => {
                if let Some(bar) = bar.as_ref() {
                    bar.inc(1);
                }
            }
        }
    };
    let verified = kew_verify::verify(target, options, &tell).await;
    if let Some(bar) = bar.lock().expect("nobody panics with it").take() {
        bar.finish_and_clear();
    }
    verified.map_err(|error| Failure::harness(format!("verify {}: {error}", target.name)))
}

/// Where the systems' folders are: as told, below here, or where this program was built.
fn root(arguments: &Arguments) -> Result<PathBuf, Failure> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify/targets");
    let candidates = [arguments.targets.clone(), Some("verify/targets".into()), Some(built)];
    let found = candidates.into_iter().flatten().find(|path| path.is_dir());
    found.ok_or_else(|| Failure::input("find the systems' folders; say where with --targets DIR"))
}

fn target(arguments: &Arguments, root: &Path) -> Result<Target, Failure> {
    let Some(name) = &arguments.target else {
        return Err(Failure::input("verify nothing: name a system; `kew verify --list` lists them"));
    };
    let folder = if name.contains('/') { PathBuf::from(name) } else { root.join(name) };
    if !folder.join(kew_verify::target::FILE).is_file() {
        return Err(Failure::input(format!(
            "find a target.toml in {}; `kew verify --list` lists the systems there are",
            folder.display()
        )));
    }
    Target::read(&folder).map_err(Failure::input)
}

fn known_of(arguments: &Arguments, target: &Target) -> Result<Known, Failure> {
    let beside = target.folder.join(known::FILE);
    match &arguments.known_failing {
        Some(path) => Known::read(path).map_err(Failure::input),
        None if beside.is_file() => Known::read(&beside).map_err(Failure::input),
        None => Ok(Known::default()),
    }
}

fn options(arguments: &Arguments) -> Result<Options, Failure> {
    for only in &arguments.clauses {
        if !CLAUSES.iter().any(|clause| clause.id == only || clause.family() == only) {
            return Err(Failure::input(format!("find the clause or family {only}; `kew spec` lists them")));
        }
    }
    let scenarios: Vec<_> = arguments.scenario.iter().map(|name| scenario_of(name)).collect::<Result<_, _>>()?;
    let scenarios = (!scenarios.is_empty()).then_some(scenarios);
    Ok(Options { only: arguments.clauses.clone(), repeats: arguments.repeats, scenarios, ..Options::default() })
}

fn scenario_of(name: &str) -> Result<scenario::Scenario, Failure> {
    if let Some(found) = scenario::find(name).or_else(|| scenarios::find(name)) {
        return Ok(found);
    }
    let text = fs::read_to_string(name)
        .map_err(|error| Failure::input(format!("read scenario {name}: it is not in the library, and {error}")))?;
    scenario::Scenario::parse(&text).map_err(|error| Failure::input(format!("understand scenario {name}: {error}")))
}

/// Makes sure that the target can be run.
fn ready(target: &Target, install: bool) -> Result<(), Failure> {
    match target.ready() {
        Ready::Yes => Ok(()),
        Ready::NotInstalled if install => {
            target.install().map_err(Failure::harness)?;
            ready(target, false) // Its server may be missing as well.
        }
        Ready::NotInstalled => {
            let name = &target.name;
            Err(Failure::input(format!("run {name}: it is not installed; `kew verify {name} --install` does that")))
        }
        Ready::NoServer(server) => {
            let what = target.service.as_deref().unwrap_or("its server");
            Err(Failure::input(format!("run {}: {what} does not answer at {server}; start it", target.name)))
        }
    }
}

/// Writes what is asked for beside the terminal.
fn write_files(arguments: &Arguments, verified: &Verified, known: &Known, against: &Against) -> Result<(), Failure> {
    let result = &verified.result;
    if let Some(folder) = &arguments.histories {
        write_histories(folder, verified)?;
    }
    if let Some(path) = &arguments.result {
        let text = serde_json::to_string_pretty(result).expect("a result is JSON");
        write(path, &(text + "\n"))?;
    }
    if let Some(path) = &arguments.report {
        html::write(path, verified, &Again::of(arguments))?;
    }
    if let Some(path) = &arguments.junit {
        write(path, &junit::xml(result, known, against))?;
    }
    if let Some(path) = &arguments.badge {
        write(path, &badge::svg(result, against))?;
    }
    Ok(())
}

fn write_histories(folder: &Path, verified: &Verified) -> Result<(), Failure> {
    let fault = |error: std::io::Error| Failure::input(format!("write into {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(fault)?;
    for (name, play) in &verified.plays {
        let mut text = serde_json::to_string(&play.header).expect("a header is JSON") + "\n";
        for event in &play.events {
            text += &(serde_json::to_string(event).expect("an event is JSON") + "\n");
        }
        fs::write(folder.join(format!("{name}.jsonl")), text).map_err(fault)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::input(format!("write {}: {error}", path.display())))
}

/// Today, as known-failing files state days.
fn today() -> String {
    let now = jiff::Timestamp::now().to_string();
    now.split('T').next().unwrap_or(&now).to_owned()
}

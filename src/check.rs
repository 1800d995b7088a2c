//! `kew check`: judges a history, whoever wrote it. It streams: of the history it keeps what the checkers need, and
//! reads the few lines that findings name a second time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use kew_spec::causes::Causes;
use kew_spec::check::Checker;
use kew_spec::history::{self, Event, Header, Reader};
use kew_spec::verdict::Verdict;

use crate::outcome::{EXIT_CODES, End, Failure};
use crate::recent::{Kept, Recorded};
use crate::report::excerpt::{self, Excerpts};
use crate::report::json::{Checked, VERSION};
use crate::report::{self, progress, terminal};

const EXAMPLES: &str = "\
Examples:
  kew check history.jsonl             judge a file
  my-queue-test | kew check -         judge what a program writes

The format is one JSON object a line; docs/history.md describes it.";

/// Judge a history: what a queue was seen to do
///
/// Reads a history in the JSON Lines format of docs/history.md, from any system, and tells for
/// each clause whether it was kept, broken or never put to the test. A broken clause is shown
/// with the lines of the history where it broke.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// The history, or - for standard input
    history: PathBuf,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// What was read and judged.
struct Judged {
    header: Header,
    events: u64,
    verdict: Verdict,
    /// How often jobs were delivered again, by cause, where that could be seen.
    causes: Option<Causes>,
    excerpts: Excerpts,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<End, Failure> {
    let is_stdin = arguments.history.as_os_str() == "-";
    let name = if is_stdin { "standard input".into() } else { arguments.history.display().to_string() };
    let judged = if is_stdin { judge_stdin(&name)? } else { judge_file(&arguments.history, &name)? };
    if arguments.json {
        print_json(&name, &judged);
    } else {
        report::print(&page(&name, &judged));
    }
    Ok(End::from(&judged.verdict))
}

fn judge_file(path: &Path, name: &str) -> Result<Judged, Failure> {
    let unreadable = |error: io::Error| Failure::input(format!("read history {name}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let judged = judge(BufReader::new(progress::reading(file, bytes)), name)?;
    let named = excerpt::lines_named(&judged.verdict);
    let mut shown = BTreeMap::new();
    if let Some(&last) = named.last() {
        let again = Reader::new(BufReader::new(File::open(path).map_err(unreadable)?));
        for read in again.map_err(|error| at_fault(&error, name))? {
            let (line, event) = read.map_err(|error| at_fault(&error, name))?;
            if named.contains(&line) {
                shown.insert(line, event);
            }
            if last <= line {
                break;
            }
        }
    }
    Ok(Judged { excerpts: excerpts(&judged.verdict, &shown), ..judged })
}

/// Standard input cannot be read twice, so a bounded part of it is remembered.
fn judge_stdin(name: &str) -> Result<Judged, Failure> {
    let kept = Kept::shared();
    let judged = judge(Recorded::new(io::stdin().lock(), &kept), name)?;
    let kept = kept.borrow();
    let parse = |&line: &u64| Some((line, serde_json::from_slice(kept.line(line)?).ok()?));
    let shown = excerpt::lines_named(&judged.verdict).iter().filter_map(parse).collect();
    Ok(Judged { excerpts: excerpts(&judged.verdict, &shown), ..judged })
}

/// Reads a history to its end. What shows its findings is for the caller to add.
fn judge<R: BufRead>(input: R, name: &str) -> Result<Judged, Failure> {
    let reader = Reader::new(input).map_err(|error| at_fault(&error, name))?;
    let header = reader.header().clone();
    let mut checker = Checker::new(&header);
    let mut events = 0;
    for read in reader {
        let (line, event) = read.map_err(|error| at_fault(&error, name))?;
        checker.see(line, &event);
        events += 1;
    }
    Ok(Judged { header, events, causes: checker.causes(), verdict: checker.finish(), excerpts: Excerpts::default() })
}

fn at_fault(error: &history::Error, name: &str) -> Failure {
    Failure::input(format!("read history {name}: line {}: {}", error.line, error.message))
}

fn excerpts(verdict: &Verdict, shown: &BTreeMap<u64, Event>) -> Excerpts {
    excerpt::excerpts(verdict, &shown.iter().map(|(&line, event)| (line, event)).collect())
}

fn print_json(name: &str, judged: &Judged) {
    report::print_json(&Checked {
        kew: VERSION,
        history: name,
        system: &judged.header.system,
        events: judged.events,
        verdict: &judged.verdict,
        redeliveries: judged.causes.as_ref(),
        excerpts: &judged.excerpts,
    });
}

fn page(name: &str, judged: &Judged) -> String {
    let verdict = &judged.verdict;
    let player = Some(&judged.header.player).filter(|player| !player.is_empty());
    let seen_by = player.map(|player| format!(", seen by {player}")).unwrap_or_default();
    let events = terminal::counted(judged.events, "event");
    let mut page = format!("kew {VERSION} · {name} · {}{seen_by} · {events}\n\n", judged.header.system);
    page.push_str(&terminal::table(verdict));
    page.push('\n');
    page.push_str(&terminal::summary(verdict));
    page.push_str(&judged.causes.as_ref().map(terminal::redeliveries).unwrap_or_default());
    for entry in verdict.broken() {
        page.push('\n');
        page.push_str(&terminal::broken(entry, judged.excerpts.get(&entry.clause)));
        page.push_str(&terminal::others(entry));
    }
    page
}

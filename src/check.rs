//! `kew check`: judges a history, whoever wrote it. It streams: of the history it keeps what the checkers need, and
//! reads the few lines that findings name a second time.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use clap::Args;
use kew_spec::history::{self, Reader};

use crate::judged::Judged;
use crate::outcome::{EXIT_CODES, End, Failure};
use crate::recent::{Kept, Recorded};
use crate::report::excerpt::{self, Excerpts};
use crate::report::html::{self, Page};
use crate::report::json::{Checked, VERSION};
use crate::report::{self, progress, terminal};
use crate::shown::Shown;

const EXAMPLES: &str = "\
Examples:
  kew check history.jsonl             judge a file
  my-queue-test | kew check -         judge what a program writes
  kew check h.jsonl --report h.html   and look at it in a browser

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
    /// Write a page to look at: the verdict, and the history event by event on a timeline
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<End, Failure> {
    let is_stdin = arguments.history.as_os_str() == "-";
    let name = if is_stdin { "standard input".into() } else { arguments.history.display().to_string() };
    let (judged, shown) = if is_stdin { judge_stdin(arguments, &name)? } else { judge_file(arguments, &name)? };
    let excerpts = excerpt::excerpts(&judged.verdict, &shown.by_line());
    if let Some(path) = &arguments.report {
        html::write(path, &report_page(&name, &judged, &shown))?;
    }
    if arguments.json {
        print_json(&name, &judged, &excerpts);
    } else {
        report::print(&page(&name, &judged, &excerpts));
        report::print(&terminal::written(arguments.report.as_deref()));
    }
    Ok(End::from(&judged.verdict))
}

fn judge_file(arguments: &Arguments, name: &str) -> Result<(Judged, Shown), Failure> {
    let unreadable = |error: io::Error| Failure::input(format!("read history {name}: {error}"));
    let open = || File::open(&arguments.history).map_err(unreadable);
    let file = open()?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let judged = judge(BufReader::new(progress::reading(file, bytes)), name)?;
    let mut shown = to_show(arguments, &judged);
    if !shown.lines().is_empty() {
        let again = Reader::new(BufReader::new(open()?)).map_err(|error| at_fault(&error, name))?;
        for read in again {
            let (line, event) = read.map_err(|error| at_fault(&error, name))?;
            shown.give(line, event);
            if shown.lines().end() <= &line {
                break;
            }
        }
    }
    Ok((judged, shown))
}

/// Standard input cannot be read twice, so a bounded part of it is remembered.
fn judge_stdin(arguments: &Arguments, name: &str) -> Result<(Judged, Shown), Failure> {
    let kept = Kept::shared();
    let judged = judge(Recorded::new(io::stdin().lock(), &kept), name)?;
    let kept = kept.borrow();
    let mut shown = to_show(arguments, &judged);
    for line in shown.lines().filter(|line| shown.wants(*line)).collect::<Vec<_>>() {
        let event = kept.line(line).and_then(|text| serde_json::from_slice(text).ok());
        event.into_iter().for_each(|event| shown.give(line, event));
    }
    Ok((judged, shown))
}

fn to_show(arguments: &Arguments, judged: &Judged) -> Shown {
    match arguments.report {
        Some(_) => Shown::for_page(&judged.verdict, judged.last_line),
        None => Shown::for_excerpts(&judged.verdict),
    }
}

fn judge<R: BufRead>(input: R, name: &str) -> Result<Judged, Failure> {
    Judged::of(input).map_err(|error| at_fault(&error, name))
}

fn at_fault(error: &history::Error, name: &str) -> Failure {
    Failure::input(format!("read history {name}: line {}: {}", error.line, error.message))
}

fn print_json(name: &str, judged: &Judged, excerpts: &Excerpts) {
    report::print_json(&Checked {
        kew: VERSION,
        history: name,
        system: &judged.header.system,
        events: judged.events,
        verdict: &judged.verdict,
        redeliveries: judged.causes.as_ref(),
        excerpts,
    });
}

fn page(name: &str, judged: &Judged, excerpts: &Excerpts) -> String {
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
        page.push_str(&terminal::broken(entry, excerpts.get(&entry.clause)));
        page.push_str(&terminal::others(entry));
    }
    page
}

fn report_page<'a>(name: &'a str, judged: &'a Judged, shown: &'a Shown) -> Page<'a> {
    Page {
        title: name,
        subtitle: "",
        replay: None,
        header: &judged.header,
        events: &shown.events,
        left_out: judged.events - shown.events.len() as u64,
        verdict: &judged.verdict,
        opening: None,
        across: None,
        not_offered: None,
        coverage: None,
    }
}

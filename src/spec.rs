//! `kew spec`: prints the clause catalogue, or the policies to start from. `docs/clauses.md` is exactly its output.

use std::fmt::Write;

use clap::Args;
use kew_spec::clause::{CLAUSES, Clause};
use kew_spec::queues::DEFAULT_TOML;
use serde::Serialize;

use crate::architecture::origin;
use crate::outcome::{EXIT_CODES, End, Failure};
use crate::report;

const EXAMPLES: &str = "\
Examples:
  kew spec                            read all clauses
  kew spec --queues > queues.toml     start a file of your own policies";

/// Print what a job queue must promise
///
/// Prints every clause with its text, when it must hold, where it comes from and what a player
/// must see to judge it: as Markdown, unless told otherwise.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// Print the clauses as JSON
    #[arg(long, group = "form")]
    json: bool,
    /// Print one line per clause: its id and its text
    #[arg(long, group = "form")]
    clauses: bool,
    /// Print the policies of the five default queues, a file to start your own from
    #[arg(long, group = "form")]
    queues: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<End, Failure> {
    if arguments.queues {
        report::print(DEFAULT_TOML);
    } else if arguments.json {
        report::print_json(&CLAUSES);
    } else if arguments.clauses {
        report::print(&list());
    } else {
        report::print(&markdown());
    }
    Ok(End::Kept)
}

fn list() -> String {
    let width = CLAUSES.iter().map(|clause| clause.id.len()).max().unwrap_or(0);
    CLAUSES.iter().map(|clause| format!("{:width$}  {}\n", clause.id, clause.text)).collect()
}

const HEAD: &str = "\
# What a job queue must promise

Each clause has an id, a text, and:

- **when** it must hold. *Safety*: always, whatever fails. *Liveness*: once all faults have healed and the queue has
  drained. *Timing*: while no fault is active and a processor slot is free, within the player's stated slack.
- **where it comes from**: a line of [the architecture](background-processing-architecture.md) that Kew began from, or
  *chosen* where that is silent.
- **what a player must see** for it to be judged at all. A clause that needs more than a history holds is reported as
  not exercised, never as kept.

`kew spec` prints this page.
";

fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let mut family = "";
    for clause in CLAUSES {
        if clause.family() != family {
            family = clause.family();
            let _ = write!(page, "\n## {family}\n\n");
        }
        page.push_str(&entry(clause));
    }
    page
}

fn entry(clause: &Clause) -> String {
    let needs: Vec<_> = clause.needs.iter().map(word).collect();
    format!(
        "- **`{}`** {}\n  *({}; {}; needs {})*\n",
        clause.id,
        clause.text,
        word(clause.level),
        origin(clause.source),
        needs.join(", "),
    )
}

/// The word that stands for a value in JSON.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("levels and sights are words, not {other:?}"),
    }
}

//! The command line of Kew. One file per command; `report/` shows verdicts.
//!
//! A command reads its arguments, lets another crate do the work, prints, and ends as [`outcome::End`] says. Nothing
//! here knows what is right: that is `kew-spec`'s.

mod adapter;
mod architecture;
mod check;
mod judged;
mod outcome;
mod recent;
mod report;
mod serve;
mod shown;
mod sim;
mod spec;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use outcome::{End, Failure};

const EXAMPLES: &str = "\
Examples:
  kew sim                     try the reference queue in 100 simulated worlds
  kew check history.jsonl     judge what any queue was seen to do
  kew serve                   run the queue here, on one SQLite file

Each command's --help says more.";

/// A queue allocates for each job, and much of it on one thread what another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Proves that job queues keep their promises
///
/// Kew states what job queues promise (at most so many deliveries, no lost job, no early retry, ...),
/// runs a queue in simulated worlds with real faults, and judges what happened, clause by clause.
#[derive(Debug, Parser)]
#[command(name = "kew", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", outcome::EXIT_CODES))]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Spec(spec::Arguments),
    Check(check::Arguments),
    Sim(sim::Arguments),
    Replay(sim::rerun::Arguments),
    Verify(verify::Arguments),
    Serve(serve::Arguments),
    /// Kew's own adapter, for `kew verify kew`
    #[command(hide = true)]
    Adapter,
    /// The PDF handler's child: a résumé on standard input becomes a PDF on standard output
    #[command(hide = true)]
    RenderPdf,
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    if let Command::RenderPdf = command {
        return kew_handlers::pdf::child();
    }
    if let Command::Adapter = command {
        return adapter::run();
    }
    match run(command) {
        Ok(end) => end.into(),
        Err(failure) => {
            report::say(&failure.to_string());
            failure.into()
        }
    }
}

fn run(command: Command) -> Result<End, Failure> {
    match command {
        Command::Spec(arguments) => spec::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Replay(arguments) => sim::rerun::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::RenderPdf | Command::Adapter => unreachable!("it is run before"),
    }
}

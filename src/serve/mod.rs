//! `kew serve`: the reference queue, all its roles in one process or one of them by itself.
//!
//! `setup` reads the configuration, `roles` puts the roles together, `banner` says where everything is.

mod banner;
mod roles;
mod setup;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::outcome::{EXIT_CODES, End, Failure};
use setup::Setup;

/// How long running deliveries and open requests may take to come to their end after Ctrl-C. What is cut off then is
/// not lost: its lease runs out, and it is tried again.
const DRAIN_MAX: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  kew serve                                    all roles, data in ./kew-data, http://127.0.0.1:8480
  kew serve --role processor --broker http://127.0.0.1:8480 --token-env KEW_TOKEN
                                               one more processor for a broker elsewhere

Ctrl-C drains and stops; a second one stops at once. Killed at any moment, it loses no job that it has
acknowledged: start it again with the same --data.";

/// Run the reference queue
///
/// Takes jobs over HTTP, runs them, retries, dead-letters and notifies, as the policies say. Everything is
/// kept in one SQLite file. Without tokens in the configuration it serves this machine alone.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// The configuration file (TOML); what it does not say is as by default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:8480]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The folder for the store and the handlers' files [default: ./kew-data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The queues' policies; `kew spec --queues` prints the default to start from
    #[arg(long, value_name = "FILE")]
    queues: Option<PathBuf>,
    /// Which role to run
    #[arg(long, value_enum, default_value_t = Role::All)]
    role: Role,
    /// The broker's address, for a role that runs apart from it: api, processor or notifier
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// The environment variable that holds the token to call the broker with
    #[arg(long, value_name = "NAME", requires = "broker")]
    token_env: Option<String>,
}

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Everything
    All,
    /// Take jobs, show their status
    Api,
    /// The queue and its store
    Broker,
    /// Pull jobs and run their handlers
    Processor,
    /// Tell users how their jobs ended
    Notifier,
}

impl Role {
    /// Whether its broker is another process.
    fn runs_apart(self) -> bool {
        matches!(self, Self::Api | Self::Processor | Self::Notifier)
    }

    /// Whether it answers anybody.
    fn listens(self) -> bool {
        self != Self::Processor
    }
}

/// Runs the command until it is told to stop.
pub(crate) fn run(arguments: &Arguments) -> Result<End, Failure> {
    let setup = Setup::read(arguments)?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::harness(format!("start: {error}")))?;
    let ended = runtime.block_on(serve(setup));
    // Connections that are still open hold nothing that is not on disk.
    runtime.shutdown_background();
    ended
}

async fn serve(setup: Setup) -> Result<End, Failure> {
    // Before anything says that it is up: from then on a signal must drain, not kill.
    let mut signals = Signals::new();
    let (stop, stopped) = watch::channel(false);
    let role = roles::start(setup, stopped).await?;
    tokio::select! {
        biased;
        () = signals.asked_to_stop() => {}
        failure = failed(role.failed) => return Err(failure),
    }
    eprintln!("draining; Ctrl-C stops at once");
    // The receivers may be gone already, when nothing was left to stop.
    let _ = stop.send(true);
    tokio::select! {
        biased;
        () = signals.asked_to_stop() => {}
        _ = tokio::time::timeout(DRAIN_MAX, role.drained) => {}
    }
    Ok(End::Kept)
}

/// Waits for the broker in this process to fail; for ever, where it is elsewhere.
async fn failed(report: Option<oneshot::Receiver<Failure>>) -> Failure {
    match report {
        Some(report) => report.await.unwrap_or_else(|_| Failure::harness("keep the broker running")),
        None => std::future::pending().await,
    }
}

/// The ways to ask for an end: Ctrl-C, and the signal that service managers send.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Self {
        let listen = |kind| signal(kind).expect("the runtime was built with signals enabled");
        Self { interrupt: listen(SignalKind::interrupt()), terminate: listen(SignalKind::terminate()) }
    }

    /// Waits for the next one.
    async fn asked_to_stop(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

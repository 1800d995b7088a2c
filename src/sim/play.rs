//! One run as its process hands it over: one line of JSON, the last of its output. A process that dies before has
//! printed none.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use kew_spec::verdict::Verdict;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::replay::Replay;
use crate::outcome::Failure;
use crate::report::excerpt::Excerpts;

/// How many lines of a dead process's standard error are shown.
const STDERR_LINES_MAX: usize = 40;

/// What one seed came to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Played {
    /// The seed.
    pub(super) seed: u64,
    /// What was played.
    pub(super) scenario: String,
    /// The rolling hash over all events.
    pub(super) hash: String,
    /// How long the world lasted.
    pub(super) simulated_ms: u64,
    /// How many faults struck.
    pub(super) faults: u64,
    /// How many events the history holds.
    pub(super) events: u64,
    /// Per clause how it stands.
    pub(super) verdict: Verdict,
    /// Per broken clause what shows it best.
    pub(super) excerpts: Excerpts,
}

/// Plays a seed in a process of its own.
pub(super) fn play(replay: &Replay<'_>, history: Option<&Path>) -> Result<Played, Failure> {
    let seed = replay.seed;
    let failed = |why: String| Failure::harness(format!("run seed {seed}: {why}\nreplay: {replay}"));
    let program = std::env::current_exe().map_err(|error| failed(format!("find this program: {error}")))?;
    let mut command = Command::new(program);
    command.arg("sim").arg("--child").args(replay.arguments()).stdin(Stdio::null());
    if let Some(history) = history {
        command.arg("--history").arg(history);
    }
    let output = command.output().map_err(|error| failed(format!("start its process: {error}")))?;
    read(&output).map_err(failed)
}

/// What a child printed as its last line.
pub(super) fn read<T: DeserializeOwned>(output: &Output) -> Result<T, String> {
    let said = said(&output.stderr);
    if !output.status.success() {
        return Err(format!("its process ended with {}\n{said}", output.status));
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|error| format!("its process ended without a result ({error})\n{said}"))
}

/// The end of what a process said on standard error, indented.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text.trim_end().lines().collect();
    let first = lines.len().saturating_sub(STDERR_LINES_MAX);
    lines[first..].iter().map(|line| format!("  {line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

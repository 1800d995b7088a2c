//! One run as its process hands it over: one line of JSON, the last of its output. A process that dies before has
//! printed none.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use kew_spec::causes::Causes;
use kew_spec::coverage::Reached;
use kew_spec::verdict::Verdict;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::replay::Replay;
use crate::outcome::Failure;
use crate::report::excerpt::Excerpts;
use crate::report::terminal::grouped;

/// A seed's process lives for milliseconds: its allocator keeps the memory that was freed, instead of giving it back to
/// the machine and having it cleared again.
const KEEP_MEMORY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "-1");

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
    /// What it reached, and how often.
    pub(super) coverage: Reached,
    /// How it drained.
    pub(super) drain: Drained,
    /// How often jobs were delivered again, by cause.
    pub(super) causes: Causes,
    /// Per clause how it stands.
    pub(super) verdict: Verdict,
    /// Per broken clause what shows it best.
    pub(super) excerpts: Excerpts,
}

/// How long a run took to drain once all faults had healed, and what allowed it to take how long.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Drained {
    /// How long it took.
    pub(super) took_ms: u64,
    /// How long it might have taken: the sum of what follows.
    pub(super) bound_ms: u64,
    recovery_ms: u64,
    chain_ms: u64,
    work_ms: u64,
    rate_ms: u64,
}

impl From<kew_sim::drain::Drain> for Drained {
    fn from(drain: kew_sim::drain::Drain) -> Self {
        let kew_sim::drain::Bound { recovery_ms, chain_ms, work_ms, rate_ms } = drain.bound;
        Self { took_ms: drain.took_ms, bound_ms: drain.bound.ms(), recovery_ms, chain_ms, work_ms, rate_ms }
    }
}

impl Drained {
    /// `drained in 12.3 s, bound 80 s (recovery 25 s, longest chain 40 s, work 15 s)`.
    pub(super) fn told(&self) -> String {
        let parts = [
            ("recovery", self.recovery_ms),
            ("longest chain", self.chain_ms),
            ("work", self.work_ms),
            ("rate limits", self.rate_ms),
        ];
        let parts = parts.into_iter().filter(|(_, ms)| 0 < *ms);
        let parts: Vec<_> = parts.map(|(part, ms)| format!("{part} {}", seconds(ms))).collect();
        let how = if self.took_ms <= self.bound_ms { "drained in" } else { "not drained after" };
        format!("{how} {}, bound {} ({})", seconds(self.took_ms), seconds(self.bound_ms), parts.join(", "))
    }

    /// How much of the bound it took, in percent.
    pub(super) fn percent(&self) -> u64 {
        100 * self.took_ms / self.bound_ms.max(1)
    }
}

/// With one digit below the second: `12.3 s`.
fn seconds(ms: u64) -> String {
    format!("{}.{} s", grouped(ms / 1_000), ms % 1_000 / 100)
}

/// Plays a seed in a process of its own.
pub(super) fn play(replay: &Replay<'_>, history: Option<&Path>) -> Result<Played, Failure> {
    let failed = |why: String| Failure::harness(format!("run seed {}: {why}\nreplay: {replay}", replay.seed));
    child(&replay.arguments(), history).map_err(failed)
}

/// Plays what is in a capsule in a process of its own.
pub(super) fn play_capsule(file: &Path, history: Option<&Path>) -> Result<Played, Failure> {
    let failed = |why: String| Failure::harness(format!("run {}: {why}", file.display()));
    child(&["--plan".into(), file.display().to_string()], history).map_err(failed)
}

/// Starts a child with `arguments` and waits for what it prints as its last line.
pub(super) fn child<T: DeserializeOwned>(arguments: &[String], history: Option<&Path>) -> Result<T, String> {
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let mut command = Command::new(program);
    command.arg("sim").arg("--child").args(arguments).env(KEEP_MEMORY.0, KEEP_MEMORY.1).stdin(Stdio::null());
    if let Some(history) = history {
        command.arg("--history").arg(history);
    }
    let output = command.output().map_err(|error| format!("start its process: {error}"))?;
    read(&output)
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

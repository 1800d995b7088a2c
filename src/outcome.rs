//! How a command ends: with a verdict, or with a failure that says whose it is. Scripts go by the exit code.

use std::fmt;
use std::process::ExitCode;

use kew_spec::verdict::Verdict;

/// The exit codes as the commands' help states them, where a command has none of its own.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  all clauses kept (or nothing was judged)
  1  a clause is broken
  2  wrong usage or input
  3  the harness itself failed";

/// A command did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// No clause is broken.
    Kept,
    /// Some clause is broken.
    Broken,
}

impl From<&Verdict> for End {
    fn from(verdict: &Verdict) -> Self {
        if verdict.broken().next().is_some() { Self::Broken } else { Self::Kept }
    }
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Kept => Self::SUCCESS,
            End::Broken => Self::FAILURE,
        }
    }
}

/// A command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    /// A lower-case fragment that reads after "failed to".
    message: String,
}

#[derive(Debug)]
enum Kind {
    /// What the caller gave cannot be used.
    Input,
    /// The caller did nothing wrong.
    Harness,
}

impl Failure {
    /// What the caller gave cannot be used. `message` reads after "failed to".
    pub(crate) fn input(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Input, message: message.to_string() }
    }

    /// The harness failed. `message` reads after "failed to".
    pub(crate) fn harness(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Harness, message: message.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.message)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            Kind::Input => Self::from(2),
            Kind::Harness => Self::from(3),
        }
    }
}

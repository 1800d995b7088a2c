//! Capsules as files.

use std::fs;
use std::path::Path;

use kew_sim::capsule::{BYTES_MAX, Broken, Capsule, Program};

use crate::outcome::Failure;
use crate::report::excerpt::Excerpts;
use crate::report::json::VERSION;

/// This build.
pub(super) fn program() -> Program {
    Program { version: VERSION.into(), revision: env!("KEW_REVISION").into(), toolchain: env!("KEW_TOOLCHAIN").into() }
}

/// What `excerpts` show of `clause`, or of the first clause that they show.
pub(super) fn broken(excerpts: &Excerpts, clause: Option<&str>) -> Option<Broken> {
    let (clause, excerpt) = match clause {
        Some(clause) => excerpts.get_key_value(clause)?,
        None => excerpts.first_key_value()?,
    };
    Some(Broken { clause: clause.clone(), at: excerpt.broke_at.clone().unwrap_or_default() })
}

/// Reads a capsule.
pub(super) fn read(file: &Path) -> Result<Capsule, Failure> {
    let unreadable = |reason: String| Failure::input(format!("read capsule {}: {reason}", file.display()));
    let bytes = fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if BYTES_MAX < bytes {
        return Err(unreadable(format!("it has {bytes} bytes; a capsule has at most {BYTES_MAX}")));
    }
    let text = fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    Capsule::parse(&text).map_err(unreadable)
}

/// Writes a capsule.
pub(super) fn write(file: &Path, capsule: &Capsule) -> Result<(), Failure> {
    let failed = |error| Failure::input(format!("write capsule {}: {error}", file.display()));
    fs::write(file, capsule.to_text()).map_err(failed)
}

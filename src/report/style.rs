//! The few colours there are, each for one meaning.

use anstyle::{AnsiColor, Style};

/// Kept.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Broken.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Could not be decided.
pub(super) const UNSURE: Style = AnsiColor::Yellow.on_default();
/// What stands beside.
pub(super) const DIM: Style = Style::new().dimmed();
/// What a block begins with.
pub(super) const HEAD: Style = Style::new().bold();

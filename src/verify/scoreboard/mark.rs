//! How a cell of the board is marked: as the result has it, and where a clause is broken, whether the system's documents
//! promise it. Each mark has a sign of its own, so that nothing hangs on colours.

use kew_verify::known::Failing;
use kew_verify::result::Cell;

/// What stands in a cell of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Kept,
    /// Broken, though the system's documents promise it; or nobody has looked yet whether they do.
    Broken,
    /// Broken, and the system's documents do not promise it.
    Unpromised,
    NotOffered,
    Inconclusive,
    NotExercised,
}

impl Mark {
    /// All of them, the ones that matter most first.
    pub(super) const ALL: [Self; 6] =
        [Self::Kept, Self::Broken, Self::Unpromised, Self::NotOffered, Self::Inconclusive, Self::NotExercised];

    /// The mark of a cell of which `known` is known.
    pub(super) fn of(cell: Cell, known: Option<&Failing>) -> Self {
        match cell {
            Cell::Kept => Self::Kept,
            Cell::Broken if known.is_some_and(|known| !known.promised) => Self::Unpromised,
            Cell::Broken => Self::Broken,
            Cell::NotOffered => Self::NotOffered,
            Cell::Inconclusive => Self::Inconclusive,
            Cell::NotExercised => Self::NotExercised,
        }
    }

    /// The sign in its cell.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Kept => "✓",
            Self::Broken => "✗",
            Self::Unpromised => "≠",
            Self::NotOffered => "–",
            Self::Inconclusive => "?",
            Self::NotExercised => "○",
        }
    }

    /// The words for it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "broken",
            Self::Unpromised => "broken, but not promised",
            Self::NotOffered => "not offered",
            Self::Inconclusive => "inconclusive",
            Self::NotExercised => "not exercised",
        }
    }

    /// The words for it where there is room to explain.
    pub(super) fn explained(self) -> &'static str {
        match self {
            Self::Broken => "broken, and promised by its documents (or nobody has looked yet)",
            Self::Unpromised => "broken, but not promised by its documents",
            other => other.words(),
        }
    }

    /// Whether the board tells below its table what was seen.
    pub(super) fn is_told(self) -> bool {
        matches!(self, Self::Broken | Self::Unpromised)
    }
}

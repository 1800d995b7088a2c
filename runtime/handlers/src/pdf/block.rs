//! What a page is made of: blocks of styled text, each with its role in the document. No fonts, no positions.

/// A colour, as red, green and blue.
pub(super) type Color = [u8; 3];

/// Body text: near black, easier on the eye than black.
pub(super) const INK: Color = [0x22, 0x27, 0x2e];
/// What is read second: dates, places. 5.9 to 1 on white (WCAG AA asks 4.5).
pub(super) const GREY: Color = [0x5c, 0x66, 0x70];
/// Headings and links. 7.9 to 1 on white.
pub(super) const ACCENT: Color = [0x0f, 0x4c, 0x75];
/// The hairline under a heading.
pub(super) const RULE: Color = [0xc5, 0xcf, 0xd8];

/// A piece of text in one style.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) bold: bool,
    pub(super) italic: bool,
    pub(super) color: Color,
    /// Where a click leads.
    pub(super) link: Option<String>,
}

impl Span {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), bold: false, italic: false, color: INK, link: None }
    }

    pub(super) fn grey(text: impl Into<String>) -> Self {
        Self { color: GREY, ..Self::new(text) }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) fn italic(self) -> Self {
        Self { italic: true, ..self }
    }

    pub(super) fn color(self, color: Color) -> Self {
        Self { color, ..self }
    }

    pub(super) fn link(self, url: Option<String>) -> Self {
        Self { link: url, ..self }
    }
}

/// Text that is broken into lines as one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Para {
    pub(super) spans: Vec<Span>,
    /// In points.
    pub(super) size: f32,
    /// The distance of baselines, in sizes.
    pub(super) leading: f32,
    /// Added between letters, in points.
    pub(super) tracking: f32,
}

/// The size of body text, in points: Noto Sans is large for its size, so 9.2 reads like another's 10.
pub(super) const BODY: f32 = 9.2;

impl Para {
    /// Body text.
    pub(super) fn body(spans: Vec<Span>) -> Self {
        Self { spans, size: BODY, leading: 1.45, tracking: 0.0 }
    }

    /// Its text without its styles.
    pub(super) fn plain(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }
}

/// What a block is in the document's structure.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Role {
    /// The name at the top.
    Title,
    /// The heading of a section. It is drawn in capitals; this is how it is written.
    Section(String),
    /// The first line of an entry in a section.
    Entry,
    /// An item of a list; its side is the bullet.
    Item,
    /// Anything else.
    Text,
}

/// What stands beside a block's main text, on its first line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Side {
    /// Set against the right margin.
    Right(Para),
    /// Set at the left, in a column of this width; the main text stands right of it.
    Left(Para, f32),
}

/// A paragraph with all that the page must know of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) role: Role,
    pub(super) main: Para,
    pub(super) side: Option<Side>,
    /// Space above it, except at the top of a page.
    pub(super) before: f32,
    /// Space below it that belongs to it.
    pub(super) after: f32,
    /// Whether it must not be the last on its page.
    pub(super) keep: bool,
}

impl Block {
    pub(super) fn new(role: Role, main: Para, before: f32) -> Self {
        Self { role, main, side: None, before, after: 0.0, keep: false }
    }
}

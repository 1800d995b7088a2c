//! From blocks to lines: fonts, shaping and line breaking. The only fonts are those compiled in and those that the
//! configuration names, so a page looks the same on every machine.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kew_runtime::processor::Failure;
use krilla::text::Font;
use parley::fontique::{Blob, Collection, CollectionOptions};
use parley::style::{FontFamily, FontFamilyName, FontStyle, FontWeight, LineHeight, StyleProperty};
use parley::{Alignment, FontContext, FontData, Layout, LayoutContext, OverflowWrap};

use super::block::{Block, Color, Para, Side};
use super::paginate::{Extent, SIDE, WIDTH};

/// The width of the text, in points.
pub(super) const MEASURE: f32 = WIDTH - 2.0 * SIDE;

/// The least space between a title and the date beside it, in points.
const GAP: f32 = 16.0;

/// What a glyph carries through the layout.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ink {
    pub(super) color: Color,
    /// The index of its link.
    pub(super) link: Option<usize>,
}

/// A paragraph in lines.
pub(super) struct Set {
    pub(super) text: String,
    pub(super) layout: Layout<Ink>,
    pub(super) links: Vec<String>,
}

impl Set {
    /// The distance from the top of its first line to that line's baseline.
    fn first_baseline(&self) -> f32 {
        self.layout.get(0).map_or(0.0, |line| line.metrics().baseline)
    }
}

/// A block in lines, and where they begin.
pub(super) struct SetBlock {
    pub(super) block: Block,
    pub(super) main: Set,
    /// From the left margin.
    pub(super) main_x: f32,
    pub(super) side: Option<SetSide>,
}

/// What stands beside a block, in lines.
pub(super) struct SetSide {
    pub(super) set: Set,
    /// From the left margin.
    pub(super) x: f32,
    /// From the top of the block, so that the first baselines meet.
    pub(super) y: f32,
}

impl SetBlock {
    /// The room it takes.
    pub(super) fn extent(&self) -> Extent {
        let lines: Vec<f32> = self.main.layout.lines().map(|l| l.metrics().line_height).collect();
        let side = self.side.as_ref().map_or(0.0, |side| side.y + side.set.layout.height());
        let more = (side - lines.iter().sum::<f32>()).max(0.0);
        let Block { before, after, keep, .. } = self.block;
        Extent { before, lines, after: after + more, keep }
    }
}

/// Sets text in the fonts it was given.
pub(super) struct Typesetter {
    context: FontContext,
    layouts: LayoutContext<Ink>,
    family: FontFamily<'static>,
    fonts: BTreeMap<(u64, u32), Font>,
    /// The characters that no font has.
    pub(super) missing: BTreeSet<char>,
}

impl Typesetter {
    /// Noto Sans in its four styles, then the font files of `more`.
    pub(super) fn new(more: &[PathBuf]) -> Result<Self, Failure> {
        let options = CollectionOptions { shared: false, system_fonts: false };
        let mut collection = Collection::new(options);
        let mut names = Vec::new();
        use notosans::{BOLD_ITALIC_TTF, BOLD_TTF, ITALIC_TTF, REGULAR_TTF};
        for bytes in [REGULAR_TTF, BOLD_TTF, ITALIC_TTF, BOLD_ITALIC_TTF] {
            register(&mut collection, Arc::new(bytes), &mut names);
        }
        for path in more {
            let wrong = |why: String| Failure::new(format!("the font {}: {why}", path.display()));
            let bytes = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
            if !register(&mut collection, Arc::new(bytes), &mut names) {
                return Err(wrong("is no font".into()));
            }
        }
        let families = names.into_iter().map(|name| FontFamilyName::Named(Cow::Owned(name)));
        let family = FontFamily::List(Cow::Owned(families.collect()));
        let context = FontContext { collection, ..FontContext::default() };
        let (layouts, fonts) = (LayoutContext::new(), BTreeMap::new());
        Ok(Self { context, layouts, family, fonts, missing: BTreeSet::new() })
    }

    /// Sets blocks at the width of the page.
    pub(super) fn set_all(&mut self, blocks: Vec<Block>) -> Vec<SetBlock> {
        blocks.into_iter().map(|block| self.set_block(block)).collect()
    }

    fn set_block(&mut self, block: Block) -> SetBlock {
        let (side, main_x, width) = match &block.side {
            None => (None, 0.0, MEASURE),
            Some(Side::Right(para)) => {
                let set = self.set(para, None);
                let width = set.layout.width().min(MEASURE / 2.0);
                (Some((set, MEASURE - width)), 0.0, MEASURE - width - GAP)
            }
            Some(Side::Left(para, width)) => (Some((self.set(para, Some(width - 4.0)), 0.0)), *width, MEASURE - width),
        };
        let main = self.set(&block.main, Some(width));
        let side = side.map(|(set, x)| {
            let y = main.first_baseline() - set.first_baseline();
            SetSide { set, x, y }
        });
        SetBlock { block, main, main_x, side }
    }

    /// Sets a paragraph, in lines of at most `width`.
    pub(super) fn set(&mut self, para: &Para, width: Option<f32>) -> Set {
        let text = para.plain();
        let mut links = Vec::new();
        let mut builder = self.layouts.ranged_builder(&mut self.context, &text, 1.0, false);
        builder.push_default(StyleProperty::FontFamily(self.family.clone()));
        builder.push_default(StyleProperty::FontSize(para.size));
        builder.push_default(StyleProperty::LineHeight(LineHeight::FontSizeRelative(para.leading)));
        builder.push_default(StyleProperty::LetterSpacing(para.tracking));
        builder.push_default(StyleProperty::OverflowWrap(OverflowWrap::Anywhere));
        let mut start = 0;
        for span in &para.spans {
            let range = start..start + span.text.len();
            start = range.end;
            let link = span.link.as_ref().map(|url| {
                links.push(url.clone());
                links.len() - 1
            });
            builder.push(StyleProperty::Brush(Ink { color: span.color, link }), range.clone());
            let weight = if span.bold { FontWeight::BOLD } else { FontWeight::NORMAL };
            builder.push(StyleProperty::FontWeight(weight), range.clone());
            let style = if span.italic { FontStyle::Italic } else { FontStyle::Normal };
            builder.push(StyleProperty::FontStyle(style), range);
        }
        let mut layout = builder.build(&text);
        layout.break_all_lines(width);
        layout.align(Alignment::Start, parley::AlignmentOptions::default());
        Set { text, layout, links }
    }

    /// The font of a run, as the PDF wants it.
    pub(super) fn font(&mut self, data: &FontData) -> Font {
        let font = self.fonts.entry((data.data.id(), data.index)).or_insert_with(|| {
            let (bytes, _) = data.data.clone().into_raw_parts();
            Font::new(bytes.into(), data.index).expect("a font that has shaped text can be read")
        });
        font.clone()
    }
}

/// Adds a font file's families to `names`. False if it has none.
fn register(collection: &mut Collection, bytes: Arc<dyn AsRef<[u8]> + Send + Sync>, names: &mut Vec<String>) -> bool {
    let families = collection.register_fonts(Blob::new(bytes), None);
    for (id, _) in &families {
        let name = collection.family_name(*id).map(str::to_owned);
        names.extend(name.filter(|name| !names.contains(name)));
    }
    !families.is_empty()
}

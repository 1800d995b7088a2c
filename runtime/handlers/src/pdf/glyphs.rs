//! From lines to glyphs on a surface: groups of one style, marked as leaves of the structure, with the place of each
//! link.

use std::ops::Range;

use krilla::color::rgb;
use krilla::geom::Point;
use krilla::num::NormalizedF32;
use krilla::paint::Fill;
use krilla::surface::Surface;
use krilla::tagging::{ContentTag, Identifier, SpanTag};
use krilla::text::{Font, GlyphId, KrillaGlyph};
use parley::layout::{Line, Run};

use super::block::Color;
use super::typeset::{Ink, Set, Typesetter};

/// A drawn piece of a line: a leaf of the structure.
pub(super) struct Piece {
    pub(super) leaf: Identifier,
    pub(super) link: Option<Link>,
}

/// Where a click leads, and where it is made.
pub(super) struct Link {
    pub(super) url: String,
    /// Left, top, right, bottom.
    pub(super) rect: [f32; 4],
}

/// Glyphs of one font, size and style, side by side.
struct Group {
    font: Font,
    size: f32,
    ink: Ink,
    glyphs: Vec<KrillaGlyph>,
    x: Range<f32>,
}

/// Draws some lines of a paragraph, the first with its top left corner at `at`.
pub(super) fn draw(
    surface: &mut Surface<'_>,
    set: &Set,
    lines: Range<usize>,
    at: (f32, f32),
    typesetter: &mut Typesetter,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut top = at.1;
    for line in lines.filter_map(|number| set.layout.get(number)) {
        draw_line(surface, set, &line, (at.0, top), typesetter, &mut pieces);
        top += line.metrics().line_height;
    }
    pieces
}

/// Draws a paragraph that is no part of the document's structure.
pub(super) fn draw_untagged(surface: &mut Surface<'_>, set: &Set, at: (f32, f32), typesetter: &mut Typesetter) {
    for line in set.layout.lines() {
        let y = at.1 + line.metrics().baseline;
        for group in groups(set, &line, at.0, typesetter) {
            draw_group(surface, set, &group, y);
        }
    }
}

fn draw_line(
    surface: &mut Surface<'_>,
    set: &Set,
    line: &Line<'_, Ink>,
    at: (f32, f32),
    typesetter: &mut Typesetter,
    pieces: &mut Vec<Piece>,
) {
    let metrics = line.metrics();
    // The line's own top counts from the top of the paragraph.
    let y = at.1 + metrics.baseline - metrics.block_min_coord;
    let groups = groups(set, line, at.0, typesetter);
    for same in groups.chunk_by(|a, b| a.ink.link == b.ink.link) {
        let leaf = surface.start_tagged(ContentTag::Span(SpanTag::empty()));
        same.iter().for_each(|group| draw_group(surface, set, group, y));
        surface.end_tagged();
        let (first, last) = (&same[0], &same[same.len() - 1]);
        let rect = [first.x.start, at.1, last.x.end, at.1 + metrics.line_height];
        let link = first.ink.link.map(|link| Link { url: set.links[link].clone(), rect });
        pieces.push(Piece { leaf, link });
    }
}

fn draw_group(surface: &mut Surface<'_>, set: &Set, group: &Group, y: f32) {
    surface.set_fill(Some(fill(group.ink.color)));
    let start = Point::from_xy(group.x.start, y);
    surface.draw_glyphs(start, &group.glyphs, group.font.clone(), &set.text, group.size, false);
}

/// A colour as krilla wants it.
pub(super) fn fill([red, green, blue]: Color) -> Fill {
    let paint = rgb::Color::new(red, green, blue).into();
    Fill { paint, opacity: NormalizedF32::ONE, rule: krilla::paint::FillRule::NonZero }
}

fn groups(set: &Set, line: &Line<'_, Ink>, left: f32, typesetter: &mut Typesetter) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut x = left + line.metrics().offset;
    for run in line.runs() {
        x = groups_of(set, &run, x, typesetter, &mut groups);
    }
    groups
}

/// Adds a run's groups; answers where the next run begins.
fn groups_of(set: &Set, run: &Run<'_, Ink>, mut x: f32, typesetter: &mut Typesetter, groups: &mut Vec<Group>) -> f32 {
    let font = typesetter.font(run.font());
    let size = run.font_size();
    let first = groups.len();
    let mut style = None;
    for cluster in run.visual_clusters() {
        if cluster.is_ligature_continuation() {
            // It has no glyph of its own; its text belongs to the ligature's.
            let last = groups[first..].last_mut().and_then(|group| group.glyphs.last_mut());
            if let Some(glyph) = last {
                glyph.text_range.end = glyph.text_range.end.max(cluster.text_range().end);
            }
            continue;
        }
        if style != Some(cluster.style_index()) {
            style = Some(cluster.style_index());
            let ink = cluster.style().brush;
            groups.push(Group { font: font.clone(), size, ink, glyphs: vec![], x: x..x });
        }
        let group = groups.last_mut().expect("the first cluster has opened a group");
        let text = &set.text[cluster.text_range()];
        for glyph in cluster.glyphs() {
            if glyph.id == 0 {
                let missing = text.chars().filter(|c| !c.is_whitespace() && !c.is_control());
                typesetter.missing.extend(missing);
            }
            group.glyphs.push(KrillaGlyph::new(
                GlyphId::new(glyph.id),
                glyph.advance / size,
                glyph.x / size,
                glyph.y / size,
                0.0,
                cluster.text_range(),
                None,
            ));
            x += glyph.advance;
        }
        group.x.end = x;
    }
    x
}

//! From pages to a PDF: glyphs, links, the outline and the metadata.
//!
//! The file is written as PDF/UA-1 and krilla checks what of that a program can check. A résumé that fails the check
//! (for a character that no font has) is written without the claim. No date and no random id goes in.

use kew_runtime::processor::Failure;
use krilla::annotation::{Annotation, LinkAnnotation, Target};
use krilla::configure::{Accessibility, Configuration, ConfigurationBuilder};
use krilla::destination::XyzDestination;
use krilla::error::KrillaError;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::surface::Surface;
use krilla::tagging::{Artifact, ArtifactType, ContentTag, Node, Tag, TagGroup};
use krilla::{Document, SerializeSettings};

use super::block::{GREY, Para, RULE, Role, Side, Span};
use super::glyphs::{self, Piece};
use super::paginate::{BOTTOM, HEIGHT, Placed, SIDE, WIDTH};
use super::resume::Asked;
use super::structure::{Leaves, tree};
use super::typeset::{MEASURE, SetBlock, Typesetter};
use super::{Facts, Pdf, words};

/// Draws the pages. With a second try: the first claims PDF/UA, the second does not.
pub(super) fn draw(
    asked: &Asked,
    blocks: &[SetBlock],
    pages: &[Vec<Placed>],
    typesetter: &mut Typesetter,
) -> Result<Pdf, Failure> {
    let accessible = ConfigurationBuilder::new()
        .with_accessibility_validator(Accessibility::UA1)
        .finish()
        .expect("one validator and no version contradict nothing");
    let mut draw = |configuration| Drawing::new(asked, blocks, configuration).draw(pages, typesetter);
    let (written, pdf_ua) = match draw(accessible) {
        Err(KrillaError::Validation(_)) => (draw(Configuration::default()), false),
        written => (written, true),
    };
    let bytes = written.map_err(|e| Failure::new(format!("the PDF cannot be written: {e:?}")))?;
    let missing = typesetter.missing.iter().collect();
    Ok(Pdf { bytes, facts: Facts { pages: pages.len(), pdf_ua, missing } })
}

struct Drawing<'a> {
    asked: &'a Asked,
    blocks: &'a [SetBlock],
    document: Document,
    leaves: Vec<Leaves>,
    outline: Vec<OutlineNode>,
}

/// A piece of text that was drawn, and whose leaf it becomes.
struct Drawn {
    block: usize,
    side: bool,
    piece: Piece,
}

impl<'a> Drawing<'a> {
    fn new(asked: &'a Asked, blocks: &'a [SetBlock], configuration: Configuration) -> Self {
        let settings = SerializeSettings { configuration, ..SerializeSettings::default() };
        let leaves = vec![Leaves::default(); blocks.len()];
        let document = Document::new_with(settings);
        Self { asked, blocks, document, leaves, outline: vec![] }
    }

    fn draw(mut self, pages: &[Vec<Placed>], typesetter: &mut Typesetter) -> Result<Vec<u8>, KrillaError> {
        for (number, page) in pages.iter().enumerate() {
            self.page(number, pages.len(), page, typesetter);
        }
        let mut outline = Outline::new();
        self.outline.into_iter().for_each(|node| outline.push_child(node));
        self.document.set_outline(outline);
        self.document.set_metadata(metadata(self.asked));
        let tree = tree(self.blocks, self.leaves);
        self.document.set_tag_tree(tree.with_lang(Some(self.asked.language.clone())));
        self.document.finish()
    }

    fn page(&mut self, number: usize, of: usize, placed: &[Placed], typesetter: &mut Typesetter) {
        let settings = PageSettings::from_wh(WIDTH, HEIGHT).expect("A4 has a size");
        let mut page = self.document.start_page_with(settings);
        let mut surface = page.surface();
        let mut drawn = Vec::new();
        for placed in placed {
            note(&mut self.outline, &self.blocks[placed.block], placed, number);
            block(&mut surface, self.blocks, placed, typesetter, &mut drawn);
        }
        if of > 1 {
            footer(&mut surface, self.asked, number + 1, of, typesetter);
        }
        surface.finish();
        // Links can be added only when the page's surface is done, and the tree wants them beside their text.
        for Drawn { block, side, piece } in drawn {
            let node = match piece.link.as_ref().and_then(annotation) {
                None => Node::Leaf(piece.leaf),
                Some(annotation) => {
                    let clickable = page.add_tagged_annotation(annotation);
                    let children = vec![Node::Leaf(piece.leaf), Node::Leaf(clickable)];
                    Node::Group(TagGroup::with_children(Tag::Link, children))
                }
            };
            let leaves = &mut self.leaves[block];
            if side { leaves.side.push(node) } else { leaves.main.push(node) }
        }
    }
}

fn annotation(link: &glyphs::Link) -> Option<Annotation> {
    let [left, top, right, bottom] = link.rect;
    let rect = Rect::from_ltrb(left, top, right, bottom)?;
    let target = Target::Action(krilla::action::LinkAction::new(link.url.clone()).into());
    Some(Annotation::new_link(LinkAnnotation::new(rect, target), Some(link.url.clone())))
}

/// Adds a heading to the outline, and an entry below the last heading.
fn note(outline: &mut Vec<OutlineNode>, set: &SetBlock, placed: &Placed, page: usize) {
    if placed.lines.start > 0 {
        return; // the rest of a block that began on the page before
    }
    let to = XyzDestination::new(page, Point::from_xy(0.0, (placed.y - 12.0).max(0.0)));
    match &set.block.role {
        Role::Title => outline.push(OutlineNode::new(set.main.text.clone(), to)),
        Role::Section(title) => outline.push(OutlineNode::new(title.clone(), to).with_open(true)),
        Role::Entry => {
            let node = OutlineNode::new(set.main.text.clone(), to);
            if let Some(section) = outline.last_mut() {
                section.push_child(node);
            }
        }
        Role::Item | Role::Text => {}
    }
}

fn block(
    surface: &mut Surface<'_>,
    blocks: &[SetBlock],
    placed: &Placed,
    typesetter: &mut Typesetter,
    drawn: &mut Vec<Drawn>,
) {
    let set = &blocks[placed.block];
    // Programs that read no structure read in this order, so it is the order of reading.
    let side_first = matches!(set.block.side, Some(Side::Left(..)));
    for side in [side_first, !side_first] {
        let pieces = match &set.side {
            Some(beside) if side && placed.lines.start == 0 => {
                let at = (SIDE + beside.x, placed.y + beside.y);
                glyphs::draw(surface, &beside.set, 0..beside.set.layout.len(), at, typesetter)
            }
            _ if side => continue,
            _ => {
                let at = (SIDE + set.main_x, placed.y);
                glyphs::draw(surface, &set.main, placed.lines.clone(), at, typesetter)
            }
        };
        drawn.extend(pieces.into_iter().map(|piece| Drawn { block: placed.block, side, piece }));
    }
    if matches!(set.block.role, Role::Section(_)) {
        let below = set.extent().lines.iter().sum::<f32>() + 1.5;
        rule(surface, placed.y + below);
    }
}

/// A hairline over the width of the text.
fn rule(surface: &mut Surface<'_>, y: f32) {
    let mut path = PathBuilder::new();
    path.push_rect(Rect::from_xywh(SIDE, y, MEASURE, 0.6).expect("the measure is positive"));
    surface.start_tagged(ContentTag::Artifact(Artifact::with_kind(ArtifactType::Layout)));
    surface.set_fill(Some(glyphs::fill(RULE)));
    surface.draw_path(&path.finish().expect("a rectangle is a path"));
    surface.end_tagged();
}

/// The name and the number of a page, for documents of more than one.
fn footer(surface: &mut Surface<'_>, asked: &Asked, number: usize, of: usize, typesetter: &mut Typesetter) {
    let name = asked.resume.basics.name.as_deref().map(str::trim).filter(|n| !n.is_empty());
    let name = name.map(|name| format!("{name}  ·  ")).unwrap_or_default();
    let span = Span::new(format!("{name}{number} / {of}")).color(GREY);
    let set = typesetter.set(&Para { size: 7.8, ..Para::body(vec![span]) }, None);
    let at = (SIDE + MEASURE - set.layout.width(), HEIGHT - BOTTOM + 22.0);
    surface.start_tagged(ContentTag::Artifact(Artifact::with_kind(ArtifactType::PageNumber)));
    glyphs::draw_untagged(surface, &set, at, typesetter);
    surface.end_tagged();
}

fn metadata(asked: &Asked) -> Metadata {
    let clean = |field: &Option<String>| field.clone().filter(|f| !f.trim().is_empty());
    let name = clean(&asked.resume.basics.name);
    let what = words::of(&asked.language).resume;
    let title = name.as_ref().map_or(what.to_owned(), |name| format!("{name} – {what}"));
    let label = clean(&asked.resume.basics.label).unwrap_or_default();
    let keywords = asked.resume.skills.iter().filter_map(|skill| clean(&skill.name)).collect();
    Metadata::new()
        .title(title)
        .authors(name.into_iter().collect())
        .description(label)
        .keywords(keywords)
        .language(asked.language.clone())
        .creator("Kew".into())
}

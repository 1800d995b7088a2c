//! The structure tree: what a screen reader follows. It is made of the leaves that drawing left, block by block.

use std::num::NonZeroU16;

use krilla::tagging::{ListNumbering, Node, Tag, TagGroup, TagTree};

use super::block::{Role, Side};
use super::typeset::SetBlock;

/// What a block has become in the structure: the leaves of its main text and of its side.
#[derive(Clone, Default)]
pub(super) struct Leaves {
    pub(super) main: Vec<Node>,
    pub(super) side: Vec<Node>,
}

/// The structure: a heading opens a section, items in a row make a list.
pub(super) fn tree(blocks: &[SetBlock], leaves: Vec<Leaves>) -> TagTree {
    let mut tree = TagTree::new();
    let mut section: Option<TagGroup> = None;
    let mut list: Option<TagGroup> = None;
    for (set, leaves) in blocks.iter().zip(leaves) {
        if set.block.role == Role::Item {
            let list = list.get_or_insert_with(|| TagGroup::new(Tag::L(ListNumbering::Disc)));
            list.push(item(leaves));
            continue;
        }
        close(&mut tree, &mut section, list.take());
        if matches!(set.block.role, Role::Section(_)) {
            close(&mut tree, &mut None, section.take());
            section = Some(TagGroup::new(Tag::Section));
        }
        for group in groups(set, leaves) {
            close(&mut tree, &mut section, Some(group));
        }
    }
    close(&mut tree, &mut section, list.take());
    close(&mut tree, &mut None, section);
    tree
}

/// Puts a finished group where it belongs: into the open section, or at the top.
fn close(tree: &mut TagTree, section: &mut Option<TagGroup>, group: Option<TagGroup>) {
    match (section, group) {
        (_, None) => {}
        (Some(section), Some(group)) => section.push(group),
        (None, Some(group)) => tree.push(group),
    }
}

fn item(leaves: Leaves) -> TagGroup {
    let label = TagGroup::with_children(Tag::Lbl, leaves.side);
    let body = TagGroup::with_children(Tag::LBody, leaves.main);
    TagGroup::with_children(Tag::LI, vec![label.into(), body.into()])
}

fn groups(set: &SetBlock, leaves: Leaves) -> Vec<TagGroup> {
    let level = |n: u16| NonZeroU16::new(n).expect("heading levels begin at 1");
    let heading = |n, title: &str, main| TagGroup::with_children(Tag::Hn(level(n), Some(title.to_owned())), main);
    let Leaves { main, side } = leaves;
    let first = match &set.block.role {
        Role::Title => heading(1, &set.main.text, main),
        Role::Section(title) => heading(2, title, main),
        Role::Entry => heading(3, &set.main.text, main),
        Role::Item | Role::Text if matches!(set.block.side, Some(Side::Left(..))) => {
            // A name and what belongs to it are one sentence, the name first.
            return vec![TagGroup::with_children(Tag::P, [side, main].concat())];
        }
        Role::Item | Role::Text => TagGroup::with_children(Tag::P, main),
    };
    let date = (!side.is_empty()).then(|| TagGroup::with_children(Tag::P, side));
    std::iter::once(first).chain(date).collect()
}

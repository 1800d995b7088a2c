//! From heights to pages. It knows nothing of text: only how high lines are and what must stay together.
//!
//! A block that is kept is never the last on its page, and a paragraph leaves neither one line behind nor sends one
//! ahead.

use std::ops::Range;

/// A4, in points.
pub(super) const WIDTH: f32 = 595.28;
/// A4, in points.
pub(super) const HEIGHT: f32 = 841.89;
/// The margin at either side.
pub(super) const SIDE: f32 = 56.0;
/// The margin above.
pub(super) const TOP: f32 = 52.0;
/// The margin below, which holds the page number.
pub(super) const BOTTOM: f32 = 58.0;

/// Lines of one paragraph that stand together at least, on either side of a page break.
const TOGETHER: usize = 2;

/// How much room a block takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Extent {
    /// Above it, except at the top of a page.
    pub(super) before: f32,
    /// Each line.
    pub(super) lines: Vec<f32>,
    /// Below it.
    pub(super) after: f32,
    /// Whether the next block must begin on the page that this one ends on.
    pub(super) keep: bool,
}

impl Extent {
    fn height(&self, lines: Range<usize>) -> f32 {
        let after = if lines.end == self.lines.len() { self.after } else { 0.0 };
        self.lines[lines].iter().sum::<f32>() + after
    }

    /// The least of it that may end a page.
    fn first(&self) -> Range<usize> {
        let all = self.lines.len();
        if all < 2 * TOGETHER { 0..all } else { 0..TOGETHER }
    }

    /// The most lines from `start` on that fit into `room` and leave enough for the next page.
    fn fitting(&self, start: usize, room: f32) -> usize {
        let all = self.lines.len();
        let fits = |end: &usize| self.height(start..*end) <= room;
        let end = (start..=all).rev().find(fits).unwrap_or(start);
        if end == all {
            return end;
        }
        let end = end.min(all.saturating_sub(TOGETHER));
        if end < start + TOGETHER { start } else { end }
    }
}

/// A piece of a block on a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) block: usize,
    pub(super) lines: Range<usize>,
    /// The top of its first line.
    pub(super) y: f32,
}

/// Places every line of every block, in order. There is at least one page.
pub(super) fn paginate(extents: &[Extent]) -> Vec<Vec<Placed>> {
    let mut pages = Pages { done: vec![], page: vec![], y: TOP };
    for block in 0..extents.len() {
        pages.place(extents, block);
    }
    pages.done.push(pages.page);
    pages.done
}

struct Pages {
    done: Vec<Vec<Placed>>,
    page: Vec<Placed>,
    y: f32,
}

impl Pages {
    fn room(&self) -> f32 {
        HEIGHT - BOTTOM - self.y
    }

    fn turn(&mut self) {
        self.done.push(std::mem::take(&mut self.page));
        self.y = TOP;
    }

    fn place(&mut self, extents: &[Extent], block: usize) {
        let extent = &extents[block];
        if !self.page.is_empty() {
            self.y += extent.before;
            if chain(&extents[block..]) > self.room() {
                self.turn();
            }
        }
        let mut start = 0;
        while start < extent.lines.len() {
            let mut end = extent.fitting(start, self.room());
            if end == start && !self.page.is_empty() {
                self.turn();
                continue;
            }
            end = end.max(start + 1); // a line higher than a page stands on one of its own
            self.page.push(Placed { block, lines: start..end, y: self.y });
            self.y += extent.height(start..end);
            start = end;
        }
    }
}

/// The height of a block and of all that must begin on its page.
fn chain(blocks: &[Extent]) -> f32 {
    let mut height = 0.0;
    for (number, block) in blocks.iter().enumerate() {
        if number > 0 {
            height += block.before;
        }
        if !block.keep {
            return height + block.height(block.first());
        }
        height += block.height(0..block.lines.len());
    }
    height
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: usize, keep: bool) -> Extent {
        Extent { before: 10.0, lines: vec![20.0; lines], after: 0.0, keep }
    }

    /// Every line is placed once, in order.
    fn complete(extents: &[Extent], pages: &[Vec<Placed>]) -> bool {
        let placed = pages.iter().flatten().flat_map(|p| p.lines.clone().map(|l| (p.block, l)));
        let all = extents.iter().enumerate().flat_map(|(b, e)| (0..e.lines.len()).map(move |l| (b, l)));
        placed.eq(all)
    }

    #[test]
    fn every_line_is_placed_once_in_order() {
        for lines in 1..90 {
            let extents = [block(lines, false), block(1, true), block(lines, true), block(3, false)];
            assert!(complete(&extents, &paginate(&extents)), "{lines}");
        }
    }

    #[test]
    fn a_kept_block_is_never_the_last_on_its_page() {
        for filler in 1..80 {
            let extents = [block(filler, false), block(1, true), block(1, true), block(6, false)];
            for page in paginate(&extents) {
                assert!(!extents[page.last().unwrap().block].keep, "{filler}");
            }
        }
    }

    #[test]
    fn a_page_break_leaves_no_single_line() {
        for filler in 1..80 {
            let extents = [block(filler, false), block(9, false)];
            let pieces = paginate(&extents).into_iter().flatten();
            for piece in pieces.filter(|piece| piece.block == 1) {
                assert!(piece.lines.len() >= 2, "{filler}: {piece:?}");
            }
        }
    }

    #[test]
    fn nothing_stands_below_the_bottom_margin() {
        let extents = vec![block(7, false); 40];
        for placed in paginate(&extents).into_iter().flatten() {
            let height = extents[placed.block].height(placed.lines.clone());
            assert!(placed.y + height <= HEIGHT - BOTTOM + 0.01, "{placed:?}");
        }
    }

    #[test]
    fn a_line_higher_than_a_page_stands_on_its_own() {
        let extents = [block(1, false), Extent { lines: vec![2_000.0], ..block(1, false) }];
        assert_eq!(paginate(&extents).len(), 2);
    }
}

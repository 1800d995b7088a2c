//! One file's content: what reads see, what is on the medium, and what lies between.
//! It knows nothing of names, handles or SQLite.

use super::Geometry;
use super::log::{Log, Op};
use super::loss::{Fate, Left, Odds};
use super::rng::Rng;

/// A file's content, live and durable.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What reads see: the page cache. It survives the death of the process.
    live: Vec<u8>,
    /// What was synced. It survives a power cut.
    durable: Vec<u8>,
    /// What leads from `durable` to `live`.
    unsynced: Log,
}

impl File {
    /// The live content.
    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    /// Copies from `offset` into `buffer` and returns how many bytes there were.
    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let rest = self.live.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }

    /// How much longer the file gets by a write of `len` bytes at `offset`.
    pub(super) fn growth(&self, offset: usize, len: usize) -> usize {
        (offset + len).saturating_sub(self.live.len())
    }

    /// Writes to the page cache.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.live, offset, bytes);
        self.unsynced.write(offset, bytes);
        self.unsynced.fold_if_long(&self.live);
    }

    /// Changes the length in the page cache.
    pub(super) fn truncate(&mut self, len: usize) {
        self.live.resize(len, 0);
        self.unsynced.resize(len);
    }

    /// Makes the live content durable.
    pub(super) fn sync(&mut self) {
        for op in self.unsynced.ops() {
            apply(&mut self.durable, op);
        }
        self.unsynced.clear();
    }

    /// Takes the unsynced operations for done although they are not: the pages are clean, and
    /// only a power cut shows that the medium never got them.
    pub(super) fn forget(&mut self) {
        self.unsynced.clear();
    }

    /// Cuts the power: decides what the medium holds, and empties the page cache.
    pub(super) fn cut(&mut self, left: Left, geometry: Geometry, rng: &mut Rng) {
        match left {
            Left::Nothing => self.unsynced.clear(),
            Left::All => self.sync(),
            Left::Sectors { sector_bytes, odds } => {
                let sector = sector_bytes.max(1) as usize;
                Scatter { sector, odds, geometry, rng }.run(&mut self.durable, &self.unsynced);
                self.unsynced.clear();
            }
        }
        self.live.clone_from(&self.durable);
    }
}

/// Lets each sector of each unsynced write meet its fate.
struct Scatter<'a> {
    sector: usize,
    odds: Odds,
    geometry: Geometry,
    rng: &'a mut Rng,
}

impl Scatter<'_> {
    fn run(&mut self, image: &mut Vec<u8>, log: &Log) {
        for op in log.ops() {
            match op {
                Op::Write { offset, bytes } => self.write(image, offset, bytes),
                Op::Resize { .. } if self.odds.keeps(self.rng) => apply(image, op),
                Op::Resize { .. } => {}
            }
        }
    }

    fn write(&mut self, image: &mut Vec<u8>, mut offset: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.sector - offset % self.sector;
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            self.piece(image, offset, piece);
            offset += piece.len();
            bytes = rest;
        }
    }

    /// Writes a piece that lies within one sector.
    fn piece(&mut self, image: &mut Vec<u8>, offset: usize, piece: &[u8]) {
        match self.odds.draw(self.rng) {
            Fate::Old => self.lengthen(image, offset + piece.len()),
            Fate::New => put(image, offset, piece),
            Fate::Torn => {
                let torn = self.rng.below(piece.len() as u64) as usize;
                put(image, offset, &piece[..torn]);
            }
            Fate::Garbage => self.spoil(image, offset, piece),
        }
    }

    /// A write past the end changes the length too, which the file system keeps apart from the data: it may be durable
    /// where the data is not, and the new bytes then read as zeros.
    fn lengthen(&mut self, image: &mut Vec<u8>, end: usize) {
        if image.len() < end && self.odds.keeps(self.rng) {
            image.resize(end, 0);
        }
    }

    fn spoil(&mut self, image: &mut Vec<u8>, offset: usize, piece: &[u8]) {
        put(image, offset, piece);
        let piece_end = offset + piece.len();
        let sector_start = offset - offset % self.sector;
        let sector_end = (sector_start + self.sector).min(image.len());
        let spoilt = match self.geometry.powersafe_overwrite {
            true => offset..piece_end,
            false => sector_start..sector_end,
        };
        self.rng.fill(&mut image[spoilt]);
    }
}

/// Applies one operation to an image.
pub(super) fn apply(image: &mut Vec<u8>, op: Op<'_>) {
    match op {
        Op::Write { offset, bytes } => put(image, offset, bytes),
        Op::Resize { len } => image.resize(len, 0),
    }
}

/// Puts bytes at an offset; a gap before them reads as zeros.
fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if bytes.is_empty() {
        return;
    }
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OLD: [u8; 1024] = [b'o'; 1024];
    const NEW: [u8; 1024] = [b'n'; 1024];

    /// A file of two old sectors, written anew and cut with one fate for all.
    fn cut(odds: Odds, powersafe_overwrite: bool, write: usize) -> Vec<u8> {
        let mut file = File::default();
        file.write(0, &OLD);
        file.sync();
        file.write(0, &NEW[..write]);
        let geometry = Geometry { powersafe_overwrite, ..Geometry::default() };
        file.cut(Left::Sectors { sector_bytes: 512, odds }, geometry, &mut Rng::new(1));
        file.live().to_vec()
    }

    #[test]
    fn a_sector_is_old_or_new_or_torn_from_its_start() {
        let none = Odds { new_ppm: 0, torn_ppm: 0, garbage_ppm: 0 };
        assert_eq!(cut(none, false, 1024), OLD);
        assert_eq!(cut(Odds { new_ppm: 1_000_000, ..none }, false, 1024), NEW);
        let torn = cut(Odds { torn_ppm: 1_000_000, ..none }, false, 512);
        let tear = torn.iter().position(|byte| *byte == b'o').expect("a tear");
        assert!(tear > 0 && tear < 512 && torn[tear..] == OLD[tear..], "{tear}");
    }

    /// Even odds for every sector.
    const EVEN: Left =
        Left::Sectors { sector_bytes: 512, odds: Odds { new_ppm: 500_000, torn_ppm: 0, garbage_ppm: 0 } };

    #[test]
    fn the_order_of_the_writes_is_not_kept() {
        let (mut sectors, mut versions) = (BTreeSet::new(), BTreeSet::new());
        for seed in 0..100 {
            let mut file = File::default();
            file.write(0, &OLD);
            file.sync();
            file.write(0, b"first");
            file.write(512, b"later");
            file.write(0, b"again");
            file.cut(EVEN, Geometry::default(), &mut Rng::new(seed));
            versions.insert(file.live()[..5].to_vec());
            sectors.insert((file.live()[..5] != OLD[..5], file.live()[512..517] != OLD[..5]));
        }
        assert_eq!(sectors.len(), 4, "each of two sectors is kept or lost apart from the other");
        let versions: Vec<_> = versions.iter().map(Vec::as_slice).collect();
        assert_eq!(versions, [b"again".as_slice(), b"first", b"ooooo"], "an earlier write outlives a later one");
    }

    #[test]
    fn a_length_may_be_durable_where_its_data_is_not() {
        let mut left = BTreeSet::new();
        for seed in 0..100 {
            let mut file = File::default();
            file.write(0, b"data");
            file.cut(EVEN, Geometry::default(), &mut Rng::new(seed));
            left.insert(file.live().to_vec());
        }
        let left: Vec<_> = left.iter().map(Vec::as_slice).collect();
        assert_eq!(left, [b"".as_slice(), &[0; 4], b"data"]);
    }

    #[test]
    fn garbage_spares_its_neighbours_only_by_promise() {
        let garbage = Odds { new_ppm: 0, torn_ppm: 0, garbage_ppm: 1_000_000 };
        assert_eq!(cut(garbage, true, 100)[100..], OLD[100..]);
        let spoilt = cut(garbage, false, 100);
        assert_ne!(spoilt[100..512], OLD[100..512]);
        assert_eq!(spoilt[512..], OLD[512..]);
    }
}

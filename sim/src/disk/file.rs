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
            Fate::Old => {}
            Fate::New => put(image, offset, piece),
            Fate::Torn => {
                let torn = self.rng.below(piece.len() as u64) as usize;
                put(image, offset, &piece[..torn]);
            }
            Fate::Garbage => self.spoil(image, offset, piece),
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

    #[test]
    fn garbage_spares_its_neighbours_only_by_promise() {
        let garbage = Odds { new_ppm: 0, torn_ppm: 0, garbage_ppm: 1_000_000 };
        assert_eq!(cut(garbage, true, 100)[100..], OLD[100..]);
        let spoilt = cut(garbage, false, 100);
        assert_ne!(spoilt[100..512], OLD[100..512]);
        assert_eq!(spoilt[512..], OLD[512..]);
    }
}

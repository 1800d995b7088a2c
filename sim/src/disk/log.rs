//! The operations on one file since its last sync, in order.
//! Their bytes lie one after the other in a single buffer, so that a write costs one copy and no
//! allocation. A log that grows is folded: it keeps the last content of every byte and forgets
//! the ones between, which a power cut can then no longer bring to light.

use std::ops::Range;

/// A log longer than this is folded: large enough for a WAL of a thousand pages between two
/// checkpoints (4 MiB), so that only a file that is never synced comes here.
const FOLD_BYTES: usize = 8 << 20;

/// One unsynced operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op<'a> {
    /// Bytes put at an offset.
    Write { offset: usize, bytes: &'a [u8] },
    /// A new length; what is added reads as zeros.
    Resize { len: usize },
}

/// An operation whose bytes are in the log's buffer.
#[derive(Clone, Debug)]
enum Entry {
    Write { offset: usize, span: Range<usize> },
    Resize { len: usize },
}

/// The unsynced operations of one file.
#[derive(Clone, Debug)]
pub(super) struct Log {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    fold_bytes: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self { entries: Vec::new(), bytes: Vec::new(), fold_bytes: FOLD_BYTES }
    }
}

impl Log {
    /// Appends a write.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.entries.push(Entry::Write { offset, span: start..self.bytes.len() });
    }

    /// Appends a change of length.
    pub(super) fn resize(&mut self, len: usize) {
        self.entries.push(Entry::Resize { len });
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.fold_bytes = FOLD_BYTES;
    }

    /// The operations, oldest first.
    pub(super) fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        self.entries.iter().map(|entry| match entry {
            Entry::Write { offset, span } => Op::Write { offset: *offset, bytes: &self.bytes[span.clone()] },
            Entry::Resize { len } => Op::Resize { len: *len },
        })
    }

    /// Folds the log if it is long. `live` is the file as all operations leave it.
    pub(super) fn fold_if_long(&mut self, live: &[u8]) {
        if self.bytes.len() > self.fold_bytes {
            self.fold(live);
            // A file with more than this in it must not be folded at every write.
            self.fold_bytes = FOLD_BYTES.max(2 * self.bytes.len());
        }
    }

    fn fold(&mut self, live: &[u8]) {
        let dirty = self.dirty(live.len());
        self.clear();
        self.resize(live.len());
        for range in dirty {
            self.write(range.start, &live[range]);
        }
    }

    /// The ranges that differ from the durable file, sorted, disjoint and within `len`.
    fn dirty(&self, len: usize) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = self
            .ops()
            .map(|op| match op {
                Op::Write { offset, bytes } => offset..(offset + bytes.len()).min(len),
                // What lay past a truncation is zeros by now, unless it was written again.
                Op::Resize { len: cut } => cut..len,
            })
            .filter(|range| !range.is_empty())
            .collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::apply;
    use super::super::rng::Rng;
    use super::*;

    #[test]
    fn a_folded_log_leads_to_the_same_content() {
        let mut rng = Rng::new(1);
        for _ in 0..500 {
            let mut log = Log::default();
            let durable = vec![1; rng.below(60) as usize];
            for _ in 0..rng.below(8) {
                let offset = rng.below(60) as usize;
                match rng.below(3) {
                    0 => log.resize(offset),
                    _ => log.write(offset, &[rng.below(250) as u8 + 2; 10]),
                }
            }
            let mut live = durable.clone();
            log.ops().for_each(|op| apply(&mut live, op));
            log.fold(&live);
            let mut folded = durable;
            log.ops().for_each(|op| apply(&mut folded, op));
            assert_eq!(folded, live);
        }
    }
}

//! Remembers lines of an input that can be read only once: its beginning and its end, each within a bound.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

/// How many bytes are kept of the beginning, and as many of the end: together what a small machine can spare.
const BYTES_MAX: usize = 64 << 20;

/// The lines that are still remembered.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Lines from 1 on, without gaps.
    head: Vec<Box<[u8]>>,
    /// The last lines, without gaps.
    tail: VecDeque<Box<[u8]>>,
    /// How many lines went between the two.
    lost: usize,
    /// What was read of a line that has not ended yet.
    open: Vec<u8>,
    head_room: usize,
    tail_room: usize,
}

impl Kept {
    /// Nothing yet. A [`Recorded`] writes it, its owner reads it afterwards.
    pub(crate) fn shared() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self::within(BYTES_MAX)))
    }

    fn within(bytes_max: usize) -> Self {
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            lost: 0,
            open: Vec::new(),
            head_room: bytes_max,
            tail_room: bytes_max,
        }
    }

    /// The line with this number, from 1, unless it was dropped.
    pub(crate) fn line(&self, number: u64) -> Option<&[u8]> {
        let i = usize::try_from(number.checked_sub(1)?).ok()?;
        if i < self.head.len() {
            return Some(&self.head[i]);
        }
        let in_tail = (i - self.head.len()).checked_sub(self.lost)?;
        match self.tail.get(in_tail) {
            Some(line) => Some(line),
            None => (in_tail == self.tail.len() && !self.open.is_empty()).then_some(self.open.as_slice()),
        }
    }

    fn record(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.open.extend_from_slice(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.open.extend_from_slice(bytes);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.open).into_boxed_slice();
        if self.tail.is_empty() && self.lost == 0 && line.len() <= self.head_room {
            self.head_room -= line.len();
            self.head.push(line);
            return;
        }
        while self.tail_room < line.len() {
            let Some(oldest) = self.tail.pop_front() else {
                break;
            };
            self.tail_room += oldest.len();
            self.lost += 1;
        }
        self.tail_room = self.tail_room.saturating_sub(line.len());
        self.tail.push_back(line);
    }
}

/// An input whose lines are remembered while they are read.
pub(crate) struct Recorded<R> {
    input: R,
    kept: Rc<RefCell<Kept>>,
}

impl<R: BufRead> Recorded<R> {
    /// Remembers in `kept` what is read from `input`.
    pub(crate) fn new(input: R, kept: &Rc<RefCell<Kept>>) -> Self {
        Self { input, kept: Rc::clone(kept) }
    }
}

impl<R: BufRead> BufRead for Recorded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed has been filled before, so that this reads nothing and cannot fail.
        if let Ok(filled) = self.input.fill_buf() {
            self.kept.borrow_mut().record(&filled[..amount]);
        }
        self.input.consume(amount);
    }
}

impl<R: BufRead> Read for Recorded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.fill_buf()?.read(buffer)?;
        self.consume(amount);
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_remembered_from_both_ends() {
        let kept = Rc::new(RefCell::new(Kept::within(6)));
        let input = io::BufReader::with_capacity(4, &b"one\ntwo\nthree\nfour\nfive\nsix"[..]);
        let read = Recorded::new(input, &kept).lines().count();
        assert_eq!(read, 6);
        let kept = kept.borrow();
        let lines: Vec<_> = (1..=7).map(|number| kept.line(number).map(String::from_utf8_lossy)).collect();
        let expected = [Some("one"), Some("two"), None, None, Some("five"), Some("six"), None];
        assert_eq!(lines, expected.map(|line| line.map(Into::into)));
    }
}

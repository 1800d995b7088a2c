//! A history, read and judged: read on one thread and judged on another, since each takes about half of the time. The events
//! go over in order, some at a time, so that the verdict does not depend on which thread is faster.

use std::io::BufRead;
use std::panic;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use kew_spec::causes::Causes;
use kew_spec::check::Checker;
use kew_spec::history::{Error, Event, Header, Reader};
use kew_spec::verdict::Verdict;

/// How much of the history goes over at a time: some three hundred events, beside which waking a thread costs little.
const BATCH_BYTES: u64 = 64 << 10;

/// How many batches may wait to be judged, which bounds the memory when reading is faster.
const WAITING_MAX: usize = 4;

/// Events with the numbers of their lines.
type Batch = Vec<(u64, Event)>;

/// What was read and judged.
pub(crate) struct Judged {
    pub(crate) header: Header,
    pub(crate) events: u64,
    pub(crate) last_line: u64,
    pub(crate) verdict: Verdict,
    /// How often jobs were delivered again, by cause, where that could be seen.
    pub(crate) causes: Option<Causes>,
}

impl Judged {
    /// Reads `input` and judges it.
    pub(crate) fn of<R: BufRead>(input: R) -> Result<Self, Error> {
        let reader = Reader::new(input)?;
        let header = reader.header().clone();
        thread::scope(|scope| {
            let (sender, batches) = mpsc::sync_channel(WAITING_MAX);
            let judging = scope.spawn(|| Self::judge(header, batches));
            let read = hand_over(reader, &sender);
            drop(sender); // With that the history ends, and the other thread.
            let judged = judging.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
            read.map(|()| judged)
        })
    }

    fn judge(header: Header, batches: Receiver<Batch>) -> Self {
        let mut checker = Checker::new(&header);
        let (mut events, mut last_line) = (0, 0);
        for (line, event) in batches.into_iter().flatten() {
            checker.see(line, &event);
            events += 1;
            last_line = line;
        }
        Self { header, events, last_line, causes: checker.causes(), verdict: checker.finish() }
    }
}

/// Reads all of `reader` in batches. Once nobody judges them, because the other thread has panicked, it reads no further.
fn hand_over<R: BufRead>(mut reader: Reader<R>, batches: &SyncSender<Batch>) -> Result<(), Error> {
    let mut batch = Batch::new();
    let mut begun_at = reader.bytes();
    while let Some(read) = reader.next() {
        batch.push(read?);
        if begun_at + BATCH_BYTES <= reader.bytes() {
            begun_at = reader.bytes();
            if batches.send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
    }
    // Where this fails, joining the other thread tells why.
    drop(batches.send(batch));
    Ok(())
}

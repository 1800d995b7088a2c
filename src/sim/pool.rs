//! Seeds side by side, results in the seeds' order: what is printed does not depend on which seed was faster.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

/// Does `work` on every seed, `jobs` at a time, and hands the results to `take` in order until it breaks off.
pub(super) fn in_order<T: Send>(
    seeds: Range<u64>,
    jobs: NonZeroUsize,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(T) -> ControlFlow<()>,
) {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let (sender, next, end, work) = (sender.clone(), &next, &end, &work);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if end.load(Ordering::Relaxed) <= seed || sender.send((seed, work(seed))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut ahead = BTreeMap::new();
        let mut due = seeds.start;
        for (seed, result) in results {
            ahead.insert(seed, result);
            while let Some(result) = ahead.remove(&due) {
                due += 1;
                if take(result).is_break() {
                    end.store(0, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not 0");

    #[test]
    fn results_come_in_the_order_of_the_seeds() {
        let mut taken = Vec::new();
        let work = |seed| (0..(1_000 - seed) * 50).fold(seed, |seed, n| std::hint::black_box(seed ^ n ^ n));
        in_order(900..1_000, JOBS, work, |seed| {
            taken.push(seed);
            ControlFlow::Continue(())
        });
        assert_eq!(taken, (900..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_taken_after_a_break() {
        let mut taken = 0;
        in_order(
            0..u64::MAX,
            JOBS,
            |seed| seed,
            |seed| {
                taken += 1;
                if seed == 6 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        assert_eq!(taken, 7);
    }
}

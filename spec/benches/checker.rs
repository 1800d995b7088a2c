//! How fast the checkers judge a clean history that is in memory already, and what they remember of an ended job.
//!
//!     cargo bench -p kew-spec --bench checker
//!     KEW_BENCH_EVENTS=10000000 cargo bench -p kew-spec --bench checker    # one size of one's own, once
//!
//! It prints what was measured and holds nothing against it.

mod clean;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use kew_spec::check::Checker;
use kew_spec::history::Event;
use kew_spec::verdict::{State, Verdict};

const SIZES: [u64; 2] = [100_000, 1_000_000];

fn main() {
    let asked = std::env::var("KEW_BENCH_EVENTS").ok().and_then(|events| events.parse().ok());
    let sizes = asked.map_or(SIZES.to_vec(), |events| vec![events]);
    let mut criterion = Criterion::default().configure_from_args();
    for &events in &sizes {
        remember(events);
        spend(events);
        judge_in_memory(&mut criterion, events);
    }
    criterion.final_summary();
}

/// Events are judged as they are made and not kept, so that what is resident is the checkers' own.
fn remember(events: u64) {
    let mut checker = Checker::new(&clean::header());
    let alone = resident_kib(|| _ = clean::play(events, |event| drop(black_box(event))));
    let mut line = 1;
    let mut played = None;
    let together = resident_kib(|| {
        played = Some(clean::play(events, |event| {
            line += 1;
            checker.see(line, &event);
        }));
    });
    let played = played.expect("it was played");
    assert_clean(&checker.finish());
    let bytes = together.saturating_sub(alone) * 1_024 / played.jobs;
    println!("checker/{events}: {} events of {} jobs, {bytes} bytes remembered per job", played.events, played.jobs);
}

/// Criterion goes by the wall clock, which tells little on a machine that others use too; this is the time spent at work.
fn spend(events: u64) {
    let mut history: Vec<Event> = Vec::new();
    clean::play(events, |event| history.push(event));
    let best = (0..3).filter_map(|_| {
        let before = cpu_ns()?;
        assert!(judge(Checker::new(&clean::header()), &history).broken().next().is_none());
        Some(cpu_ns()? - before)
    });
    if let Some(ns) = best.min() {
        let per_second = history.len() as u64 * 1_000_000 / (ns / 1_000).max(1);
        println!("checker/{events}: {per_second} events per second of processor time, the best of three");
    }
}

fn judge_in_memory(criterion: &mut Criterion, events: u64) {
    let mut history: Vec<Event> = Vec::new();
    clean::play(events, |event| history.push(event));
    let mut group = criterion.benchmark_group("checker");
    group.throughput(Throughput::Elements(history.len() as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_millis(500));
    group.bench_function(events.to_string(), |bench| {
        bench.iter_batched(
            || Checker::new(&clean::header()),
            |checker| judge(checker, &history),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn judge(mut checker: Checker, history: &[Event]) -> Verdict {
    for (line, event) in (2..).zip(history) {
        checker.see(line, event);
    }
    checker.finish()
}

/// The bench must measure what it says: a history that breaks nothing and exercises much.
fn assert_clean(verdict: &Verdict) {
    let broken: Vec<_> = verdict.broken().collect();
    assert!(broken.is_empty(), "the history must be clean: {broken:#?}");
    let unexercised = verdict.clauses.iter().filter(|entry| entry.state == State::NotExercised);
    println!("not exercised: {:?}", unexercised.map(|entry| entry.clause.as_str()).collect::<Vec<_>>());
}

/// How long this thread has been at work, as Linux tells.
fn cpu_ns() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse().ok()
}

/// By how many KiB the process grew while `work` ran, as Linux tells.
fn resident_kib(work: impl FnOnce()) -> u64 {
    let before = status_kib();
    work();
    status_kib().saturating_sub(before)
}

fn status_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

//! `cargo bench`: the reference queue in this process. Each line is one kind of work; what Criterion calls an element is
//! a job. `kew-load` prints the same works beside the limit; this is for comparing a change with what was before it.
//!
//! At FULL every commit waits for the disk, so those lines move with it: look at the NORMAL ones to see the code.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kew_benches::growth::{Backlog, JOBS_ON_TOP, on_top_of};
use kew_benches::http::{self, Creates};
use kew_benches::work::{Load, Work};
use kew_benches::{kew, latency, paths};
use kew_runtime::store::Synchronous;
use tokio::runtime::Runtime;

/// What a commit survives, and what the lines call it.
const DURABILITIES: [(Synchronous, &str); 2] = [(Synchronous::Full, "FULL"), (Synchronous::Normal, "NORMAL")];

/// How many jobs one measurement takes: enough that opening the store is lost in it.
const JOBS: u32 = 5_000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system gives threads")
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    group.throughput(Throughput::Elements(u64::from(JOBS)));
    group
}

/// Measures `load` as often as it is asked to.
fn measure(runtime: &Runtime, load: Load, times: u64) -> Duration {
    let once = |_| {
        let folder = tempfile::tempdir().expect("there is room for a store");
        runtime.block_on(kew::run(folder.path(), &load))
    };
    (0..times).map(once).sum()
}

/// Creates, one job a request, by one to a thousand producers.
fn enqueue(criterion: &mut Criterion) {
    let runtime = runtime();
    for (synchronous, name) in DURABILITIES {
        let mut group = group(criterion, &format!("enqueue at {name}"));
        for producers in [1, 64, 1_000] {
            let load = Load { producers, ..Load::new(Work::Enqueue, JOBS, synchronous) };
            group.bench_function(BenchmarkId::new("producers", producers), |bench| {
                bench.iter_custom(|times| measure(&runtime, load, times));
            });
        }
        group.finish();
    }
}

/// A backlog that is claimed, run and settled; and everything at once.
fn process(criterion: &mut Criterion) {
    let runtime = runtime();
    for (synchronous, name) in DURABILITIES {
        let mut group = group(criterion, &format!("claim to complete at {name}"));
        for work in [Work::Process, Work::Mixed] {
            let load = Load::new(work, JOBS, synchronous);
            group.bench_function(work.name(), |bench| bench.iter_custom(|times| measure(&runtime, load, times)));
        }
        group.finish();
    }
}

/// Creates over HTTP from 64 connections, a job a request and a hundred.
fn over_http(criterion: &mut Criterion) {
    let runtime = runtime();
    for (synchronous, name) in DURABILITIES {
        let mut group = group(criterion, &format!("create over HTTP at {name}"));
        for batch in [1, 100] {
            let it = Creates { jobs: JOBS, batch, connections: 64, synchronous };
            group.bench_function(BenchmarkId::new("jobs a request", batch), |bench| {
                bench.iter_custom(|times| {
                    let once = |_| {
                        let folder = tempfile::tempdir().expect("there is room for a store");
                        runtime.block_on(http::run(folder.path(), it)).expect("the API answers")
                    };
                    (0..times).map(once).sum()
                });
            });
        }
        group.finish();
    }
}

/// Creates and processes jobs on top of a backlog: each line is another size of it.
fn growth(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = group(criterion, "on top of jobs that are ready, at NORMAL");
    group.throughput(Throughput::Elements(u64::from(JOBS_ON_TOP)));
    for size in [1_000, 10_000, 100_000] {
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            bench.iter_custom(|times| {
                let once = |_| {
                    let folder = tempfile::tempdir().expect("there is room for a store");
                    runtime.block_on(on_top_of(folder.path(), Backlog::Ready, size, Synchronous::Normal))
                };
                (0..times).map(once).sum()
            });
        });
    }
    group.finish();
}

/// Each queue of the five on its own path: rate limit, batch, deduplication, schedule. Where a policy makes jobs wait,
/// its waiting is turned off and its bookkeeping stays.
fn queues(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = group(criterion, "each queue's path at NORMAL");
    for path in paths::ALL {
        group.bench_function(path, |bench| {
            bench.iter_custom(|times| {
                let once = |_| {
                    let folder = tempfile::tempdir().expect("there is room for a store");
                    runtime.block_on(paths::run(folder.path(), path, JOBS))
                };
                (0..times).map(once).sum()
            });
        });
    }
    group.finish();
}

/// From the call that creates a job to the start of its handler, one at a time on an idle queue.
fn create_to_start(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("create to start on an idle queue");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for (synchronous, name) in DURABILITIES {
        group.bench_function(name, |bench| {
            bench.iter_custom(|times| {
                let folder = tempfile::tempdir().expect("there is room for a store");
                let jobs = u32::try_from(times).unwrap_or(u32::MAX);
                runtime.block_on(latency::when_idle(folder.path(), jobs, synchronous)).iter().sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, enqueue, process, over_http, growth, queues, create_to_start);
criterion_main!(benches);

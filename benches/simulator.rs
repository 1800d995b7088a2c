//! How fast an idle world is simulated, beside turmoil alone with as many hosts and the same tick. `kew sim --bench`
//! measures more, each world in a process of its own; this is for comparing a change with what was before it.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kew_sim::speed;

/// Ten minutes: long enough that what a world costs to set up is lost in it.
const LENGTH_MS: u64 = 10 * 60_000;

fn simulator(criterion: &mut Criterion) {
    let plan = speed::idle(LENGTH_MS);
    let mut group = criterion.benchmark_group("simulator");
    // Criterion calls them elements; here one is a simulated second.
    group.throughput(Throughput::Elements(LENGTH_MS / 1_000)).sample_size(20).measurement_time(Duration::from_secs(8));
    group.bench_function("idle world", |bench| bench.iter(|| kew_sim::run(&plan).expect("it plays")));
    group.bench_function("turmoil alone", |bench| bench.iter(|| speed::bare(&plan).expect("it plays")));
    group.finish();
}

criterion_group!(benches, simulator);
criterion_main!(benches);

//! `kew-load`: the reference queue under load, beside the limit, by turns in one run.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use kew_benches::growth::Backlog;
use kew_benches::http::{self, Creates};
use kew_benches::measure::{Measurement, median};
use kew_benches::work::{IN_FLIGHT, Load, PRODUCERS, Work};
use kew_benches::{disk, growth, kew, latency, limit, plot, record, soak};
use kew_runtime::store::Synchronous;

/// The allocator of `kew`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Puts Kew's queue under load in this process and prints one line of JSON for each measurement.
///
/// The queue runs as in `kew serve`: a broker whose store is an SQLite file, and a processor, with a handler that does
/// nothing. Each round measures in a new store. With --limit each is measured beside SQLite with nothing around it that
/// does the least the contract needs, at the same durability; the ratios are printed at the end.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// What to do; all three unless named.
    work: Vec<Work>,
    /// With how many jobs.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    jobs: u32,
    /// What a commit survives: full, a loss of power; normal, the end of the process.
    #[arg(long, default_value = "full")]
    synchronous: Durability,
    /// How often; the median counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Producers side by side, for enqueue.
    #[arg(long, default_value_t = PRODUCERS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    producers: u32,
    /// Jobs in flight, for process and mixed.
    #[arg(long, default_value_t = IN_FLIGHT, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Measure the limit and the disk beside it.
    #[arg(long)]
    limit: bool,
    /// Measure the time from create to start with this many jobs: on an idle queue, unless --rate says otherwise.
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    latency: Option<u32>,
    /// Not on an idle queue, but on one that is asked for so many jobs a second.
    #[arg(long, value_name = "PER_SECOND", requires = "latency", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Measure creates over HTTP, from 64 connections: one job a request, and 100.
    #[arg(long)]
    http: bool,
    /// Measure what a backlog costs, by what lies in it, at sizes from 10,000 up to this many jobs.
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(10_000..=100_000_000))]
    growth: Option<u32>,
    /// Draw that, too, as SVG.
    #[arg(long, value_name = "FILE.svg", requires = "growth")]
    plot: Option<std::path::PathBuf>,
    /// Load a store for so many seconds, with jobs kept for ten seconds after their end, and tell how large it gets.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    soak: Option<u64>,
    /// Create and process --jobs jobs of three queues at once, some of which fail at first, and write the history to a file
    /// for `kew check`.
    #[arg(long, value_name = "FILE.jsonl")]
    record: Option<std::path::PathBuf>,
    /// Where the stores are made; the system's folder for temporary files unless told.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Durability {
    Full,
    Normal,
}

fn main() {
    let options = Options::parse();
    let synchronous = match options.synchronous {
        Durability::Full => Synchronous::Full,
        Durability::Normal => Synchronous::Normal,
    };
    let asks_otherwise = options.http
        || options.latency.is_some()
        || options.growth.is_some()
        || options.soak.is_some()
        || options.record.is_some();
    let works = match options.work.is_empty() && !asks_otherwise {
        true => Work::ALL.to_vec(),
        false => options.work.clone(),
    };
    for work in works {
        let (producers, in_flight) = (options.producers, options.in_flight);
        measure(&options, &Load { producers, in_flight, ..Load::new(work, options.jobs, synchronous) });
    }
    if let Some(jobs) = options.latency {
        latency(&options, jobs, synchronous);
    }
    if options.http {
        for batch in [1, 100] {
            over_http(&options, batch, synchronous);
        }
    }
    if let Some(largest) = options.growth {
        growth(&options, largest);
    }
    if let Some(seconds) = options.soak {
        soak(&options, seconds);
    }
    if let Some(file) = &options.record {
        record(&options, file, synchronous);
    }
    if options.limit {
        let syncs = disk::syncs_per_second(folder(&options).path()).expect("the folder can be written");
        eprintln!("disk      {syncs:>9.0} appends of 4 KiB a second, each with fdatasync");
    }
}

fn measure(options: &Options, load: &Load) {
    let (mut ours, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let took = runtime().block_on(kew::run(folder(options).path(), load));
        let configuration = format!("in process, {} producers, {} in flight", load.producers, load.in_flight);
        ours.push(print(&Measurement::new("kew", &configuration, load, took)));
        if options.limit {
            let took = limit::run(folder(options).path(), load).expect("SQLite works");
            limits.push(print(&Measurement::new("limit", "one connection, one thread", load, took)));
            ratios.push(ours[ours.len() - 1] / limits[limits.len() - 1]);
        }
    }
    let name = load.work.name();
    eprint!("{name:<9} {:>9.0} jobs a second", median(ours));
    if options.limit {
        eprint!(", {:.2} of the limit ({:.0})", median(ratios), median(limits));
    }
    eprintln!();
}

fn latency(options: &Options, jobs: u32, synchronous: Synchronous) {
    let folder = folder(options);
    let (took, how) = runtime().block_on(async {
        match options.rate {
            None => (latency::when_idle(folder.path(), jobs, synchronous).await, "on an idle queue".to_owned()),
            Some(rate) => {
                let took = latency::at_a_rate(folder.path(), jobs, rate, synchronous).await;
                (took, format!("at {rate} jobs a second"))
            }
        }
    });
    let ms = |share| latency::quantile(&took, share).as_secs_f64() * 1_000.0;
    let (p50, p99, p999, max) = (ms(0.5), ms(0.99), ms(0.999), ms(1.0));
    let rate = options.rate.map_or("null".into(), |rate| rate.to_string());
    println!(
        r#"{{"system":"kew","work":"latency","jobs":{jobs},"rate":{rate},"p50_ms":{p50:.3},"p99_ms":{p99:.3},"p999_ms":{p999:.3},"max_ms":{max:.3}}}"#
    );
    eprintln!(
        "latency   p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, at most {max:.2} ms from create to start, {how}"
    );
}

fn over_http(options: &Options, batch: u32, synchronous: Synchronous) {
    let it = Creates { jobs: options.jobs, batch, connections: 64, synchronous };
    let mut rates = Vec::new();
    for _ in 0..options.rounds {
        let took = runtime().block_on(http::run(folder(options).path(), it)).expect("the API answers");
        let configuration = format!("over HTTP, {} connections, {batch} jobs a request", it.connections);
        rates.push(print(&Measurement::new(
            "kew",
            &configuration,
            &Load::new(Work::Enqueue, it.jobs, synchronous),
            took,
        )));
    }
    eprintln!(
        "http      {:>9.0} jobs a second created, {batch} a request, from {} connections",
        median(rates),
        it.connections
    );
}

/// Each backlog at 10,000 jobs and ten times as many, up to `largest`.
fn growth(options: &Options, largest: u32) {
    let sizes = std::iter::successors(Some(10_000u32), |size| size.checked_mul(10));
    let sizes: Vec<_> = sizes.take_while(|size| *size <= largest).collect();
    let mut costs = Vec::new();
    for backlog in Backlog::value_variants() {
        for size in &sizes {
            let cost = runtime().block_on(growth::cost(folder(options).path(), *backlog, *size));
            println!("{}", serde_json::to_string(&cost).expect("a cost is plain data"));
            eprintln!(
                "{:<9} {size:>10} in the store: {:>7.0} jobs a second on top, opened in {:>6.0} ms, {:>4.0} bytes of \
                 memory and {:>4.0} of file a job",
                cost.backlog, cost.per_second, cost.open_ms, cost.bytes_per_job, cost.file_bytes_per_job
            );
            costs.push(cost);
        }
    }
    if let Some(file) = &options.plot
        && let Err(error) = plot::growth(&costs, file)
    {
        eprintln!("error: write {}: {error}", file.display());
        std::process::exit(2);
    }
}

fn soak(options: &Options, seconds: u64) {
    let (length, keep_ended) = (Duration::from_secs(seconds), Duration::from_secs(10));
    let folder = folder(options);
    runtime().block_on(soak::run(folder.path(), length, 100_000, keep_ended, |sample| {
        println!("{}", serde_json::to_string(sample).expect("a sample is plain data"));
    }));
}

fn record(options: &Options, file: &std::path::Path, synchronous: Synchronous) {
    let took = runtime().block_on(record::run(folder(options).path(), options.jobs, synchronous, file));
    let took = took.unwrap_or_else(|error| {
        eprintln!("error: write {}: {error}", file.display());
        std::process::exit(2)
    });
    let rate = f64::from(options.jobs) / took.as_secs_f64();
    eprintln!(
        "record    {rate:>9.0} jobs a second while everything was written down; judge it: kew check {}",
        file.display()
    );
}

fn print(measurement: &Measurement) -> f64 {
    println!("{}", serde_json::to_string(measurement).expect("a measurement is plain data"));
    measurement.per_second()
}

fn folder(options: &Options) -> tempfile::TempDir {
    let made = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    made.expect("the folder for stores can be written")
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("the system gives threads")
}

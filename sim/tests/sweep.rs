//! probe
use kew_runtime::store::Synchronous;
use kew_sim::sweep::{Model, Sweep};
use std::time::Instant;

#[test]
fn probe() {
    let every: u64 = std::env::var("EVERY").ok().and_then(|s| s.parse().ok()).unwrap_or(500);
    let sync = if std::env::var("NORMAL").is_ok() { Synchronous::Normal } else { Synchronous::Full };
    let began = Instant::now();
    let sweep = Sweep::new(0, sync).unwrap();
    println!(
        "reference {:?} operations {} commits {} jobs {}",
        began.elapsed(),
        sweep.operations(),
        sweep.commits(),
        sweep.jobs()
    );
    let (mut t_cut, mut t_point, mut n) = (0.0, 0.0, 0);
    for op in (1..=sweep.operations()).step_by(every as usize) {
        let began = Instant::now();
        let cut = sweep.cut(op).unwrap();
        t_cut += began.elapsed().as_secs_f64();
        let began = Instant::now();
        let points = sweep.points(&cut, Model::all()).unwrap();
        t_point += began.elapsed().as_secs_f64();
        for point in points {
            let model = point.model;
            n += 1;
            let broken: Vec<_> = point
                .verdict
                .broken()
                .map(|b| (b.clause.clone(), b.findings.first().map(|f| f.says.clone())))
                .collect();
            if point.is_broken() {
                println!(
                    "{op} {model} {:?} lost {} events {} end {:?} {broken:?}",
                    point.state,
                    point.future.lost,
                    point.future.history.len(),
                    point.future.history.last().map(|e| e.at)
                );
                std::fs::write("/tmp/wt/point.jsonl", {
                    let mut w = kew_spec::history::Writer::new(Vec::new(), &point.future.header).unwrap();
                    for e in &point.future.history {
                        w.write(e).unwrap();
                    }
                    w.finish().unwrap()
                })
                .unwrap();
            } else if model == Model::all().next().unwrap() {
                println!(
                    "{op} {model} {:?} events {} end {:?}",
                    point.state,
                    point.future.history.len(),
                    point.future.history.last().map(|e| e.at)
                );
            }
        }
    }
    println!("cuts {t_cut:.2}s points {n} {t_point:.2}s");
}

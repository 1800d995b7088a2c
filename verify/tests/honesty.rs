//! The harness accuses no honest queue, and names every lie.

use kew_verify::honesty;
use kew_verify::memory::Lie;
use kew_verify::result::Cell;

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_queue_keeps_all_that_it_offers() {
    let verified = honesty::honest().await.expect("the queue answers");
    if let Ok(folder) = std::env::var("DUMP") {
        for (name, play) in &verified.plays {
            let mut text = serde_json::to_string(&play.header).expect("json") + "\n";
            for event in &play.events {
                text += &(serde_json::to_string(event).expect("json") + "\n");
            }
            std::fs::write(format!("{folder}/{name}.jsonl"), text).expect("w");
        }
        eprintln!(
            "{} ms; late {} lag {}",
            verified.result.wall_ms, verified.result.late_ms, verified.result.lag_p999_ms
        );
        for it in &verified.result.skipped {
            eprintln!("skip {} {}", it.scenario, it.why);
        }
        for it in &verified.result.played {
            eprintln!("play {} {}", it, verified.plays[it].events.last().map_or(0, |e| e.at));
        }
        for it in &verified.result.clauses {
            eprintln!("{:?} {} {} {:?}", it.cell, it.clause, it.exercised, it.shown);
        }
    }
    let wrong: Vec<_> =
        verified.result.clauses.iter().filter(|it| !matches!(it.cell, Cell::Kept | Cell::NotOffered)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_is_named() {
    let told = honesty::tell(&lies(), &|told| {
        eprintln!(
            "{} {:?} {} ms {:?} {:?}",
            told.lie.name(),
            told.named,
            told.verified.result.wall_ms,
            told.verified.result.played.len(),
            told.says
        );
    })
    .await
    .expect("the queue answers");
    let missed: Vec<_> = told.iter().filter(|told| !told.is_caught()).map(|told| told.lie.name()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

fn lies() -> Vec<Lie> {
    let only = std::env::var("LIES").unwrap_or_default();
    Lie::ALL.iter().copied().filter(|lie| only.is_empty() || only.split(',').any(|name| name == lie.name())).collect()
}

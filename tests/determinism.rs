//! Same seed, same bytes: the hash over every event and every byte on the network agrees between two processes, one of
//! them beside other load.

use std::process::{Command, Stdio};

use serde_json::Value;

/// Enough to meet named and random scenarios, crashes and power cuts.
const SEEDS: std::ops::Range<u64> = 0..24;

fn hash(seed: u64) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kew"))
        .args(["sim", "--json", "--seed", &seed.to_string()])
        .output()
        .expect("kew runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let run: Value = serde_json::from_str(&text).expect("a result in JSON");
    run["runs"][0]["hash"].as_str().expect("a hash").to_owned()
}

#[test]
fn a_seed_gives_the_same_hash_in_two_processes_and_beside_other_load() {
    let alone: Vec<_> = SEEDS.map(hash).collect();
    let mut load = Command::new(env!("CARGO_BIN_EXE_kew"))
        .args(["sim", "--seeds", "100000", "--first", "1000000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("kew runs");
    let beside: Vec<_> = SEEDS.map(hash).collect();
    load.kill().expect("the load can be ended");
    load.wait().expect("the load ends");
    assert_eq!(alone, beside);
}

#[test]
fn different_seeds_give_different_runs() {
    let mut hashes: Vec<_> = SEEDS.map(hash).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, SEEDS.end - SEEDS.start);
}

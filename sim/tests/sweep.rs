//! The power sweep in small: at FULL nothing is lost, and whatever makes a disk or a store less safe is noticed, or the
//! first would prove nothing. `kew sim --sweep-power` is the whole of it.

use std::collections::BTreeSet;

use kew_runtime::store::Synchronous;
use kew_sim::disk::{Faults, Trigger};
use kew_sim::sweep::{Model, Point, State, Sweep};

/// The points of every `every`th cut, under all models.
fn points(sweep: &Sweep, every: usize) -> Vec<Point> {
    let cuts = (1..=sweep.operations()).rev().step_by(every);
    let at = |cut| sweep.cut(cut).expect("the run has the operation");
    cuts.flat_map(|cut| sweep.points(&at(cut), Model::all()).expect("a cut is played")).collect()
}

fn broken(points: &[Point]) -> BTreeSet<String> {
    points.iter().flat_map(|point| point.future.verdict.broken()).map(|entry| entry.clause.clone()).collect()
}

fn is_sound(point: &Point) -> bool {
    matches!(point.state, State::Kept { .. } | State::RolledBack { .. })
}

#[test]
fn no_power_cut_undoes_or_breaks_anything_at_full() {
    let sweep = Sweep::new(0, Synchronous::Full).unwrap();
    assert!(100_000 <= sweep.operations() * Model::all().count() as u64, "{sweep:?}");
    let points = points(&sweep, 307);
    let wrong: Vec<_> = points.iter().filter(|point| point.is_broken()).collect();
    assert!(wrong.is_empty(), "{:?}: {:?}", broken(&points), wrong[0]);
    let kept: BTreeSet<_> = points.iter().map(|point| point.state == State::Kept { in_doubt_too: true }).collect();
    assert_eq!(kept.len(), 2, "a commit that was under way is there or not");
    let exercised = |clause: &str| points.iter().any(|it| it.future.verdict.get(clause).unwrap().exercised > 0);
    for clause in ["job/no-loss", "status/durable", "retry/at-most", "dead-letter/exactly", "dedup/last-write"] {
        assert!(exercised(clause), "{clause}");
    }
}

#[test]
fn at_normal_it_finds_the_loss_that_sqlite_documents_and_a_sound_database() {
    let sweep = Sweep::new(0, Synchronous::Normal).unwrap();
    let points = points(&sweep, 900);
    assert!(points.iter().all(is_sound), "{:?}", points.iter().find(|point| !is_sound(point)));
    assert!(points.iter().any(|point| matches!(point.state, State::RolledBack { .. })));
    let broken = broken(&points);
    for clause in ["job/no-loss", "status/durable"] {
        assert!(broken.contains(clause), "{broken:?}");
    }
    for point in points.iter().filter(|point| point.model.kind() == "keep-all") {
        assert!(!point.is_broken(), "nothing was lost: {point:?}");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed_at_full() {
    let faults = Faults { sync_lies: Trigger::Always, ..Faults::default() };
    let sweep = Sweep::with_faults(0, Synchronous::Full, faults).unwrap();
    let points = points(&sweep, 1_700);
    assert!(points.iter().any(|point| !is_sound(point)), "a database that was never synced is damaged");
    assert!(points.iter().any(|point| 0 < point.future.lost));
}

#[test]
fn a_directory_sync_that_lies_is_noticed_at_full() {
    let faults = Faults { directory_sync_lies: Trigger::Always, ..Faults::default() };
    let sweep = Sweep::with_faults(0, Synchronous::Full, faults).unwrap();
    let points = points(&sweep, 3_000);
    let undone = |point: &&Point| matches!(point.state, State::RolledBack { .. });
    assert!(points.iter().filter(undone).all(|point| point.model.kind() != "keep-all"));
    assert!(points.iter().any(|point| undone(&point)), "the log is lost with its name");
    assert!(broken(&points).contains("status/durable"));
}

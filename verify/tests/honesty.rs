//! The harness accuses no honest queue, and names every lie.

use kew_verify::conformance::Conformance;
use kew_verify::honesty;
use kew_verify::memory::{Lie, Memory};
use kew_verify::result::Cell;

// An honest queue keeps each clause.
kew_verify::conformance!(Memory::new, kew_verify::Options { repeats: 0, ..kew_verify::Options::default() });

#[test]
fn nothing_that_an_honest_queue_offers_is_left_untried() {
    let conformance: &Conformance = kew_conformance();
    let verified = conformance.verified().expect("the queue answers");
    let untried: Vec<_> = verified.result.clauses.iter().filter(|it| it.cell == Cell::NotExercised).collect();
    assert!(untried.is_empty(), "{untried:#?}");
}

// Its name makes it begin with the first, so that it goes on beside the honest plays.
#[tokio::test(flavor = "multi_thread")]
async fn all_lies_are_named() {
    let told = honesty::tell(Lie::ALL, false, &|told| {
        println!("{} after {} ms: {:?} {:?}", told.lie.name(), told.wall_ms, told.named, told.says)
    })
    .await;
    let told = told.expect("the queue answers");
    let missed: Vec<_> = told.iter().filter(|told| !told.is_caught()).map(|told| told.lie.name()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

mod in_virtual_time {
    use super::*;

    kew_verify::conformance!(
        Memory::new,
        kew_verify::Options { repeats: 0, virtual_time: true, ..kew_verify::Options::default() }
    );

    #[test]
    fn nothing_that_an_honest_queue_offers_is_left_untried() {
        let verified = kew_conformance().verified().expect("the queue answers");
        let undecided = |cell| matches!(cell, Cell::NotExercised | Cell::Inconclusive);
        let untried: Vec<_> = verified.result.clauses.iter().filter(|it| undecided(it.cell)).collect();
        assert!(untried.is_empty(), "{untried:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_lies_are_named() {
        let told = honesty::tell(Lie::ALL, true, &|_| {}).await.expect("the queue answers");
        let missed: Vec<_> = told.iter().filter(|told| !told.is_caught()).map(|told| told.lie.name()).collect();
        assert!(missed.is_empty(), "{missed:?}");
    }
}

//! A point is a function of the seed, the cut and the model alone. Alone in its program: SQLite's random generator is one
//! per process.

use kew_runtime::store::Synchronous;
use kew_sim::sweep::{Model, Sweep};

/// The hash of one point that is played alone.
fn alone(sweep: &Sweep, cut: u64, model: Model) -> String {
    let at = sweep.cut(cut).expect("the run has the operation");
    sweep.points(&at, [model]).expect("a point is played")[0].future.hash()
}

#[test]
fn a_point_is_the_same_alone_and_after_others() {
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        let sweep = Sweep::new(3, synchronous).unwrap();
        let cuts = [1, sweep.operations() / 3, sweep.operations() / 2, sweep.operations()];
        let together: Vec<_> = cuts.map(|cut| sweep.points(&sweep.cut(cut).unwrap(), Model::all()).unwrap()).into();
        for point in together.iter().flatten().step_by(9) {
            let again = Sweep::new(3, synchronous).unwrap();
            assert_eq!(
                alone(&again, point.operation, point.model),
                point.future.hash(),
                "{} {}",
                point.operation,
                point.model
            );
        }
    }
    let [one, other] =
        [3, 4].map(|seed| alone(&Sweep::new(seed, Synchronous::Full).unwrap(), 4_000, Model::all().next().unwrap()));
    assert_ne!(one, other);
}

//! Whether the harness itself can be believed: the queue in memory is honest and must not be accused, and each of its lies
//! must be named.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::link::Error;
use crate::memory::{Lie, Memory};
use crate::result::{Cell, Verification};
use crate::{Options, verify_local};

/// How many lies are told side by side. Plays mostly wait.
const LIES_AT_ONCE: usize = 28;

/// What became of one lie.
#[derive(Clone, Debug)]
pub struct Told {
    /// The lie.
    pub lie: Lie,
    /// The clauses that were found broken, of those that it breaks.
    pub named: Vec<String>,
    /// What was promised and what was seen, of the first of them.
    pub says: Option<String>,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
}

impl Told {
    /// Whether a clause that it breaks was named.
    pub fn is_caught(&self) -> bool {
        !self.named.is_empty()
    }
}

/// What the harness has to say of a queue that it knows.
#[derive(Clone, Debug)]
pub struct Honesty {
    /// Of the honest queue.
    pub honest: Verification,
    /// Of each lie.
    pub lies: Vec<Told>,
}

impl Honesty {
    /// The clauses that the honest queue was wrongly said to break, or that nothing put to the test.
    pub fn doubtful(&self) -> impl Iterator<Item = (&str, Cell)> {
        let doubtful = |cell| matches!(cell, Cell::Broken | Cell::NotExercised);
        self.honest.clauses.iter().filter(move |it| doubtful(it.cell)).map(|it| (it.clause.as_str(), it.cell))
    }

    /// The lies that were not named.
    pub fn missed(&self) -> impl Iterator<Item = Lie> {
        self.lies.iter().filter(|told| !told.is_caught()).map(|told| told.lie)
    }

    /// Whether the harness can be believed.
    pub fn is_fine(&self) -> bool {
        self.doubtful().next().is_none() && self.missed().next().is_none()
    }
}

/// Verifies the honest queue, and one for each lie beside it, in real time. `heard` is called for each lie when it is over.
/// Call it on a tokio runtime with several threads.
pub async fn check(heard: &(dyn Fn(&Told) + Sync)) -> Result<Honesty, Error> {
    let options = Options { repeats: 0, ..Options::default() };
    let honest = verify_local(Memory::new, &options, &|_| {});
    let (honest, lies) = tokio::try_join!(honest, tell(Lie::ALL, false, heard))?;
    Ok(Honesty { honest: honest.result, lies })
}

/// Tells each of `lies`, and answers with what became of them, in their order. In virtual time call it on a tokio runtime
/// whose clock is paused.
pub async fn tell(lies: &[Lie], virtual_time: bool, heard: &(dyn Fn(&Told) + Sync)) -> Result<Vec<Told>, Error> {
    let permits = Arc::new(Semaphore::new(LIES_AT_ONCE));
    let mut telling = JoinSet::new();
    let mut order: Vec<_> = lies.iter().copied().enumerate().collect();
    order.sort_by_key(|(_, lie)| *lie != Lie::NoAging); // It takes by far the longest.
    for (place, lie) in order {
        let permits = Arc::clone(&permits);
        telling.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("it is never closed");
            (place, one(lie, virtual_time).await)
        });
    }
    let mut told = Vec::new();
    while let Some(done) = telling.join_next().await {
        let (place, one) = done.expect("a verification does not panic");
        let one = one?;
        heard(&one);
        told.push((place, one));
    }
    told.sort_by_key(|(place, _)| *place);
    Ok(told.into_iter().map(|(_, one)| one).collect())
}

/// Tells one lie where it can be seen: in the scenarios of the clauses that it breaks.
async fn one(lie: Lie, virtual_time: bool) -> Result<Told, Error> {
    let only = lie.breaks().iter().map(|clause| (*clause).to_owned()).collect();
    let options = Options { only, repeats: 0, virtual_time, ..Options::default() };
    let result = verify_local(move || Memory::lying(lie), &options, &|_| {}).await?.result;
    let broken = result.clauses.iter().filter(|it| it.cell == Cell::Broken);
    let named = broken.clone().map(|it| it.clause.clone()).collect();
    let says = broken.filter_map(|it| it.shown.as_ref()).map(|shown| shown.says.clone()).next();
    Ok(Told { lie, named, says, wall_ms: result.wall_ms })
}

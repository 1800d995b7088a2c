//! Whether the harness itself can be believed: the queue in memory is honest and must not be accused, and each of its lies
//! must be named.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::link::Error;
use crate::memory::{Lie, Memory};
use crate::result::Cell;
use crate::{Options, Verified, verify_local};

/// How many lies are told side by side. Plays mostly wait.
const LIES_AT_ONCE: usize = 8;

/// What became of one lie.
#[derive(Clone, Debug)]
pub struct Told {
    /// The lie.
    pub lie: Lie,
    /// The clauses that were found broken, of those that it breaks.
    pub named: Vec<String>,
    /// What was found, of the first of them.
    pub says: Option<String>,
    /// All that was found while it was told.
    pub verified: Verified,
}

impl Told {
    /// Whether a clause that it breaks was named.
    pub fn is_caught(&self) -> bool {
        !self.named.is_empty()
    }
}

/// What the honest queue came to: all clauses.
pub async fn honest() -> Result<Verified, Error> {
    verify_local(Memory::new, &Options { repeats: 0, ..Options::default() }, &|_| {}).await
}

/// Tells each of `lies`, some of them side by side, and answers with what became of them, in their order. `tell` is
/// called for each when it is over.
pub async fn tell(lies: &[Lie], tell: &(dyn Fn(&Told) + Sync)) -> Result<Vec<Told>, Error> {
    let permits = Arc::new(Semaphore::new(LIES_AT_ONCE));
    let mut telling = JoinSet::new();
    for (place, lie) in lies.iter().copied().enumerate() {
        let permits = Arc::clone(&permits);
        telling.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("it is never closed");
            (place, one(lie).await)
        });
    }
    let mut told = Vec::new();
    while let Some(done) = telling.join_next().await {
        let (place, one) = done.expect("a verification does not panic");
        let one = one?;
        tell(&one);
        told.push((place, one));
    }
    told.sort_by_key(|(place, _)| *place);
    Ok(told.into_iter().map(|(_, one)| one).collect())
}

/// Tells one lie where it can be seen: in the scenarios of the clauses that it breaks.
async fn one(lie: Lie) -> Result<Told, Error> {
    let only = lie.breaks().iter().map(|clause| (*clause).to_owned()).collect();
    let options = Options { only, repeats: 0, ..Options::default() };
    let verified = verify_local(move || Memory::lying(lie), &options, &|_| {}).await?;
    let broken = verified.result.clauses.iter().filter(|it| it.cell == Cell::Broken);
    let named: Vec<_> = broken.clone().map(|it| it.clause.clone()).collect();
    let says = broken.filter_map(|it| it.shown.as_ref()).map(|shown| shown.says.clone()).next();
    Ok(Told { lie, named, says, verified })
}

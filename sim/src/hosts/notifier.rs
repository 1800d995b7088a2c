//! The notifier: the runtime's own, asking the broker over the network.

use std::sync::Arc;

use kew_runtime::api::Access;
use kew_runtime::broker::{Queue, Remote};
use kew_runtime::clock::Clock;
use kew_runtime::ids::Ids;
use kew_runtime::notify::{self, Notifier, State};
use kew_spec::queues::Queues;

use super::users::OPERATOR;
use super::{Result, SharedNet, broker, serve as listen, url};
use crate::planted::Seams;

/// Its name in the network.
pub const HOST: &str = "notifier";

/// What the notifier is made of.
#[derive(Clone)]
pub struct Setup {
    /// The policies that were agreed.
    pub queues: Arc<Queues>,
    /// Who may listen.
    pub access: Arc<Access>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Where its ids begin. After a restart they go on elsewhere.
    pub seed: u64,
    /// Its network.
    pub net: SharedNet,
    /// The seams at which bugs are planted.
    pub seams: Seams,
}

/// Runs it until its host dies.
pub async fn serve(setup: Setup) -> Result {
    let remote = Remote::new(setup.net.clone(), url(broker::HOST), Some(OPERATOR.into()));
    let queue: Arc<dyn Queue> = setup.seams.notifier_queue(Arc::new(remote));
    let ids = Ids::from_seed(setup.seed ^ setup.clock.monotonic_ms());
    let notifier = Notifier::new(queue.clone(), setup.queues, ids, setup.clock);
    let state = State::new(queue, setup.access, notifier.sessions());
    tokio::select! {
        biased;
        () = notifier.run() => Ok(()),
        served = listen(setup.net.as_ref(), notify::router(state)) => served,
    }
}

//! The api: the runtime's own, asking the broker over the network.

use std::sync::Arc;

use kew_runtime::api::{self, Access, Api, Grant, Role};
use kew_runtime::broker::{Queue, Remote};
use kew_runtime::clock::Clock;
use kew_runtime::ids::Ids;
use kew_spec::queues::Queues;

use super::users::OPERATOR;
use super::{Result, SharedNet, broker, serve as listen, url};
use crate::planted::Seams;

/// Its name in the network.
pub const HOST: &str = "api";

/// The token of a processor.
pub const PROCESSOR: &str = "processor";

/// What the api is made of.
#[derive(Clone)]
pub struct Setup {
    /// The policies that were agreed.
    pub queues: Arc<Queues>,
    /// Who may ask it.
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

/// Who may do what: every user by their name as token, an operator, a processor.
pub fn access(users: &[String]) -> Access {
    let grant = |name: &str, role| Grant { token: name.to_owned(), user: name.to_owned(), role };
    let users = users.iter().map(|user| grant(user, Role::User));
    Access::new(users.chain([grant(OPERATOR, Role::Operator), grant(PROCESSOR, Role::Processor)]).collect())
}

/// Runs it until its host dies.
pub async fn serve(setup: Setup) -> Result {
    let remote = Remote::new(setup.net.clone(), url(broker::HOST), Some(OPERATOR.into()));
    let queue: Arc<dyn Queue> = setup.seams.api_queue(Arc::new(remote));
    let ids = Ids::from_seed(setup.seed ^ setup.clock.monotonic_ms());
    let api = Api::new(queue, setup.queues, setup.access, ids, setup.clock);
    listen(setup.net.as_ref(), api::user_router(api)).await
}

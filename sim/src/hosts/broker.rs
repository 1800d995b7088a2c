//! The broker: the runtime's own, on SQLite on a simulated disk.

use std::sync::Arc;
use std::time::Duration;

use kew_runtime::api::{self, Access, Api};
use kew_runtime::broker as role;
use kew_runtime::clock::Clock;
use kew_runtime::ids::Ids;
use kew_runtime::store::{Reader, Sqlite, SqliteOptions, Store};
use kew_spec::queues::Queues;

use super::commit::Struck;
use super::{Result, SharedNet, serve as listen};
use crate::disk::{self, Disk};
use crate::hazards::Hazards;
use crate::planted::Seams;
use crate::record::{Recorder, RecordingStore};

/// Its name in the network.
pub const HOST: &str = "broker";

/// How long a service manager waits before it starts a service again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// The store's file on its disk.
const FILE: &str = "kew.sqlite";

/// What the broker is made of.
#[derive(Clone)]
pub struct Setup {
    /// Its disk.
    pub disk: Disk,
    /// The policies that were agreed.
    pub queues: Arc<Queues>,
    /// Who may ask it.
    pub access: Arc<Access>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Where its ids and jitters begin. After a restart they go on elsewhere.
    pub seed: u64,
    /// Where it is written down.
    pub recorder: Recorder,
    /// Its network.
    pub net: SharedNet,
    /// What hangs over it.
    pub hazards: Hazards,
    /// The seams at which bugs are planted.
    pub seams: Seams,
}

/// Runs it until its host dies. Like any service it is started again when it ends by itself, as when it cannot open its
/// store.
pub async fn serve(setup: Setup) -> Result {
    setup.disk.restart();
    loop {
        let ended = run(setup.clone()).await;
        setup.recorder.note(&format!("the broker ended: {ended:?}"));
        tokio::time::sleep(RESTART_AFTER).await;
    }
}

async fn run(setup: Setup) -> Result {
    setup.seams.disk(&setup.disk);
    let path = Disk::path(HOST, FILE);
    let options = SqliteOptions {
        vfs: Some(disk::VFS.into()),
        synchronous: setup.seams.synchronous(),
        ..SqliteOptions::default()
    };
    let sqlite = Sqlite::open(&path, &options)?;
    let reader: Box<dyn Reader> = setup.seams.reader(Box::new(sqlite.reader()?));
    let store: Box<dyn Store> = setup.seams.store(Box::new(sqlite));
    let store = setup.seams.decision(Box::new(RecordingStore::new(store, setup.recorder)));
    let store = Box::new(Struck { inner: store, host: HOST, disk: setup.disk, hazards: setup.hazards });
    let policies = Arc::new(setup.seams.policies(setup.queues.as_ref().clone()));
    // A restart begins another stream: ids must not repeat.
    let ids = Ids::from_seed(setup.seed ^ setup.clock.monotonic_ms());
    let clock = setup.seams.clock(setup.clock.clone());
    let (handle, writer) = role::new(store, reader, policies, clock, ids.clone());
    let api = Api::new(Arc::new(handle), setup.queues, setup.access, ids, setup.clock);
    tokio::select! {
        biased;
        ended = writer.run() => Ok(ended?),
        served = listen(setup.net.as_ref(), api::broker_router(api)) => served,
    }
}

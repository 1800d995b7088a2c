//! A processor: the runtime's own, with handlers that do what the scenario says.

use std::collections::BTreeMap;
use std::sync::Arc;

use kew_runtime::broker::Remote;
use kew_runtime::net::Client;
use kew_runtime::processor::{Handler, Processor};
use kew_spec::history;
use kew_spec::queues::Queues;

use super::{Result, SharedNet, api, broker, outside, url};
use crate::faults::Hazards;
use crate::planted::Seams;
use crate::record::Recorder;
use crate::script::{Script, Scripted};

/// The name of the `n`th processor, from 1.
pub fn host(n: u32) -> String {
    format!("processor-{n}")
}

/// What a processor is made of.
#[derive(Clone)]
pub struct Setup {
    /// Its name.
    pub host: String,
    /// How many deliveries it runs side by side.
    pub slots: u32,
    /// The policies of the queues it serves.
    pub queues: Arc<Queues>,
    /// What each job does.
    pub script: Script,
    /// Where it is written down.
    pub recorder: Recorder,
    /// How it dies and is paused.
    pub hazards: Hazards,
    /// Its network.
    pub net: SharedNet,
    /// The seams at which bugs are planted.
    pub seams: Seams,
}

/// Runs it until its host dies.
pub async fn serve(setup: Setup) -> Result {
    let up = history::Processor { processor: setup.host.clone(), up: true, slots: setup.slots };
    setup.recorder.see(up);
    let outside = Arc::new(Client::new(setup.net.clone(), url(outside::HOST), None));
    let handlers = setup.queues.iter().map(|(queue, policy)| {
        let scripted = Scripted {
            processor: setup.host.clone(),
            policy: policy.clone(),
            script: setup.script.clone(),
            recorder: setup.recorder.clone(),
            outside: outside.clone(),
            hazards: setup.hazards.clone(),
        };
        (queue.to_owned(), setup.seams.handler(Arc::new(scripted)))
    });
    let handlers: BTreeMap<String, Arc<dyn Handler>> = handlers.collect();
    let remote = Remote::for_processor(setup.net.clone(), url(broker::HOST), Some(api::PROCESSOR.into()));
    let queue = setup.seams.processor_queue(Arc::new(remote));
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    Processor { name: setup.host, queue, handlers, slots: setup.slots }.run(stopped).await;
    Ok(())
}

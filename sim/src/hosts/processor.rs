//! A processor: the runtime's own, with handlers that do what the scenario says.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{Queue, Refusal, Remote, Request, Response};
use kew_runtime::net::Client;
use kew_runtime::processor::{Handler, Processor};
use kew_spec::history;
use kew_spec::queues::Queues;

use super::{Result, SharedNet, api, broker, outside, url};
use crate::hazards::Hazards;
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
    let repeating = Repeating { inner: Arc::new(remote), host: setup.host.clone(), hazards: setup.hazards.clone() };
    let queue = setup.seams.processor_queue(Arc::new(repeating));
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    Processor { name: setup.host, queue, handlers, slots: setup.slots }.run(stopped).await;
    Ok(())
}

/// A way to the broker on which settles are sent twice while its host repeats itself.
struct Repeating {
    inner: Arc<dyn Queue>,
    host: String,
    hazards: Hazards,
}

impl Queue for Repeating {
    fn call(&self, request: Request) -> BoxFuture<'_, std::result::Result<Response, Refusal>> {
        async move {
            let again = matches!(request, Request::Settle(_)) && self.hazards.repeats(&self.host);
            let answer = self.inner.call(request.clone()).await;
            if again {
                // The first answer counts: the second can only be that the lease is over.
                let _ = self.inner.call(request).await;
            }
            answer
        }
        .boxed()
    }
}

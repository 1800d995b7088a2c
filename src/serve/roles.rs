//! The roles put together: by direct call within this process, or over HTTP to a broker elsewhere.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use kew_runtime::api::{self, Api};
use kew_runtime::broker::{self, Handle, Queue, Remote, Writer};
use kew_runtime::clock::{Clock, SystemClock};
use kew_runtime::ids::Ids;
use kew_runtime::net::{Net, TokioNet};
use kew_runtime::notify::{self, Notifier, State};
use kew_runtime::processor::Processor;
use kew_runtime::store::{Sqlite, SqliteOptions};
use tokio::sync::{oneshot, watch};

use super::setup::Setup;
use super::{Role, banner};
use crate::outcome::Failure;

/// A role at work.
pub(super) struct Running {
    /// Ready when the broker in this process cannot go on; absent where the broker is elsewhere.
    pub(super) failed: Option<oneshot::Receiver<Failure>>,
    /// Ready when, after it was told to stop, nothing is left to do.
    pub(super) drained: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Starts the role; `stopped` turns true when it shall drain.
pub(super) async fn start(setup: Setup, stopped: watch::Receiver<bool>) -> Result<Running, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let net: Arc<dyn Net> = Arc::new(TokioNet);
    let (near, failed) = match setup.role {
        Role::All | Role::Broker => {
            let (report, failed) = oneshot::channel();
            (Some(open(&setup, clock.clone(), report)?), Some(failed))
        }
        _ => (None, None),
    };
    let queue: Arc<dyn Queue> = match (&near, &setup.broker) {
        (Some(handle), _) => Arc::new(handle.clone()),
        (None, Some((url, token))) if setup.role == Role::Processor => {
            Arc::new(Remote::for_processor(net.clone(), url, token.clone()))
        }
        (None, Some((url, token))) => Arc::new(Remote::new(net.clone(), url, token.clone())),
        (None, None) => unreachable!("a role apart from the broker has the broker's address"),
    };
    let served = match router(&setup, &queue, &clock) {
        Some(router) => Some(listen(&setup, net.as_ref(), router, stopped.clone()).await?),
        None => None,
    };
    let processed = match setup.role {
        Role::All | Role::Processor => Some(process(&setup, queue, stopped)?),
        _ => None,
    };
    banner::print(&setup, served.as_ref().map(|(address, _)| *address));
    let drained = async move {
        if let Some(processed) = processed {
            processed.await;
        }
        if let Some((_, served)) = served {
            served.await;
        }
    };
    Ok(Running { failed, drained: Box::pin(drained) })
}

/// Opens the store and starts the broker's writer on a thread of its own.
fn open(setup: &Setup, clock: Arc<dyn Clock>, report: oneshot::Sender<Failure>) -> Result<Handle, Failure> {
    let data = &setup.config.data;
    let made = std::fs::create_dir_all(data);
    made.map_err(|error| Failure::input(format!("make the folder {}: {error}", data.display())))?;
    let options = SqliteOptions { synchronous: setup.config.synchronous, ..SqliteOptions::default() };
    let store = Sqlite::open(setup.store(), &options).map_err(Failure::input)?;
    let reader = store.reader().map_err(Failure::input)?;
    let (handle, writer) =
        broker::new(Box::new(store), Box::new(reader), setup.queues.clone(), clock, Ids::from_entropy());
    write(writer.keep_ended(setup.config.keep_ended_ms()), report);
    Ok(handle)
}

/// A sync takes as long as the disk does; on its own thread it holds up nothing else.
#[expect(clippy::disallowed_methods, reason = "the simulator places the writer itself; this is the real process")]
fn write(writer: Writer, report: oneshot::Sender<Failure>) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime without I/O needs nothing that could be missing");
        if let Err(error) = runtime.block_on(writer.run()) {
            // Nobody listens any more when the process is ending anyway.
            let _ = report.send(Failure::harness(&error));
        }
    });
}

/// What the role answers over HTTP; a processor answers nothing.
fn router(setup: &Setup, queue: &Arc<dyn Queue>, clock: &Arc<dyn Clock>) -> Option<Router> {
    let (queues, access) = (setup.queues.clone(), setup.access.clone());
    let api = || Api::new(queue.clone(), queues.clone(), access.clone(), Ids::from_entropy(), clock.clone());
    let notifier = || {
        let notifier = Notifier::new(queue.clone(), queues.clone(), Ids::from_entropy(), clock.clone());
        let state = State::new(queue.clone(), access.clone(), notifier.sessions());
        tokio::spawn(notifier.run());
        state
    };
    Some(match setup.role {
        Role::All => api::router(api()).merge(notify::events(notifier())),
        Role::Api => api::user_router(api()),
        Role::Broker => api::broker_router(api()),
        Role::Notifier => notify::router(notifier()),
        Role::Processor => return None,
    })
}

async fn listen(
    setup: &Setup,
    net: &dyn Net,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<(std::net::SocketAddr, impl Future<Output = ()> + use<>), Failure> {
    let address = setup.config.listen;
    let cannot = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::AddrInUse { "; choose another with --listen" } else { "" };
        Failure::input(format!("listen on {address}: {error}{hint}"))
    };
    let listener = net.bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let stop = async move {
        // The sender goes only with the whole process.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let served = tokio::spawn(api::serve(listener, router, stop));
    let served = async move {
        if let Ok(Err(error)) = served.await {
            tracing::error!(%error, "serve");
        }
    };
    Ok((address, served))
}

/// Starts a processor with the handlers of the queues that it shall serve.
fn process(
    setup: &Setup,
    queue: Arc<dyn Queue>,
    stopped: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let mut handlers = kew_handlers::handlers(&setup.handlers, &setup.config.data).map_err(Failure::input)?;
    handlers.retain(|queue, _| setup.queues.get(queue).is_some());
    if let Some(wanted) = &setup.config.processor.queues {
        if let Some(unknown) = wanted.iter().find(|queue| !handlers.contains_key(*queue)) {
            let known: Vec<_> = handlers.keys().cloned().collect();
            let message = format!("serve queue {unknown}: there is no handler for it; there are {}", known.join(", "));
            return Err(Failure::input(message));
        }
        handlers.retain(|queue, _| wanted.contains(queue));
    }
    if handlers.is_empty() {
        tracing::warn!("there is a handler for none of the queues; processors elsewhere have to run their jobs");
    }
    let name = setup.config.processor.name.clone().unwrap_or_else(|| format!("processor-{}", std::process::id()));
    let processor = Processor { name, queue, handlers, slots: setup.config.processor.slots };
    let task = tokio::spawn(processor.run(stopped));
    Ok(async move {
        if let Err(error) = task.await {
            tracing::error!(%error, "the processor");
        }
    })
}

//! Strikes the processes of a play as the scenario says: kills and stops workers, cuts them off, kills the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kew_spec::history::Fault;
use kew_spec::scenario::{FaultKind, FaultSpec};

use super::{Stage, handlers, processor};
use crate::link::Error;
use crate::proxy::Weather;

/// How long a message waits under `hold` on its way each way. The fault itself says how long it lasts.
const HELD: Weather = Weather { cut: true, delay_ms: 0 };

/// Strikes and heals all faults of the scenario.
pub(super) async fn strike(stage: Arc<Stage>) -> Result<(), Error> {
    let numbers = Arc::new(AtomicU64::new(1));
    let mut striking = Vec::new();
    for fault in stage.fitted.scenario.faults.clone() {
        let (stage, numbers) = (Arc::clone(&stage), Arc::clone(&numbers));
        striking.push(tokio::spawn(one(stage, fault, numbers)));
    }
    for one in striking {
        one.await.expect("it does not panic")?;
    }
    Ok(())
}

async fn one(stage: Arc<Stage>, spec: FaultSpec, numbers: Arc<AtomicU64>) -> Result<(), Error> {
    tokio::time::sleep_until(stage.recorder.moment(spec.at_ms)).await;
    let worker = spec.kind.hosts().into_iter().find_map(worker_of).map(|worker| worker % stage.processors);
    let on = match worker {
        Some(worker) => vec![processor(worker)],
        None => vec!["broker".to_owned()],
    };
    let number = numbers.fetch_add(1, Ordering::Relaxed);
    let kind = if matches!(spec.kind, FaultKind::Power { .. }) { "kill" } else { spec.kind.name() };
    let fault = |active| Fault { fault: number, kind: kind.to_owned(), on: on.clone(), active };
    stage.recorder.see(fault(true));
    begin(&stage, &spec.kind, worker).await?;
    tokio::time::sleep(Duration::from_millis(spec.for_ms)).await;
    heal(&stage, &spec.kind, worker).await?;
    stage.recorder.see(fault(false));
    Ok(())
}

/// The number of a worker from 0.
fn worker_of(host: &str) -> Option<usize> {
    host.strip_prefix("processor-")?.parse::<usize>().ok()?.checked_sub(1)
}

async fn begin(stage: &Stage, kind: &FaultKind, worker: Option<usize>) -> Result<(), Error> {
    match (kind, worker) {
        (FaultKind::Kill { .. } | FaultKind::Power { .. }, Some(worker)) => handlers::down(stage, worker),
        (FaultKind::Kill { .. } | FaultKind::Power { .. }, None) => stage.fleet.server(true).await?,
        (FaultKind::Pause { .. }, Some(worker)) => {
            stage.lock().paused.insert(worker);
            stage.fleet.pause(worker, true);
        }
        (FaultKind::Partition { .. } | FaultKind::Hold { .. }, Some(worker)) => stage.fleet.weather(worker, HELD),
        _ => {} // A scenario with another is not played: `fit` sees to that.
    }
    Ok(())
}

async fn heal(stage: &Stage, kind: &FaultKind, worker: Option<usize>) -> Result<(), Error> {
    match (kind, worker) {
        (FaultKind::Kill { .. } | FaultKind::Power { .. }, Some(worker)) => {
            stage.fleet.restart(worker).await?;
            stage.up(worker, true);
        }
        (FaultKind::Kill { .. } | FaultKind::Power { .. }, None) => stage.fleet.server(false).await?,
        (FaultKind::Pause { .. }, Some(worker)) => {
            stage.fleet.pause(worker, false);
            stage.lock().paused.remove(&worker);
        }
        (FaultKind::Partition { .. } | FaultKind::Hold { .. }, Some(worker)) => {
            stage.fleet.weather(worker, Weather::default());
        }
        _ => {}
    }
    Ok(())
}

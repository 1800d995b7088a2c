//! Moves the clock of a run in virtual time, step by step: the system's first, then the harness's own. In between
//! everybody does what falls due, and time stands still until they have.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::link::Error;
use crate::protocol::{Answer, Ask};

/// How far the clock is moved at once. Well below what the harness may misjudge a moment by.
const STEP: Duration = Duration::from_millis(10);

/// How long the harness listens, in real time, before it takes it that nobody has more to say.
const LISTEN: Duration = Duration::from_micros(200);

/// How often it listens for an answer before it gives the adapter up: 30 seconds of real time at the least.
const LISTEN_MAX: u32 = 150_000;

/// Moves the clock for as long as it is there. From then on the clock goes by itself, as the machine's does.
pub(crate) struct Mover {
    task: JoinHandle<()>,
    /// While this is held, the paused clock does not move by itself.
    _hold: mpsc::Sender<()>,
}

impl Mover {
    /// Pauses the clock of this runtime, which must have one thread alone, and begins to move it.
    pub(crate) fn begin(fleet: &Arc<Fleet>, clock: &Clock) -> Self {
        tokio::time::pause();
        let (hold, held) = mpsc::channel::<()>();
        #[expect(
            clippy::disallowed_methods,
            reason = "tokio moves a paused clock by itself unless a thread is at work"
        )]
        tokio::task::spawn_blocking(move || held.recv());
        let task = tokio::spawn(run(Arc::clone(fleet), clock.clone()));
        Self { task, _hold: hold }
    }

    /// From now on the clock goes by itself, and nobody moves the system's any more.
    pub(crate) async fn end(mut self) {
        self.stop();
        let _ = (&mut self.task).await; // It was told to end.
    }

    fn stop(&mut self) {
        // If the adapter has failed, or it has been stopped before, the clock goes by itself already.
        if !self.task.is_finished() {
            self.task.abort();
            tokio::time::resume();
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(fleet: Arc<Fleet>, clock: Clock) {
    while let Ok(()) = step(&fleet, &clock).await {}
    // The adapter is gone, or of no use: whoever waits for a time is to find that out.
    tokio::time::resume();
}

/// Moves the clock once. An error is the adapter's, and what its link says of it from then on.
async fn step(fleet: &Fleet, clock: &Clock) -> Result<(), Error> {
    come_to_rest(fleet).await?;
    // What the system does now it does at the new time, and is written down so, before the harness's own timers run.
    clock.set_ahead(STEP.as_millis() as u64);
    let to_ms = clock.both().1 + STEP.as_millis() as u64;
    let posted = fleet.client().post(Ask::Advance { to_ms });
    come_to_rest(fleet).await?; // In this time alone an answer may fail to come: no timeout of tokio's goes on.
    if !matches!(fleet.client().answered(posted).await?, Answer::Ok(_)) {
        return Err(fleet.client().give_up("did not move its clock"));
    }
    clock.set_ahead(0);
    tokio::time::advance(STEP).await;
    Ok(())
}

/// Waits until everybody has done what there is to do, and the adapter has answered all that it was asked.
async fn come_to_rest(fleet: &Fleet) -> Result<(), Error> {
    for _ in 0..LISTEN_MAX {
        pass(LISTEN).await;
        if !fleet.client().is_asked() {
            return fleet.wrong().map_or(Ok(()), Err);
        }
    }
    Err(fleet.client().give_up("did not answer within 30 s or more of real time"))
}

/// Waits in real time, while the clock stands still.
async fn pass(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "no timer of tokio's goes on while the clock is paused")]
    let passed = tokio::task::spawn_blocking(move || std::thread::sleep(time)).await;
    passed.expect("it only sleeps");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{json, to_value};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::capability::Capabilities;
    use crate::fleet::System;
    use crate::link::Local;
    use crate::protocol::{About, Request, Said, Which};

    /// A fleet whose adapter is told the time, and takes a while to tell a status.
    async fn fleet(clock: &Clock) -> (Arc<Fleet>, Arc<Mutex<Vec<u64>>>) {
        let told = Arc::<Mutex<Vec<u64>>>::default();
        let hears = Arc::clone(&told);
        let start = move |line| drop(tokio::spawn(adapt(line, Arc::clone(&hears))));
        let started = Fleet::start(&System::Local(Arc::new(start)), clock, 1, false).await;
        (Arc::new(started.expect("it answers hello").0), told)
    }

    async fn adapt(mut line: Local, told: Arc<Mutex<Vec<u64>>>) {
        while let Some(Request { id, ask }) = line.requests.recv().await {
            let value = match ask {
                Ask::Hello(_) => to_value(About::new("moved", "1", Capabilities::default())).expect("it is JSON"),
                Ask::Advance { to_ms } => {
                    told.lock().expect("nobody panics with it").push(to_ms);
                    json!({})
                }
                _ => {
                    pass(Duration::from_millis(5)).await;
                    json!({})
                }
            };
            let reply = Said::Reply { id: id.expect("it is to be answered"), answer: Answer::Ok(value) };
            let _ = line.said.send(reply); // At the end nobody listens.
        }
    }

    #[tokio::test]
    async fn the_system_is_moved_step_by_step_and_the_harness_after_it() {
        let clock = Clock::own();
        let (fleet, told) = fleet(&clock).await;
        let mover = Mover::begin(&fleet, &clock);
        let (began, began_ms) = clock.both();
        sleep(Duration::from_millis(100)).await;
        let (passed, now_ms) = (began.elapsed(), clock.both().1);
        assert!((Duration::from_millis(100)..=Duration::from_millis(110)).contains(&passed), "{passed:?}");
        let told = told.lock().expect("nobody panics with it").clone();
        assert_eq!(told, (1..=told.len() as u64).map(|step| began_ms + 10 * step).collect::<Vec<_>>());
        assert_eq!(told.last(), Some(&now_ms));
        mover.end().await;
    }

    #[tokio::test]
    async fn if_the_adapter_fails_time_goes_by_itself() {
        let clock = Clock::own();
        let (fleet, _) = fleet(&clock).await;
        let mover = Mover::begin(&fleet, &clock);
        let _ = fleet.client().give_up("is of no use");
        sleep(Duration::from_millis(20)).await;
        assert!(fleet.wrong().is_some_and(|error| error.to_string().contains("is of no use")));
        drop(mover);
    }

    #[tokio::test]
    async fn time_stands_still_while_something_is_not_answered() {
        let clock = Clock::own();
        let (fleet, _) = fleet(&clock).await;
        let mover = Mover::begin(&fleet, &clock);
        let asked = Instant::now();
        let which = Which { queue: "q".into(), job: "j".into() };
        fleet.client().ask(Ask::Status(which)).await.expect("it answers");
        assert_eq!(asked.elapsed(), Duration::ZERO);
        drop(mover);
        pass(Duration::from_millis(2)).await;
        assert!(Duration::from_millis(2) <= asked.elapsed(), "afterwards the clock goes by itself");
    }
}

//! A stage set by hand, for tests: one queue, and an adapter in this process that answers as it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kew_spec::history::What;
use kew_spec::scenario::Scenario;
use serde_json::to_value;

use super::{Progress, Stage};
use crate::capability::Capabilities;
use crate::clock::Clock;
use crate::fit::Fitted;
use crate::fleet::{Fleet, System};
use crate::link::Local;
use crate::protocol::{About, Answer, Ask, Request, Said};
use crate::record::Recorder;

/// What the names of its queues and jobs begin with, outside.
pub(super) const PREFIX: &str = "play";

/// Its queue allows two attempts, and keeps what is spent.
const SCENARIO: &str = r#"
name = "by-hand"
queues = """
[work]
priority = "medium"
attempts = 2
timeout_ms = 60_000
dead_letter_queue = "dead"
"""
[[job]]
label = "j"
queue = "work"
"#;

/// A stage before a system that `can` do this, with all that was asked of it.
pub(super) struct ByHand {
    pub(super) stage: Arc<Stage>,
    asked: Arc<Mutex<Vec<Ask>>>,
}

impl ByHand {
    /// `answer` is what the adapter says to everything but hello.
    pub(super) async fn new(can: Capabilities, answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> Self {
        let (asked, answer) = (Arc::<Mutex<Vec<Ask>>>::default(), Arc::new(answer));
        let hears = Arc::clone(&asked);
        let about = About::new("by hand", "1", can);
        let start = move |line| drop(tokio::spawn(adapt(line, about.clone(), Arc::clone(&hears), Arc::clone(&answer))));
        let clock = Clock::own();
        let fleet = Fleet::start(&System::Local(Arc::new(start)), &clock, 1, false).await;
        let (fleet, about) = fleet.expect("it answers hello");
        let stage = Stage {
            fleet: Arc::new(fleet),
            about: Arc::new(about),
            fitted: fitted(),
            prefix: PREFIX.into(),
            recorder: Recorder::new(&clock),
            plans: BTreeMap::new(),
            ops: 1.into(),
            known: Mutex::default(),
            processors: 1,
            slots: 1,
        };
        Self { stage: Arc::new(stage), asked }
    }

    /// There is such a job, acknowledged and delivered so often.
    pub(super) fn has(&self, job: &str, deliveries: u32) -> &Self {
        self.has_as(job, Progress { deliveries, ..acknowledged() })
    }

    /// There is a job that has come so far.
    pub(super) fn has_as(&self, job: &str, progress: Progress) -> &Self {
        self.stage.lock().jobs.insert(job.to_owned(), progress);
        self
    }

    /// What was asked of the adapter.
    pub(super) fn asked(&self) -> Vec<Ask> {
        self.asked.lock().expect("nobody panics with it").clone()
    }

    /// What was seen.
    pub(super) fn seen(&self) -> Vec<What> {
        self.stage.recorder.events().into_iter().map(|event| event.what).collect()
    }
}

/// A job of the queue that was acknowledged, and nothing more.
pub(super) fn acknowledged() -> Progress {
    Progress { queue: "work".into(), acknowledged: true, ..Progress::default() }
}

/// An answer that holds `value`.
pub(super) fn ok(value: impl serde::Serialize) -> Answer {
    Answer::Ok(to_value(value).expect("it is JSON"))
}

fn fitted() -> Fitted {
    let scenario = Scenario::parse(SCENARIO).expect("it is a scenario");
    Fitted { policies: scenario.policies(), scenario, strikes: false }
}

async fn adapt(
    mut line: Local,
    about: About,
    hears: Arc<Mutex<Vec<Ask>>>,
    answer: Arc<impl Fn(&Ask) -> Answer + Send + Sync>,
) {
    while let Some(Request { id, ask }) = line.requests.recv().await {
        let answer = match &ask {
            Ask::Hello(_) => ok(&about),
            _ => {
                hears.lock().expect("nobody panics with it").push(ask.clone());
                answer(&ask)
            }
        };
        if let Some(id) = id {
            let _ = line.said.send(Said::Reply { id, answer }); // At the end nobody listens.
        }
    }
}

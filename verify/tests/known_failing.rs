//! A queue that is known to break a clause: the test of that clause passes, and no other's is held back by it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use kew_verify::Options;
use kew_verify::capability::{Capabilities, Feature};
use kew_verify::conformance::Conformance;
use kew_verify::local::{Handler, Queue, Setup};
use kew_verify::protocol::{About, Applied, Delivered, Ending, Enqueued, Job};

const KNOWN: &str = r#"
    [[known]]
    clause = "retry/at-least"
    reason = "It gives up one attempt early."
    link = "https://example.org/issues/7"
"#;

kew_verify::conformance!(Hasty::default, of_one_scenario(), known: KNOWN);

fn of_one_scenario() -> Options {
    let scenario = kew_verify::scenarios::find("dead-letters-of-one").expect("there is such a scenario");
    Options { scenarios: Some(vec![scenario]), repeats: 0, ..Options::default() }
}

/// What the test of `clause` says when it fails.
fn failure(conformance: &Conformance, clause: &str) -> Option<String> {
    let failure = catch_unwind(AssertUnwindSafe(|| conformance.assert(clause))).err()?;
    Some(failure.downcast_ref::<String>().expect("it says why").clone())
}

#[test]
fn a_list_that_is_not_true_is_told() {
    let played = || Conformance::play(Hasty::default, &of_one_scenario());
    let unknown = failure(&played(), "retry/at-least").expect("nobody knows of it");
    assert!(unknown.starts_with("retry/at-least is broken: "), "{unknown}");

    let over = played().knowing(&(KNOWN.to_owned() + "expires = \"2020-01-01\""));
    let told = failure(&over, "retry/at-least").expect("the entry has expired");
    assert!(told.contains("this was known until 2020-01-01: It gives up"), "{told}");

    let stale = played().knowing(&KNOWN.replace("retry/at-least", "job/payload"));
    let told = failure(&stale, "job/payload").expect("it is kept");
    assert!(told.contains("job/payload is kept, but known to be broken"), "{told}");
    let sometimes = played().knowing(&(KNOWN.replace("retry/at-least", "job/payload") + "sometimes = true"));
    assert_eq!(failure(&sometimes, "job/payload"), None);

    let misspelt = played().knowing(&KNOWN.replace("at-least", "at-last"));
    let told = failure(&misspelt, "job/no-loss").expect("there is no such clause");
    assert!(told.contains("there is no clause retry/at-last"), "{told}");
}

/// A queue that delivers each job once less than it declares.
#[derive(Default)]
struct Hasty {
    queues: Mutex<BTreeMap<String, (u32, Handler)>>,
}

impl Queue for Hasty {
    fn about(&self) -> About {
        About::new("hasty", "1.0", Capabilities { attempts: Feature::NATIVE, ..Capabilities::default() })
    }

    async fn configure(&self, setup: Setup, handler: Handler) -> Result<Applied, String> {
        let attempts = setup.policy.attempts.max().ok_or("it retries only so often")?;
        self.queues.lock().expect("nobody panics with it").insert(setup.queue, (attempts, handler));
        Ok(Applied::default())
    }

    async fn enqueue(&self, job: Job) -> Result<Enqueued, String> {
        let found = self.queues.lock().expect("nobody panics with it").get(&job.queue).cloned();
        let (attempts, handler) = found.ok_or("there is no such queue")?;
        tokio::spawn(async move {
            for _ in 1..attempts {
                let delivered = Delivered { job: job.job.clone(), attempt: None, payload: job.payload.clone() };
                let results = handler.call(vec![delivered]).await;
                if results.iter().all(|result| result.result == Ending::Completed) {
                    break;
                }
            }
        });
        Ok(Enqueued::default())
    }
}

//! Kew's conformance as `cargo test`: [`conformance!`](crate::conformance!) makes one test per clause for a queue in this
//! process. The scenarios are played once, and each test asserts its clause.

use std::fmt::Write;

use kew_spec::clause;

use crate::local::Queue;
use crate::result::Cell;
use crate::{Options, Verified};

/// The tests of Kew's conformance for a queue that implements [`Queue`]: one per clause, each named after it.
///
/// ```text
/// kew_verify::conformance!(MyQueue::new);
/// ```
///
/// The argument is called to make the queue. A second one, [`Options`], says what to play.
#[macro_export]
macro_rules! conformance {
    (@names $($name:ident $clause:literal)*) => {
        [$((stringify!($name), $clause)),*]
    };
    (@tests $($name:ident $clause:literal)*) => {
        $(#[test]
        fn $name() {
            kew_conformance().assert($clause);
        })*
    };
    (@each $with:ident) => {
        $crate::conformance! { @$with
            job_no_loss "job/no-loss"
            job_no_phantom "job/no-phantom"
            job_payload "job/payload"
            job_idempotent_enqueue "job/idempotent-enqueue"
            retry_at_most "retry/at-most"
            retry_at_least "retry/at-least"
            retry_stops "retry/stops"
            retry_infinite "retry/infinite"
            retry_count "retry/count"
            retry_one_owner "retry/one-owner"
            retry_caused "retry/caused"
            backoff_never_early "backoff/never-early"
            backoff_not_late "backoff/not-late"
            backoff_capped "backoff/capped"
            timeout_enforced "timeout/enforced"
            timeout_late_result "timeout/late-result"
            dead_letter_exactly "dead-letter/exactly"
            dead_letter_none "dead-letter/none"
            dead_letter_intact "dead-letter/intact"
            dead_letter_redrive "dead-letter/redrive"
            rate_ceiling "rate/ceiling"
            rate_used "rate/used"
            batch_size "batch/size"
            batch_full "batch/full"
            batch_wait "batch/wait"
            batch_partial "batch/partial"
            batch_one_queue "batch/one-queue"
            batch_not_empty "batch/not-empty"
            dedup_coalesce "dedup/coalesce"
            dedup_one_running "dedup/one-running"
            dedup_follow_up "dedup/follow-up"
            dedup_last_write "dedup/last-write"
            dedup_distinct "dedup/distinct"
            dedup_released "dedup/released"
            schedule_on_tick "schedule/on-tick"
            schedule_every_tick "schedule/every-tick"
            schedule_catch_up "schedule/catch-up"
            schedule_drains "schedule/drains"
            schedule_stored_once "schedule/stored-once"
            priority_order "priority/order"
            priority_aging "priority/aging"
            status_flow "status/flow"
            status_read_your_writes "status/read-your-writes"
            status_monotonic "status/monotonic"
            status_final "status/final"
            status_durable "status/durable"
            notify_each_end "notify/each-end"
            notify_not_before "notify/not-before"
            notify_own_only "notify/own-only"
        }
    };
    ($make:expr) => {
        $crate::conformance!($make, $crate::Options::default());
    };
    ($make:expr, $options:expr) => {
        fn kew_conformance() -> &'static $crate::conformance::Conformance {
            static PLAYED: ::std::sync::OnceLock<$crate::conformance::Conformance> = ::std::sync::OnceLock::new();
            PLAYED.get_or_init(|| $crate::conformance::Conformance::play($make, &$options))
        }

        $crate::conformance!(@each tests);
    };
}

/// How a queue stands with every clause.
pub struct Conformance(Result<Verified, String>);

impl Conformance {
    /// Plays the scenarios, on threads of its own.
    pub fn play<Q: Queue>(make: impl Fn() -> Q + Send + Sync + 'static, options: &Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("the system has threads for it");
        let verified = runtime.block_on(crate::verify_local(make, options, &|_| {}));
        runtime.shutdown_background(); // Handlers that hang are still there.
        Self(verified.map_err(|error| error.to_string()))
    }

    /// What it came to, or what the queue did that no queue in this process may do.
    pub fn verified(&self) -> Result<&Verified, &str> {
        self.0.as_ref().map_err(String::as_str)
    }

    /// Panics if the clause was broken, and says how; prints how it stands otherwise.
    ///
    /// # Panics
    /// If the clause was broken, or if the queue did not answer as a queue in this process must.
    pub fn assert(&self, clause: &str) {
        let verified = self.0.as_ref().unwrap_or_else(|error| panic!("{error}"));
        let Some(it) = verified.result.get(clause) else { panic!("there is no clause {clause}") };
        match it.cell {
            Cell::Broken => panic!("{}", told(verified, clause)),
            Cell::Kept => println!("{clause} is kept: put to the test {} times", it.exercised),
            Cell::NotOffered => println!("{clause} is not offered: {}", it.feature),
            Cell::NotExercised => println!("{clause} was not put to the test by any scenario"),
            Cell::Inconclusive => println!("{clause} could not be decided on this machine"),
        }
    }
}

/// The clause, what broke it, and the lines of the smallest play that show it.
fn told(verified: &Verified, clause: &str) -> String {
    let mut text = format!("{clause} is broken");
    if let Some(clause) = clause::find(clause) {
        let _ = write!(text, ": {}", clause.text);
    }
    let Some(shown) = verified.result.get(clause).and_then(|it| it.shown.as_ref()) else { return text };
    let (broken, plays) = (shown.rate.broken, shown.rate.plays);
    let _ =
        write!(text, "\n  {}\n  in {broken} of {plays} plays of {}, whose lines show it:", shown.says, shown.scenario);
    let Some(play) = verified.plays.get(&shown.scenario) else { return text };
    for line in &shown.lines {
        let event = line.checked_sub(2).and_then(|place| play.events.get(place as usize));
        let event = event.map(|event| serde_json::to_string(event).expect("an event is JSON"));
        let _ = write!(text, "\n  {line:>5}  {}", event.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use kew_spec::clause::CLAUSES;

    #[test]
    fn there_is_one_test_for_each_clause_and_it_has_its_name() {
        let tests = conformance!(@each names);
        let clauses: Vec<_> = CLAUSES.iter().map(|clause| clause.id).collect();
        assert_eq!(tests.map(|(_, clause)| clause).to_vec(), clauses);
        for (name, clause) in tests {
            assert_eq!(name, clause.replace(['/', '-'], "_"));
        }
    }
}

//! Kew's conformance as `cargo test`: [`conformance!`](crate::conformance!) makes one test per clause for a queue in this
//! process. The scenarios are played once, and each test asserts its clause.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use kew_spec::clause;

use crate::known::{Failing, Known};
use crate::local::Queue;
use crate::result::Cell;
use crate::{Options, Verified};

/// The tests of Kew's conformance for a queue that implements [`Queue`]: one per clause, each named after it.
///
/// ```text
/// kew_verify::conformance!(MyQueue::new);
/// ```
///
/// The argument is called to make the queue. A second one, [`Options`], says what to play, and whether in virtual time:
///
/// ```text
/// kew_verify::conformance!(MyQueue::new, kew_verify::Options { virtual_time: true, ..Default::default() });
/// ```
///
/// Clauses that the queue is known to break are told last, as the text of a `known-failing.toml` (docs/adapters.md), each
/// with its reason:
///
/// ```text
/// kew_verify::conformance!(MyQueue::new, known: include_str!("known-failing.toml"));
/// ```
///
/// The test of such a clause passes while it is broken, and tells the reason. It fails once the clause is kept (unless the
/// entry says `sometimes`) or the entry has expired, so that the list stays true.
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
        $crate::conformance!($make, known: "");
    };
    ($make:expr, known: $known:expr) => {
        $crate::conformance!($make, $crate::Options::default(), known: $known);
    };
    ($make:expr, $options:expr) => {
        $crate::conformance!($make, $options, known: "");
    };
    ($make:expr, $options:expr, known: $known:expr) => {
        fn kew_conformance() -> &'static $crate::conformance::Conformance {
            static PLAYED: ::std::sync::OnceLock<$crate::conformance::Conformance> = ::std::sync::OnceLock::new();
            PLAYED.get_or_init(|| $crate::conformance::Conformance::play($make, &$options).knowing($known))
        }

        $crate::conformance!(@each tests);
    };
}

/// How a queue stands with every clause.
pub struct Conformance {
    verified: Result<Verified, String>,
    known: Known,
    today: String,
}

impl Conformance {
    /// Plays the scenarios, on threads of its own.
    pub fn play<Q: Queue>(make: impl Fn() -> Q + Send + Sync + 'static, options: &Options) -> Self {
        let mut builder = match options.virtual_time {
            true => tokio::runtime::Builder::new_current_thread(),
            false => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.enable_all().start_paused(options.virtual_time).build();
        let runtime = runtime.expect("the system has threads for it");
        let verified = runtime.block_on(crate::verify_local(make, options, &|_| {}));
        runtime.shutdown_background(); // Handlers that hang are still there.
        Self { verified: verified.map_err(|error| error.to_string()), known: Known::default(), today: today() }
    }

    /// The same where the clauses of a `known-failing.toml`, whose text is `known`, may be broken.
    pub fn knowing(self, known: &str) -> Self {
        match Known::parse(known, "the known failures") {
            Ok(known) => Self { known, ..self },
            Err(error) => Self { verified: Err(error), ..self },
        }
    }

    /// What it came to, or what the queue did that no queue in this process may do.
    pub fn verified(&self) -> Result<&Verified, &str> {
        self.verified.as_ref().map_err(String::as_str)
    }

    /// Panics if the clause was broken and is not known to be, and says how; prints how it stands otherwise.
    ///
    /// # Panics
    /// If the clause was broken, if it was kept although it is known to be broken, or if the queue did not answer as a
    /// queue in this process must.
    pub fn assert(&self, clause: &str) {
        let verified = self.verified.as_ref().unwrap_or_else(|error| panic!("{error}"));
        let Some(it) = verified.result.get(clause) else { panic!("there is no clause {clause}") };
        match (it.cell, self.known.get(clause)) {
            (Cell::Broken, Some(known)) if !known.is_over(&self.today) => println!("{}", as_known(known)),
            (Cell::Broken, Some(known)) => {
                let day = known.expires.as_deref().unwrap_or_default();
                panic!("{}\n  this was known until {day}: {}", told(verified, clause), known.reason)
            }
            (Cell::Broken, None) => panic!("{}", told(verified, clause)),
            (Cell::Kept, Some(known)) if !known.sometimes => {
                panic!("{clause} is kept, but known to be broken: {}; take it off the list", known.reason)
            }
            (Cell::Kept, _) => println!("{clause} is kept: put to the test {} times", it.exercised),
            (Cell::NotOffered, _) => println!("{clause} is not offered: {}", it.feature),
            (Cell::NotExercised, _) => println!("{clause} was not put to the test by any scenario"),
            (Cell::Inconclusive, _) => println!("{clause} could not be decided on this machine"),
        }
    }
}

fn as_known(known: &Failing) -> String {
    let link = known.link.as_ref().map(|link| format!(" ({link})")).unwrap_or_default();
    format!("{} is broken, as is known: {}{link}", known.clause, known.reason)
}

/// The day, as known-failing files state days.
fn today() -> String {
    #[expect(clippy::disallowed_methods, reason = "whether an entry has expired is told by the day that it really is")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the wall clock is past 1970");
    day(since.as_secs() / 86_400)
}

/// The day so many days after 1970-01-01. Years are counted from March, so that a leap day is the last of its year.
fn day(days: u64) -> String {
    let days = days + 719_468; // Since 0000-03-01.
    let (era, of_era) = (days / 146_097, days % 146_097); // 400 years have so many days.
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    format!("{:04}-{month:02}-{date:02}", era * 400 + year + u64::from(month <= 2))
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

    use super::day;

    #[test]
    fn days_are_those_of_the_calendar() {
        let days = [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (20_818, "2026-12-31")];
        assert_eq!(days.map(|(since, _)| day(since)), days.map(|(_, text)| text));
    }

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

//! Policies as data: the five queues are what was promised, errors say where and what is allowed, and what follows from
//! the numbers by arithmetic. Also the legal moves of a job's life, all of them.

use std::fmt::Write as _;

use kew_spec::lifecycle::{Move, Stage, Status};
use kew_spec::queues::{
    AGING_MS, Attempts, Backoff, Batch, DURATION_MAX_MS, Exponential, Jitter, Policy, Priority, Queues, RateLimit,
    Schedule,
};
use proptest::prelude::*;

/// A policy with nothing special about it.
fn plain(priority: Priority, attempts: Attempts, timeout_ms: u64) -> Policy {
    Policy {
        priority,
        attempts,
        backoff: Backoff::None,
        timeout_ms,
        dead_letter_queue: None,
        rate_limit: None,
        batch: None,
        deduplication: false,
        schedule: None,
    }
}

fn doubling(first_ms: u64) -> Backoff {
    Backoff::Exponential(Exponential { first_ms, max_ms: 300_000, jitter_percent: 20 })
}

#[test]
fn the_five_queues_are_what_was_promised() {
    let five = [
        (
            "ai_enhancement",
            Policy {
                rate_limit: Some(RateLimit { starts: 10, per_ms: 1_000 }),
                ..plain(Priority::Medium, Attempts::Limited(2), 60_000)
            },
        ),
        (
            "analytics_processing",
            Policy {
                backoff: Backoff::NextTick,
                batch: Some(Batch { size: 1_000, wait_ms: None }),
                schedule: Some(Schedule { every_ms: 300_000 }),
                ..plain(Priority::Background, Attempts::INFINITE, 60_000)
            },
        ),
        (
            "data_sync",
            Policy {
                backoff: doubling(1_000),
                deduplication: true,
                ..plain(Priority::Low, Attempts::INFINITE, 120_000)
            },
        ),
        (
            "email_notification",
            Policy {
                backoff: doubling(2_000),
                batch: Some(Batch { size: 100, wait_ms: Some(5_000) }),
                ..plain(Priority::Low, Attempts::Limited(5), 10_000)
            },
        ),
        (
            "pdf_generation",
            Policy {
                dead_letter_queue: Some("pdf_generation_dlq".into()),
                ..plain(Priority::High, Attempts::Limited(3), 30_000)
            },
        ),
    ];
    let queues = Queues::default();
    let found: Vec<(&str, Policy)> = queues.iter().map(|(name, policy)| (name, policy.clone())).collect();
    assert_eq!(found, five);
    let with = queues.with_dead_letter_queue("pdf_generation_dlq").map(|(name, _)| name);
    assert_eq!(with, Some("pdf_generation"));
    assert_eq!(queues.with_dead_letter_queue("data_sync_dlq"), None);
}

/// Each is a file and what is wrong with it; the snapshot shows what a reader is told.
#[test]
fn errors_say_where_and_what_is_allowed() {
    let mut told = String::new();
    for case in include_str!("queues_wrong.toml").split("#### ").skip(1) {
        let (title, text) = case.split_once('\n').expect("a case has a title and a text");
        let error = Queues::parse(text).expect_err(title);
        writeln!(told, "{title}\n    {error}").expect("a string takes all");
    }
    insta::assert_snapshot!("errors", told);
}

#[test]
fn a_policy_is_the_same_after_a_history_has_carried_it() {
    let queues = Queues::default();
    let text = serde_json::to_string(&queues).expect("policies are plain data");
    let read: Queues = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(read, queues);
}

#[test]
fn a_backoff_doubles_up_to_its_cap_and_jitter_only_lengthens_it() {
    let backoff = Exponential { first_ms: 2_000, max_ms: 300_000, jitter_percent: 20 };
    let waits: Vec<u64> = (1..=10).map(|attempt| backoff.base_ms(attempt)).collect();
    assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000]);
    assert_eq!(backoff.delay_ms(1, Jitter::NONE), 2_000);
    assert_eq!(backoff.delay_ms(1, Jitter::from_random(500)), 2_200);
    assert_eq!(backoff.delay_max_ms(1), 2_400);
    assert_eq!(backoff.delay_max_ms(9), 360_000, "the cap holds before the jitter");
}

#[test]
fn a_backoff_has_no_attempt_that_overflows_it() {
    let backoff = Exponential { first_ms: 1, max_ms: DURATION_MAX_MS, jitter_percent: 100 };
    assert_eq!(backoff.base_ms(0), 1, "there is no attempt 0, but asking does no harm");
    for attempt in [63, 64, 65, 66, u32::MAX - 1, u32::MAX] {
        assert_eq!(backoff.base_ms(attempt), DURATION_MAX_MS);
        assert_eq!(backoff.delay_max_ms(attempt), 2 * DURATION_MAX_MS);
    }
}

#[test]
fn a_retry_is_due_when_its_backoff_is_over_and_never_after_the_last_attempt() {
    let now_ms = 1_000_007;
    let policy = plain(Priority::High, Attempts::Limited(3), 1_000);
    assert_eq!(policy.retry_at(2, now_ms, Jitter::MAX), Some(now_ms));
    assert_eq!(policy.retry_at(3, now_ms, Jitter::NONE), None);
    assert_eq!(policy.retry_at(u32::MAX, now_ms, Jitter::NONE), None);

    let sync = Policy { backoff: doubling(1_000), ..plain(Priority::Low, Attempts::INFINITE, 1_000) };
    assert_eq!(sync.retry_at(1, now_ms, Jitter::NONE), Some(now_ms + 1_000));
    assert_eq!(sync.retry_at(u32::MAX, now_ms, Jitter::MAX), Some(now_ms + 360_000));

    let schedule = Some(Schedule { every_ms: 1_000 });
    let events = Policy { backoff: Backoff::NextTick, schedule, ..plain(Priority::Low, Attempts::INFINITE, 1_000) };
    assert_eq!(events.retry_at(1, now_ms, Jitter::MAX), Some(1_001_000));
}

#[test]
fn what_comes_on_a_ticks_very_millisecond_waits_for_the_next() {
    let schedule = Schedule { every_ms: 300_000 };
    assert_eq!(schedule.tick_at(600_000), 600_000);
    assert_eq!(schedule.tick_after(600_000), 900_000);
    assert_eq!(schedule.tick_at(599_999), 300_000);
    assert_eq!(schedule.tick_after(599_999), 600_000);
    assert_eq!(schedule.tick_after(0), 300_000);
}

#[test]
fn whoever_waits_rises_above_everybody_else() {
    assert_eq!(Priority::Background.level_after(0), 0);
    assert_eq!(Priority::Background.level_after(AGING_MS - 1), 0);
    assert_eq!(Priority::Background.level_after(3 * AGING_MS), Priority::High.level_after(0));
    assert!(Priority::High.level_after(AGING_MS) < Priority::Background.level_after(5 * AGING_MS));
    assert!(
        Priority::Background < Priority::Low && Priority::Low < Priority::Medium && Priority::Medium < Priority::High
    );
}

proptest! {
    #[test]
    fn any_backoff_grows_with_its_attempts_and_stays_below_its_cap_and_jitter(
        first_ms in 1..=DURATION_MAX_MS, more_ms in 0..=DURATION_MAX_MS, jitter_percent in 0_u32..=100,
        attempt in any::<u32>(), random in any::<u64>(),
    ) {
        let max_ms = (first_ms + more_ms).min(DURATION_MAX_MS);
        let backoff = Exponential { first_ms, max_ms, jitter_percent };
        let (base_ms, delay_ms) = (backoff.base_ms(attempt), backoff.delay_ms(attempt, Jitter::from_random(random)));
        prop_assert!((first_ms..=max_ms).contains(&base_ms));
        prop_assert!(base_ms <= backoff.base_ms(attempt.saturating_add(1)));
        prop_assert!((base_ms..=backoff.delay_max_ms(attempt)).contains(&delay_ms));
        prop_assert!(backoff.delay_max_ms(attempt) <= max_ms + max_ms * u64::from(jitter_percent) / 100);
    }

    #[test]
    fn a_tick_is_a_multiple_and_the_next_one_comes_after(every_ms in 1..=DURATION_MAX_MS, now_ms in 0_u64..1 << 48) {
        let schedule = Schedule { every_ms };
        let (at, after) = (schedule.tick_at(now_ms), schedule.tick_after(now_ms));
        prop_assert_eq!((at % every_ms, after % every_ms), (0, 0));
        prop_assert!(at <= now_ms && now_ms < after);
        prop_assert_eq!(after - at, every_ms);
    }
}

const STAGES: [Stage; 5] = [Stage::PENDING, Stage::PROCESSING, Stage::RETRYING, Stage::COMPLETED, Stage::FAILED];
const MOVES: [Move; 6] = [Move::Claim, Move::Complete, Move::Retry, Move::GiveUp, Move::Cancel, Move::Redrive];

#[test]
fn a_job_makes_the_drawn_moves_and_no_other() {
    let mut drawn = String::new();
    for stage in STAGES {
        for by in MOVES {
            if let Some(then) = stage.after(by) {
                writeln!(drawn, "{} --{by:?}--> {}", name(stage), name(then)).expect("a string takes all");
            }
        }
    }
    insta::assert_snapshot!(drawn, @r"
    pending --Claim--> processing
    pending --Cancel--> failed, final
    processing --Complete--> completed, final
    processing --Retry--> failed
    processing --GiveUp--> failed, final
    processing --Cancel--> failed, final
    failed --Claim--> processing
    failed --Cancel--> failed, final
    failed, final --Redrive--> pending
    ");
}

#[test]
fn a_reader_may_see_what_some_moves_lead_to_and_nothing_else() {
    for redriven in [false, true] {
        let moves = |by: &Move| redriven || *by != Move::Redrive;
        for from in STAGES {
            let mut reached = vec![from];
            while let Some(next) = reached
                .iter()
                .flat_map(|stage| MOVES.into_iter().filter(moves).filter_map(|by| stage.after(by)))
                .find(|next| !reached.contains(next))
            {
                reached.push(next);
            }
            for then in STAGES {
                let (from_name, then_name) = (name(from), name(then));
                assert_eq!(
                    from.can_become(then, redriven),
                    reached.contains(&then),
                    "{from_name} to {then_name}, redriven: {redriven}"
                );
            }
        }
    }
}

#[test]
fn a_status_is_read_as_it_is_written() {
    for status in [Status::Pending, Status::Processing, Status::Completed, Status::Failed] {
        assert_eq!(status.as_str().parse(), Ok(status));
        assert_eq!(serde_json::to_value(status).expect("a status is plain data"), status.as_str());
    }
    let error = "done".parse::<Status>().expect_err("done is no status");
    assert_eq!(error, "\"done\" is no status; allowed: pending, processing, completed, failed");
}

fn name(stage: Stage) -> String {
    format!("{}{}", stage.status, if stage.is_final { ", final" } else { "" })
}

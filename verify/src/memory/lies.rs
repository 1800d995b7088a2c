//! The lies that the queue in memory can tell, each with the clauses of which one must be named. A harness that lets one
//! pass could let a real queue's fault pass as well.

macro_rules! lies {
    ($($lie:ident $name:literal breaks [$($clause:literal)+]: $says:literal;)*) => {
        /// A way in which the queue in memory breaks a promise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Lie { $(#[doc = $says] $lie,)* }

        impl Lie {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$lie),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$lie => $name,)* }
            }

            /// The clauses that it breaks. One of them must be named, whatever else is.
            pub fn breaks(self) -> &'static [&'static str] {
                match self { $(Self::$lie => &[$($clause),+],)* }
            }

            /// What the queue does.
            pub fn says(self) -> &'static str {
                match self { $(Self::$lie => $says,)* }
            }
        }
    };
}

lies! {
    LostOnEnqueue "lost-on-enqueue" breaks ["job/no-loss"]: "every third job of a queue by itself is acknowledged and dropped";
    Ghost "ghost" breaks ["job/no-phantom"]: "every third job comes with one that nobody enqueued";
    PayloadTidied "payload-tidied" breaks ["job/payload"]: "payloads lose their white space";
    PayloadSwapped "payload-swapped" breaks ["job/payload"]: "a job gets the payload of the one before it";
    IdempotencyIgnored "idempotency-ignored" breaks ["job/idempotent-enqueue"]: "idempotency keys are ignored";
    KeyOfAll "key-of-all" breaks ["job/idempotent-enqueue"]: "an idempotency key is every user's, so one is answered with another's job";

    OneTooMany "one-too-many" breaks ["retry/at-most"]: "a job gets one attempt more than it may have";
    OneTooFew "one-too-few" breaks ["retry/at-least"]: "a job is given up one attempt early";
    AckLost "ack-lost" breaks ["retry/stops"]: "a completed job is delivered once more";
    GivesUpInfinite "gives-up-infinite" breaks ["retry/infinite"]: "infinite attempts are three";
    ToldFromZero "told-from-zero" breaks ["retry/count"]: "handlers are told attempts counted from 0";
    CounterShared "counter-shared" breaks ["retry/count"]: "a retry of one job counts as an attempt of another";
    RetryCountOff "retry-count-off" breaks ["retry/count"]: "the status counts deliveries in place of retries";
    ClaimedTwice "claimed-twice" breaks ["retry/one-owner"]: "two handlers get the same job at once";

    EarlyRetry "early-retry" breaks ["backoff/never-early"]: "a retry comes when half of its backoff is over";
    ConstantBackoff "constant-backoff" breaks ["backoff/never-early"]: "the backoff does not double";
    LateRetry "late-retry" breaks ["backoff/not-late"]: "a retry comes seconds after its backoff is over";
    Uncapped "uncapped" breaks ["backoff/capped"]: "the backoff doubles without end";

    TimeoutIgnored "timeout-ignored" breaks ["timeout/enforced"]: "handlers run far beyond their timeout";
    LateResultWins "late-result-wins" breaks ["timeout/late-result"]: "nothing stops a handler or gives its job to another, and its late answer counts";
    LateResultCounts "late-result-counts" breaks ["timeout/late-result"]: "the answer of a handler that was stopped counts";

    DeadLost "dead-lost" breaks ["dead-letter/exactly"]: "dead letters are lost";
    DeadTwice "dead-twice" breaks ["dead-letter/exactly"]: "dead letters are kept twice";
    DeadTooSoon "dead-too-soon" breaks ["dead-letter/none"]: "jobs are dead letters from their first failure on";
    DeadElsewhere "dead-elsewhere" breaks ["dead-letter/none"]: "a queue without dead letters leaves them to another's";
    DeadForgets "dead-forgets" breaks ["dead-letter/intact"]: "dead letters lose their error";
    RedriveCopies "redrive-copies" breaks ["dead-letter/redrive"]: "a dead letter that is put back stays one";
    RedriveSpent "redrive-spent" breaks ["dead-letter/redrive"]: "a dead letter is put back for one attempt";

    LimitPerWorker "limit-per-worker" breaks ["rate/ceiling"]: "each of three workers keeps the limit for itself";
    WindowTooShort "window-too-short" breaks ["rate/ceiling"]: "the limit's window is half as long as stated";
    LimitHalfUsed "limit-half-used" breaks ["rate/used"]: "half of the limit is used";

    BatchTooLarge "batch-too-large" breaks ["batch/size"]: "a batch holds one job too many";
    EmptyBatch "empty-batch" breaks ["batch/not-empty"]: "before each batch comes an empty one";
    BatchFailsWhole "batch-fails-whole" breaks ["batch/partial"]: "when one job of a batch fails, all are tried again";
    BatchWaitsLong "batch-waits-long" breaks ["batch/wait"]: "a partial batch waits for seconds beyond its time";
    FullBatchWaits "full-batch-waits" breaks ["batch/full"]: "a full batch waits like a partial one";
    MixedBatch "mixed-batch" breaks ["batch/one-queue"]: "a batch takes a job of another queue along";

    NeverCoalesces "never-coalesces" breaks ["dedup/coalesce"]: "each enqueue makes a job, whatever waits for its entity";
    OldestWins "oldest-wins" breaks ["dedup/coalesce" "dedup/last-write"]: "a coalesced job keeps its oldest payload";
    StrangersCoalesce "strangers-coalesce" breaks ["dedup/distinct"]: "enqueues coalesce across entities";
    TwoOfOneEntity "two-of-one-entity" breaks ["dedup/one-running"]: "two jobs of one entity run at once";
    JoinsRunning "joins-running" breaks ["dedup/follow-up"]: "an enqueue joins the job that runs already";
    NotReleased "not-released" breaks ["dedup/released"]: "an entity whose job was given up or cancelled stays taken";
    OldWriteLast "old-write-last" breaks ["dedup/last-write"]: "a job that is tried again goes after newer ones of its entity";

    BetweenTicks "between-ticks" breaks ["schedule/on-tick"]: "deliveries come between ticks";
    TickMissed "tick-missed" breaks ["schedule/every-tick"]: "ticks are missed";
    TickLeavesSome "tick-leaves-some" breaks ["schedule/drains"]: "a run takes one batch and leaves the rest to the next tick";
    OneRunPerTick "one-run-per-tick" breaks ["schedule/catch-up"]: "ticks that were missed are caught up one by one";

    PriorityInverted "priority-inverted" breaks ["priority/order"]: "the least urgent queue goes first";
    NewestFirst "newest-first" breaks ["priority/order"]: "of a queue the newest job goes first";
    NoAging "no-aging" breaks ["priority/aging"]: "waiting jobs do not rise";

    WorkedOnAgain "worked-on-again" breaks ["status/flow"]: "a completed job is told as processing every other time";
    HiddenAtFirst "hidden-at-first" breaks ["status/read-your-writes"]: "a job cannot be read for a second";
    CancelIgnored "cancel-ignored" breaks ["status/read-your-writes"]: "a cancel is acknowledged, and the job goes on";
    TimeGoesBack "time-goes-back" breaks ["status/monotonic"]: "updated_at goes back";
    EndWithoutTime "end-without-time" breaks ["status/final"]: "completed_at is never set";
    FirstErrorStays "first-error-stays" breaks ["status/final"]: "the status keeps the error of the first attempt";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kew_spec::clause;

    use super::Lie;

    #[test]
    fn every_lie_has_a_name_of_its_own_and_breaks_a_clause_that_there_is() {
        let names: BTreeSet<_> = Lie::ALL.iter().map(|lie| lie.name()).collect();
        assert_eq!(names.len(), Lie::ALL.len());
        for lie in Lie::ALL {
            assert!(lie.breaks().iter().all(|clause| clause::find(clause).is_some()), "{}", lie.name());
        }
    }
}

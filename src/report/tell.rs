//! One event of a history as a sentence. Times of the queue's clock are shown on the player's, where the event holds a
//! reading of both.

use kew_spec::history::*;

/// How many jobs of a batch are named.
const JOBS_NAMED_MAX: usize = 3;

/// What happened, and what is worth knowing beside it.
pub(super) fn tell(event: &Event) -> (String, Option<String>) {
    let at = event.at;
    match &event.what {
        What::Granted(granted) => (self::granted(granted), Some(lease(granted, at))),
        What::Settled(settled) => (self::settled(settled), then(settled, at)),
        What::Finished(finished) => (self::finished(finished), error_of(&finished.jobs)),
        What::StatusRead(read) => (status(read), asked(read.asked_at, at)),
        What::DeadLetters(read) => (dead_letters(read), asked(read.asked_at, at)),
        What::Accepted(accepted) => (self::accepted(accepted), accepted.key.as_ref().map(entity)),
        What::Enqueue(enqueue) => (self::enqueue(enqueue), enqueue.key.as_ref().map(entity)),
        other => (plainly(other), None),
    }
}

/// Milliseconds as seconds: `30.204`.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn plainly(what: &What) -> String {
    match what {
        What::Cancel(Cancel { op, user, job }) => {
            format!("{user} asks to cancel job {job} (operation {op})")
        }
        What::Redrive(Redrive { op, job }) => {
            format!("an operator asks to redrive job {job} (operation {op})")
        }
        What::Purge(Purge { op, job }) => {
            format!("an operator asks to purge job {job} (operation {op})")
        }
        What::Pause(Pause { op, queue }) => {
            format!("an operator asks to pause {queue} (operation {op})")
        }
        What::Resume(Resume { op, queue }) => {
            format!("an operator asks to resume {queue} (operation {op})")
        }
        What::Reply(reply) => self::reply(reply),
        What::Cancelled(cancelled) => format!("job {} is cancelled", cancelled.job),
        What::Redriven(redriven) => format!("job {} goes back to its queue", redriven.job),
        What::Purged(purged) => format!("job {} is dropped for good", purged.job),
        What::Paused(Paused { queue, paused: true, .. }) => format!("{queue} is paused"),
        What::Paused(Paused { queue, .. }) => format!("{queue} is resumed"),
        What::Started(started) => self::started(started),
        What::Processor(Processor { processor, up: true, slots }) => format!("{processor} comes up, {slots} slots"),
        What::Processor(Processor { processor, .. }) => format!("{processor} goes down"),
        What::Session(session) => self::session(session),
        What::Notified(notified) => self::notified(notified),
        What::Stored(stored) => self::stored(stored),
        What::Fault(fault) => self::fault(fault),
        What::Drained(Drained { ok: true, .. }) => "all faults healed, nothing left to do".into(),
        What::Drained(Drained { bound_ms, .. }) => {
            format!("still not drained after {} s", seconds(*bound_ms))
        }
        other => format!("{other:?}"),
    }
}

fn enqueue(enqueue: &Enqueue) -> String {
    let Enqueue { op, user, queue, .. } = enqueue;
    let key = enqueue.idempotency_key.as_ref().map(|key| format!(", idempotency key {key}"));
    format!("{user} asks for a job of {queue} (operation {op}{})", key.unwrap_or_default())
}

fn reply(reply: &Reply) -> String {
    let op = reply.op;
    match (reply.outcome, &reply.job, &reply.error) {
        (Told::Ok, Some(job), _) => format!("operation {op} is acknowledged: job {job}"),
        (Told::Ok, None, _) => format!("operation {op} is acknowledged"),
        (Told::Refused, _, Some(error)) => format!("operation {op} is refused: {error}"),
        (Told::Refused, _, None) => format!("operation {op} is refused"),
        (Told::Unknown, ..) => format!("the reply to operation {op} is lost; it may have happened"),
    }
}

fn accepted(accepted: &Accepted) -> String {
    let Accepted { job, queue, user, .. } = accepted;
    match accepted.how {
        How::Created => format!("job {job} is created in {queue} for {user}"),
        How::Coalesced => format!("a newer payload goes to job {job}, which waits in {queue}"),
        How::Replayed => format!("the same idempotency key: job {job} of {queue} again"),
    }
}

fn entity(key: &String) -> String {
    format!("entity {key}")
}

fn granted(granted: &Granted) -> String {
    let leases: Vec<_> = granted.jobs.iter().map(|lease| (lease.job.as_str(), lease.attempt)).collect();
    let batch = granted.batch.as_ref().map(|batch| format!(" as batch {batch}")).unwrap_or_default();
    format!("{} is granted {}{batch}", granted.processor, jobs(&leases))
}

fn lease(granted: &Granted, at: u64) -> String {
    format!("lease until {}", on_players_clock(granted.lease_until, granted.clock, at))
}

fn settled(settled: &Settled) -> String {
    let Settled { job, attempt, outcome, .. } = settled;
    let error = settled.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    if settled.accepted {
        format!("job {job} attempt {attempt} ends {}{error}", outcome_name(*outcome))
    } else {
        format!("job {job} attempt {attempt} says {}{error}, too late: refused", outcome_name(*outcome))
    }
}

fn then(settled: &Settled, at: u64) -> Option<String> {
    Some(match settled.then? {
        Then::Completed => "done".into(),
        Then::RetryAt(due) => format!("retry at {}", on_players_clock(due, settled.clock, at)),
        Then::Failed => "given up".into(),
        Then::DeadLetter => "dead letter".into(),
    })
}

/// `time` of the queue's clock, which read `clock` when the player's read `at`.
fn on_players_clock(time: u64, clock: u64, at: u64) -> String {
    match (at + time).checked_sub(clock) {
        Some(ms) => seconds(ms),
        None => format!("{} s before the history", seconds(clock - at - time)),
    }
}

fn started(started: &Started) -> String {
    let given: Vec<_> = started.jobs.iter().map(|given| (given.job.as_str(), given.attempt)).collect();
    format!("a handler begins on {}: {}", started.processor, jobs(&given))
}

fn finished(finished: &Finished) -> String {
    let processor = &finished.processor;
    match finished.jobs.as_slice() {
        [one] => {
            let Ended { job, attempt, outcome, .. } = one;
            format!("the handler of job {job} attempt {attempt} on {processor} ends {}", outcome_name(*outcome))
        }
        many => {
            let completed = many.iter().filter(|ended| ended.outcome == AttemptOutcome::Completed).count();
            format!("the handler of {} jobs on {processor} ends, {completed} completed", many.len())
        }
    }
}

fn error_of(ended: &[Ended]) -> Option<String> {
    ended.iter().find_map(|ended| ended.error.clone())
}

fn outcome_name(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Completed => "completed",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::TimedOut => "timed out",
        AttemptOutcome::Lost => "lost",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

fn status(read: &StatusRead) -> String {
    let StatusRead { job, user, .. } = read;
    let Some(row) = &read.row else {
        return format!("{user} reads job {job}: there is none");
    };
    let end = if row.is_final { ", final" } else { "" };
    let error = row.error.as_ref().map(|error| format!(", error \"{error}\"")).unwrap_or_default();
    let kept = row.dead_letter_queue.as_ref().map(|queue| format!(", in {queue}")).unwrap_or_default();
    format!("{user} reads job {job}: {}{end}, retry_count {}{error}{kept}", row.status, row.retry_count)
}

/// Worth saying where the answer took long enough to be about an older state.
fn asked(asked_at: u64, at: u64) -> Option<String> {
    (asked_at < at).then(|| format!("asked at {}", seconds(asked_at)))
}

fn dead_letters(read: &DeadLetters) -> String {
    let queue = &read.dead_letter_queue;
    if read.entries.is_empty() {
        return format!("{queue} is read: empty");
    }
    let attempts = |entry: &DeadLetter| entry.attempts.as_ref().map_or(0, Vec::len) as u32;
    let entries: Vec<_> = read.entries.iter().map(|entry| (entry.job.as_str(), attempts(entry))).collect();
    format!("{queue} is read: {}", jobs(&entries))
}

fn session(session: &Session) -> String {
    let Session { session, user, open, resumed } = session;
    match (open, resumed) {
        (true, true) => {
            format!("session {session} of {user} opens, going on where the last one ended")
        }
        (true, false) => format!("session {session} of {user} opens"),
        (false, _) => format!("session {session} of {user} closes"),
    }
}

fn notified(notified: &Notified) -> String {
    let Notified { user, job, status, .. } = notified;
    match (notified.via, &notified.session) {
        (Via::Email, _) => format!("{user} is told by e-mail: job {job} {status}"),
        (Via::Websocket, Some(session)) => {
            format!("{user} is told in session {session}: job {job} {status}")
        }
        (Via::Websocket, None) => format!("{user} is told by WebSocket: job {job} {status}"),
    }
}

fn stored(stored: &Stored) -> String {
    let Stored { queue, applied, .. } = stored;
    let what = match (&stored.key, &stored.batch) {
        (Some(key), _) => format!("entity {key}"),
        (None, Some(batch)) => format!("batch {batch} of {} jobs", stored.jobs.len()),
        (None, None) => format!("the work of {} jobs", stored.jobs.len()),
    };
    let how = if *applied { "is stored" } else { "arrives and is known already" };
    format!("outside, {what} of {queue} {how}")
}

fn fault(fault: &Fault) -> String {
    let on = if fault.on.is_empty() { "everything".into() } else { fault.on.join(" and ") };
    let turn = if fault.active { "begins" } else { "ends" };
    format!("fault {}, {} on {on}, {turn}", fault.fault, fault.kind)
}

/// `job 7c1e attempt 1`; of a batch the first few.
fn jobs(leases: &[(&str, u32)]) -> String {
    match leases {
        [] => "no job".into(),
        [(job, attempt)] => format!("job {job} attempt {attempt}"),
        many => {
            let named = many.iter().take(JOBS_NAMED_MAX).map(|(job, attempt)| format!("{job} attempt {attempt}"));
            let named = named.collect::<Vec<_>>().join(", ");
            match many.len().saturating_sub(JOBS_NAMED_MAX) {
                0 => format!("{} jobs: {named}", many.len()),
                more => format!("{} jobs: {named} and {more} more", many.len()),
            }
        }
    }
}

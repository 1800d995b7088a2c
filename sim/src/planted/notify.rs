//! Bugs of the family `notify`: ends that reach nobody, the wrong one, or tell what is not so.

use std::collections::BTreeSet;
use std::sync::Arc;

use kew_runtime::broker::Queue;
use kew_runtime::store::End;
use kew_spec::lifecycle::Status;

use super::Bug;
use super::alter::{self, Every};
use super::plant::notifier;

pub(super) const BUGS: &[Bug] = &[
    notifier("some-ends-are-not-told", "notify/each-end", "Every third end is not told.", |queue| {
        let mut every = Every::nth(3);
        untold(queue, move |_| every.strikes())
    }),
    notifier(
        "ends-of-the-cancelled-not-told",
        "notify/each-end",
        "Nobody is told that a job was cancelled.",
        |queue| untold(queue, |end| end.error.as_deref() == Some("cancelled")),
    ),
    notifier("dead-letters-not-told", "notify/each-end", "Nobody is told of a dead letter.", |queue| {
        untold(queue, |end| end.dead_letter_queue.is_some())
    }),
    notifier(
        "last-of-several-ends-not-told",
        "notify/each-end",
        "Of several ends at once the last is not told.",
        |queue| {
            alter::ends(queue, |ends| {
                // It is passed over, not left for later: what comes next is asked for from the one before.
                if let [.., before, last] = &mut ends[..] {
                    before.seq = last.seq;
                    ends.pop();
                }
            })
        },
    ),
    notifier("mail-forgotten", "notify/each-end", "Nobody gets the mail that was asked for.", |queue| {
        alter::ends(queue, |ends| ends.iter_mut().for_each(|end| end.email = None))
    }),
    notifier("mail-of-a-failure-forgotten", "notify/each-end", "Mails tell of successes alone.", |queue| {
        alter::ends(queue, |ends| {
            ends.iter_mut().filter(|end| end.status == Status::Failed).for_each(|end| end.email = None);
        })
    }),
    notifier("another-end-told", "notify/not-before", "A failure is told as a success that never came.", |queue| {
        told_as_done(queue, |_| true)
    }),
    notifier("cancelled-told-as-done", "notify/not-before", "A cancelled job is told as completed.", |queue| {
        told_as_done(queue, |end| end.error.as_deref() == Some("cancelled"))
    }),
    notifier("dead-letter-told-as-done", "notify/not-before", "A dead letter is told as completed.", |queue| {
        told_as_done(queue, |end| end.dead_letter_queue.is_some())
    }),
    notifier("success-told-before-the-failure", "notify/not-before", "Before a failure, a success is told.", |queue| {
        alter::ends(queue, |ends| *ends = ends.iter().flat_map(success_first).collect())
    }),
    notifier("another-user-told", "notify/own-only", "An end is told to the user of the end before.", |queue| {
        let mut before = None;
        alter::ends(queue, move |ends| {
            for end in ends {
                let own = end.user.clone();
                end.user = before.replace(own.clone()).unwrap_or(own);
            }
        })
    }),
    notifier("everybody-told", "notify/own-only", "An end is told to all users that there are.", |queue| {
        let mut users = BTreeSet::new();
        alter::ends(queue, move |ends| {
            users.extend(ends.iter().map(|end| end.user.clone()));
            *ends = ends.iter().flat_map(|end| copies(end, &users)).collect();
        })
    }),
    notifier(
        "failures-told-to-whoever-succeeded",
        "notify/own-only",
        "A failure is told to who last succeeded.",
        |queue| {
            let mut succeeded = None;
            alter::ends(queue, move |ends| {
                for end in ends {
                    match end.status {
                        Status::Completed => succeeded = Some(end.user.clone()),
                        _ => end.user = succeeded.clone().unwrap_or_else(|| end.user.clone()),
                    }
                }
            })
        },
    ),
];

/// Ends of choice are not told. The newest stays, so that what comes next is asked for from there.
fn untold(queue: Arc<dyn Queue>, mut choice: impl FnMut(&End) -> bool + Send + 'static) -> Arc<dyn Queue> {
    alter::ends(queue, move |ends| ends.retain(|end| !choice(end)))
}

/// Failures of choice are told as successes.
fn told_as_done(queue: Arc<dyn Queue>, choice: fn(&End) -> bool) -> Arc<dyn Queue> {
    alter::ends(queue, move |ends| {
        let failed = ends.iter_mut().filter(|end| end.status == Status::Failed && choice(end));
        failed.for_each(|end| end.status = Status::Completed);
    })
}

/// A failure, and before it a success, in the place of the end before if that was no end of this user.
fn success_first(end: &End) -> Vec<End> {
    let early = End { seq: end.seq - 1, status: Status::Completed, email: None, ..end.clone() };
    let early = Some(early).filter(|_| end.status == Status::Failed);
    early.into_iter().chain([end.clone()]).collect()
}

/// The end as it is told to each of `users`, its own user last.
fn copies(end: &End, users: &BTreeSet<String>) -> Vec<End> {
    let others = users.iter().filter(|user| **user != end.user);
    let others = others.map(|user| End { user: user.clone(), email: None, ..end.clone() });
    others.chain([end.clone()]).collect()
}

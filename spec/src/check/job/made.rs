//! `job/no-phantom` and `job/idempotent-enqueue`: what the queue made against what was asked for.
//!
//! Mails that tell of a job's end are jobs too, and no client asks for them: each end that asked for a mail allows for one
//! job of the queue `email_notification`.

use super::demand::{Demands, Made as Making, Sent};
use super::{ends, enqueue_of};
use crate::check::Seen;
use crate::check::ledger::{Asked, Enqueue};
use crate::check::named::Named;
use crate::check::number::{Job, User};
use crate::check::print::{Print, Table};
use crate::clause::Place;
use crate::history::{Accepted, How, Reply, Told, What};
use crate::verdict::Notes;

const NO_PHANTOM: Place = Place::of("job/no-phantom");
const IDEMPOTENT: Place = Place::of("job/idempotent-enqueue");

/// The queue that the mails of ended jobs go to.
const MAILS: &str = "email_notification";

#[derive(Default)]
pub(super) struct Made {
    demands: Demands,
    /// Per user, how many ends asked for a mail that has not come.
    mails_due: Table<User, u64>,
    /// By user and idempotency key.
    keys: Table<(User, Print), Known>,
    /// Whose enqueue with an idempotency key was answered with a job first, and the line.
    owners: Table<Job, (User, u64)>,
    /// Jobs that were one too many for an idempotency key, as has been told when they were made.
    superfluous: Table<Job, ()>,
    /// Jobs out of nowhere that have been told of.
    told: Table<Job, ()>,
}

/// What is known of an idempotency key.
struct Known {
    first_op: u64,
    first_sent: Sent,
    /// The job it made, and the line that says so.
    job: Option<(Job, u64)>,
}

impl Known {
    fn new(seen: &Seen<'_>, op: u64) -> Self {
        Self { first_op: op, first_sent: Sent::now(seen), job: None }
    }
}

impl Made {
    pub(super) fn see(&mut self, seen: &Seen<'_>, notes: &mut Notes) {
        match &seen.event.what {
            What::Enqueue(it) => self.ask(seen, it.op, it.idempotency_key.as_deref()),
            What::Reply(it) => self.answer(seen, it, notes),
            What::Accepted(it) if it.how == How::Created => self.create(seen, it, notes),
            What::Accepted(_) => self.demands.merge(&seen.named),
            What::Granted(_) => self.deliver(seen, "granted", notes),
            What::Started(_) => self.deliver(seen, "started", notes),
            _ => self.end(seen),
        }
    }

    /// Whether `it`, which is answered, is the first to use its idempotency key; true without one.
    pub(super) fn is_first(&self, asked: &Asked, it: &Enqueue) -> bool {
        let Some(key) = key_of(it.idempotency_key.as_deref(), &asked.named) else { return true };
        self.keys.get(key).is_some_and(|known| known.first_op == it.op)
    }

    fn ask(&mut self, seen: &Seen<'_>, op: u64, idempotency_key: Option<&str>) {
        let key = key_of(idempotency_key, &seen.named);
        let known = key.and_then(|key| self.keys.get(key));
        let stands = known.and_then(|known| known.job.map(|(_, line)| (known.first_sent, line)));
        self.demands.ask(seen, idempotency_key, stands);
        let Some(key) = key else { return };
        let known = self.keys.entry(key).or_insert_with(|| Known::new(seen, op));
        if !known.first_sent.holds(seen, seen.ledger.clock) {
            *known = Known::new(seen, op);
        }
    }

    fn answer(&mut self, seen: &Seen<'_>, reply: &Reply, notes: &mut Notes) {
        let Some((asked, enqueue)) = enqueue_of(seen) else {
            return;
        };
        let made_nothing = match (reply.outcome, &reply.job) {
            (Told::Unknown, _) => return,
            (Told::Refused, _) => true,
            (Told::Ok, job) => job.is_some() && is_older(seen, seen.named.job, asked.line),
        };
        if let Some(excess) = self.demands.answer(enqueue.idempotency_key.is_some(), &asked.named, made_nothing) {
            let user = seen.ledger.known.users.text(asked.named.user);
            let says = format!(
                "{} made in {} for {} with payload {}, but only {} of {}'s enqueues can have made one: one was refused \
                 or answered with an older job",
                if excess.created == 1 { "a job was".into() } else { format!("{} jobs were", excess.created) },
                seen.ledger.queue_name(asked.named.queue),
                user,
                enqueue.payload,
                excess.operations,
                user,
            );
            notes.broken(NO_PHANTOM, says, excess.lines.into_iter().chain([seen.line]).collect());
        }
        if let (Told::Ok, Some(job)) = (reply.outcome, &reply.job) {
            self.name(seen, asked, enqueue, job, notes);
        }
    }

    /// The client is told that its idempotency key stands for `job`.
    fn name(&mut self, seen: &Seen<'_>, asked: &Asked, enqueue: &Enqueue, job: &str, notes: &mut Notes) {
        let Some(key) = key_of(enqueue.idempotency_key.as_deref(), &asked.named) else { return };
        self.judge_owner(seen, asked, enqueue, job, notes);
        let Some(known) = self.keys.get_mut(key) else { return };
        let Some((first, line)) = known.job else {
            if known.first_op != enqueue.op {
                notes.exercised(IDEMPOTENT); // Whether it made a second job shows in what the queue made.
            }
            known.job = Some((seen.named.job, seen.line));
            known.first_sent.read(seen.ledger.clock);
            return;
        };
        if !known.first_sent.holds(seen, seen.ledger.clock) {
            return;
        }
        notes.exercised(IDEMPOTENT);
        if first != seen.named.job && !self.superfluous.contains(seen.named.job) {
            let says = format!(
                "the idempotency key {} of {} stands for {}, but {} ms after it was first sent it made {job}",
                enqueue.idempotency_key.as_deref().unwrap_or_default(),
                seen.ledger.known.users.text(asked.named.user),
                seen.ledger.job_name(first),
                seen.event.at - known.first_sent.at,
            );
            notes.broken(IDEMPOTENT, says, vec![line, seen.line]);
        }
    }

    /// A key belongs to its user: no two users' keys stand for one job, unless both speak of one entity.
    fn judge_owner(&mut self, seen: &Seen<'_>, asked: &Asked, enqueue: &Enqueue, job: &str, notes: &mut Notes) {
        let user = asked.named.user;
        if seen.ledger.policy(asked.named.queue).is_none_or(|policy| policy.deduplication) {
            return;
        }
        let (owner, line) = *self.owners.entry(seen.named.job).or_insert((user, seen.line));
        if owner == user {
            return;
        }
        let users = &seen.ledger.known.users;
        let says = format!(
            "{}'s enqueue with the idempotency key {} was answered with {job}, which an enqueue of {} had been told of; an \
             idempotency key belongs to its user",
            users.text(user),
            enqueue.idempotency_key.as_deref().unwrap_or_default(),
            users.text(owner),
        );
        notes.exercised(IDEMPOTENT);
        notes.broken(IDEMPOTENT, says, vec![line, seen.line]);
    }

    fn create(&mut self, seen: &Seen<'_>, it: &Accepted, notes: &mut Notes) {
        notes.exercised(NO_PHANTOM);
        match self.demands.create(seen, it.clock) {
            Making::Asked => {}
            Making::Repeated { created, distinct } => {
                let Accepted { user, queue, payload, job, .. } = it;
                let says = match distinct {
                    0 => format!(
                        "{user} sent an idempotency key again that stands for a job, but the queue made another in {queue} \
                         of payload {payload}: {job}"
                    ),
                    _ => format!(
                        "{user} sent the same idempotency key again, but the queue made {created} jobs in {queue} of \
                         payload {payload} where the keys allow {distinct}; the last is {job}"
                    ),
                };
                self.superfluous.insert(seen.named.job, ());
                notes.exercised(IDEMPOTENT);
                notes.broken(IDEMPOTENT, says, self.demands.lines_and(&seen.named, seen.line));
            }
            Making::Unasked if self.is_mail(seen, it) => {}
            Making::Unasked => {
                let says = format!(
                    "the queue made {} in {} for {} with payload {}, but each enqueue that asked for that has its job \
                     already, if there was one",
                    it.job, it.queue, it.user, it.payload,
                );
                notes.broken(NO_PHANTOM, says, self.demands.lines_and(&seen.named, seen.line));
            }
        }
    }

    /// Whether `it` can be the mail about a job's end; if so, that mail has come.
    fn is_mail(&mut self, seen: &Seen<'_>, it: &Accepted) -> bool {
        let Some(due) = self.mails_due.get_mut(seen.named.user).filter(|_| it.queue == MAILS) else {
            return false;
        };
        *due -= 1;
        if *due == 0 {
            self.mails_due.remove(seen.named.user);
        }
        true
    }

    fn deliver(&mut self, seen: &Seen<'_>, how: &str, notes: &mut Notes) {
        for &job in seen.jobs {
            notes.exercised(NO_PHANTOM);
            let known = seen.ledger.live(job).is_some() || seen.ledger.ended(job).is_some();
            if !known && self.told.insert(job, ()).is_none() {
                let job = seen.ledger.job_name(job);
                let says = format!("{job} was {how}, but the queue never accepted such a job");
                notes.broken(NO_PHANTOM, says, vec![seen.line]);
            }
        }
    }

    fn end(&mut self, seen: &Seen<'_>) {
        let live = ends(seen).and_then(|job| seen.ledger.live(job));
        if let Some(live) = live.filter(|live| live.email) {
            *self.mails_due.at(live.user) += 1;
        }
    }
}

fn key_of(idempotency_key: Option<&str>, named: &Named) -> Option<(User, Print)> {
    idempotency_key.map(|key| (named.user, Print::of(key)))
}

/// Whether `job` was there before the line `asked`.
fn is_older(seen: &Seen<'_>, job: Job, asked: u64) -> bool {
    let live = seen.ledger.live(job).and_then(|live| live.lines.first());
    let line = live.copied().or_else(|| seen.ledger.ended(job).map(|end| end.line));
    line.is_some_and(|line| line < asked)
}

//! The one task that changes the store. Each turn is one transaction: it applies whatever requests wait, ends leases that
//! have run out, gives work to the pulls that wait, and answers them all after the commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kew_spec::queues::{Jitter, Policy, Queues};
use tokio::sync::{Mutex, Notify, mpsc};

use super::turn::{Kind, Turn, enqueued};
use super::waiting::{Deliveries, Waiting};
use super::{Ask, Granted, Pull, Pulled, Refusal, Request, decide, offer};
use crate::clock::{Clock, QueueClock};
use crate::ids::Ids;
use crate::processor::{Delivery, Job};
use crate::store::{Answer, Claim, Claimed, Command, Ending, Error, How, NewJob, Outlook, Query, Reader, Rows, Store};

/// How many requests one transaction takes at most: enough to share a sync among all who wait, few enough that the
/// first does not wait long.
const TURN_MAX: usize = 1_024;

/// A pull that has been given so many bytes of payloads gets no further delivery: with the largest batch on top, an answer
/// still goes through a network in one piece.
const PULL_BYTES: usize = 32 << 20;

/// How often the store forgets what is past its time.
const PRUNE_EVERY_MS: u64 = 60_000;

/// How long jobs are kept after they have ended: 30 days, as long as a bill may be questioned. Chosen.
pub const RETENTION_MS: u64 = 30 * 24 * 3_600_000;

/// The longest sleep. A wall clock that jumps forward is noticed after this.
const SLEEP_MAX_MS: u64 = 1_000;

/// Why a request comes to nothing.
enum Stop {
    /// This one is refused.
    Refused(Refusal),
    /// The store failed, and with it the turn.
    Failed(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The writing task of a broker.
pub struct Writer {
    store: Box<dyn Store>,
    reader: Arc<Mutex<Box<dyn Reader>>>,
    queues: Arc<Queues>,
    clock: Arc<dyn Clock>,
    ids: Ids,
    inbox: mpsc::Receiver<Ask>,
    ended: Arc<Notify>,
    waiting: VecDeque<Waiting>,
    deliveries: Deliveries,
    retention_ms: u64,
    /// When to forget next what is past its time.
    prune_ms: u64,
}

impl Writer {
    pub(super) fn new(
        store: Box<dyn Store>,
        reader: Arc<Mutex<Box<dyn Reader>>>,
        queues: Arc<Queues>,
        clock: Arc<dyn Clock>,
        ids: Ids,
        inbox: mpsc::Receiver<Ask>,
        ended: Arc<Notify>,
    ) -> Self {
        let (waiting, deliveries) = (VecDeque::new(), Deliveries::default());
        let (retention_ms, prune_ms) = (RETENTION_MS, 0);
        Self { store, reader, queues, clock, ids, inbox, ended, waiting, deliveries, retention_ms, prune_ms }
    }

    /// Keeps jobs for `ms` after they have ended, instead of for [`RETENTION_MS`]. Dead letters are kept in any case.
    pub fn keep_ended(mut self, ms: u64) -> Self {
        self.retention_ms = ms;
        self
    }

    /// Works until every handle is gone. An error means that the store could not even say what time it is at.
    pub async fn run(mut self) -> Result<(), Error> {
        let mut clock = QueueClock::new(self.clock.clone(), self.store.last_ms().await?);
        let mut wake_ms = clock.now_ms();
        loop {
            let Some(asks) = self.wait(wake_ms.saturating_sub(clock.now_ms())).await else { return Ok(()) };
            let now_ms = clock.now_ms();
            wake_ms = match self.turn(asks, now_ms).await {
                Ok(next_ms) => next_ms.min(now_ms + SLEEP_MAX_MS),
                Err(error) => {
                    tracing::error!(%error, "the store failed");
                    now_ms + SLEEP_MAX_MS
                }
            };
        }
    }

    /// Waits for requests, at most for `ms`; `None` when nobody can ask any more.
    async fn wait(&mut self, ms: u64) -> Option<Vec<Ask>> {
        let mut asks = Vec::new();
        let received = self.inbox.recv_many(&mut asks, TURN_MAX);
        match tokio::time::timeout(Duration::from_millis(ms), received).await {
            Ok(0) => None,
            _ => Some(asks),
        }
    }

    /// One turn, in one transaction. Returns when the next one is due, if nothing is asked before.
    async fn turn(&mut self, asks: Vec<Ask>, now_ms: u64) -> Result<u64, Error> {
        let mut turn = Turn::default();
        let carried_out = self.carry_out(&mut turn, asks, now_ms).await;
        let done = match &carried_out {
            Ok(_) => Ok(()),
            Err(error) => self.write_again(&mut turn, error).await,
        };
        let done = match done {
            Ok(()) if turn.is_applied => self.store.commit().await,
            done => done,
        };
        if let Err(error) = done {
            turn.refuse(&error);
            // They have kept up with what may not have taken place.
            self.deliveries = Deliveries::default();
            return Err(error);
        }
        if turn.has_ended {
            self.ended.notify_waiters();
        }
        turn.tell(now_ms);
        carried_out.map(|outlook| self.next_ms(&outlook, now_ms))
    }

    /// The failure has taken back the whole turn. What was asked is applied once more, if it was not that which failed: a
    /// job that cannot be given must not stand in the way of all others.
    async fn write_again(&mut self, turn: &mut Turn, failure: &Error) -> Result<(), Error> {
        turn.refuse_pulls(failure);
        self.deliveries = Deliveries::default();
        let commands = std::mem::take(&mut turn.commands);
        if commands.is_empty() {
            return Err(failure.clone());
        }
        let answers = self.apply(turn, &commands).await?;
        self.follow(turn, &commands, &answers);
        turn.answer(answers);
        Ok(())
    }

    async fn carry_out(&mut self, turn: &mut Turn, asks: Vec<Ask>, now_ms: u64) -> Result<Outlook, Error> {
        self.write(turn, asks, now_ms).await?;
        let outlook = self.store.outlook(now_ms).await?;
        let outlook = self.expire(turn, outlook, now_ms).await?;
        self.waiting.retain(|waiting| !waiting.is_gone());
        self.give(turn, outlook, now_ms).await
    }

    async fn apply(&mut self, turn: &mut Turn, commands: &[Command]) -> Result<Vec<Answer>, Error> {
        turn.is_applied = true;
        self.store.apply(commands).await
    }

    /// Applies all write requests.
    async fn write(&mut self, turn: &mut Turn, asks: Vec<Ask>, now_ms: u64) -> Result<(), Error> {
        let mut commands = Vec::new();
        let mut asks = asks.into_iter();
        while let Some(Ask { request, reply }) = asks.next() {
            if let Request::Pull(pull) = request {
                self.waiting.push_back(Waiting::new(pull, now_ms, reply));
                continue;
            }
            match self.commands(turn, request, now_ms).await {
                Ok((kind, mut made)) => {
                    turn.ask(kind, made.len(), reply);
                    commands.append(&mut made);
                }
                Err(Stop::Refused(refusal)) => drop(reply.send(Err(refusal))),
                Err(Stop::Failed(error)) => {
                    turn.ask(Kind::Other, 0, reply);
                    asks.for_each(|ask| turn.ask(Kind::Other, 0, ask.reply));
                    return Err(error);
                }
            }
        }
        if self.prune_ms <= now_ms {
            self.prune_ms = now_ms + PRUNE_EVERY_MS;
            commands.push(Command::Prune { ended_before_ms: now_ms.saturating_sub(self.retention_ms), now_ms });
        }
        if !commands.is_empty() {
            let answers = self.apply(turn, &commands).await?;
            self.follow(turn, &commands, &answers);
            turn.answer(answers);
            turn.commands = commands;
        }
        Ok(())
    }

    /// What a write request means for the store.
    async fn commands(&mut self, turn: &mut Turn, request: Request, now_ms: u64) -> Result<(Kind, Vec<Command>), Stop> {
        Ok(match request {
            Request::Enqueue(jobs) => {
                let made = jobs.into_iter().map(|job| decide::new_job(&self.queues, job, now_ms));
                let made: Vec<_> = made.collect::<Result<_, _>>()?;
                let first = self.ask_ahead(turn, &made).await?;
                (Kind::Enqueue(first), made.into_iter().map(Command::Enqueue).collect())
            }
            Request::Settle(settlements) => {
                let mut made = Vec::with_capacity(settlements.len());
                for it in settlements {
                    let jitter = Jitter::from_random(self.ids.random());
                    made.push(Command::Settle(decide::settle(self.policy(&it.lease.queue)?, it, now_ms, jitter)));
                }
                (Kind::Settle, made)
            }
            Request::Cancel { job, user } => (Kind::Cancel(job.clone()), vec![Command::Cancel { job, user, now_ms }]),
            Request::Pause { queue, paused } => {
                self.policy(&queue)?;
                (Kind::Other, vec![Command::Pause { queue, paused, now_ms }])
            }
            Request::Redrive { job } => {
                let ready_ms = ready_after_redrive(self.reader.clone(), self.queues.clone(), &job, now_ms).await;
                (Kind::DeadLetter(job.clone()), vec![Command::Redrive { job, ready_ms, now_ms }])
            }
            Request::Purge { job } => (Kind::DeadLetter(job.clone()), vec![Command::Purge { job, now_ms }]),
            Request::Told { through } => (Kind::Other, vec![Command::Told { through, now_ms }]),
            Request::Pull(_) | Request::Read(_) | Request::Ends { .. } => {
                unreachable!("pulls wait, and reads do not come to the writer")
            }
        })
    }

    /// Several jobs under one idempotency key are made all or none. The first one tells whether the key was used for
    /// something else; made ahead, it is found again when the others are made.
    async fn ask_ahead(&mut self, turn: &mut Turn, jobs: &[NewJob]) -> Result<Option<How>, Stop> {
        let [first, _, ..] = jobs else { return Ok(None) };
        if first.idempotency.is_none() {
            return Ok(None);
        }
        let mut answers = self.apply(turn, &[Command::Enqueue(first.clone())]).await?;
        Ok(Some(enqueued(answers.remove(0))?.how))
    }

    fn policy(&self, queue: &str) -> Result<&Policy, Refusal> {
        self.queues.get(queue).ok_or_else(|| decide::no_queue(&self.queues, queue))
    }

    /// Keeps up with what the store has done: deliveries that are over, ends to tell.
    fn follow(&mut self, turn: &mut Turn, commands: &[Command], answers: &[Answer]) {
        for (command, answer) in commands.iter().zip(answers) {
            match (command, answer) {
                (Command::Settle(it), Answer::Settled { accepted: true }) => {
                    self.deliveries.settle(&it.lease.job);
                    turn.has_ended = true;
                }
                (Command::Cancel { job, .. }, Answer::Ended(Ending::Done)) => {
                    self.deliveries.revoke(job);
                    turn.has_ended = true;
                }
                (Command::Prune { now_ms, .. }, Answer::Pruned { more: true }) => self.prune_ms = *now_ms,
                _ => {}
            }
        }
    }

    /// Ends the attempts whose leases have run out.
    async fn expire(&mut self, turn: &mut Turn, mut outlook: Outlook, now_ms: u64) -> Result<Outlook, Error> {
        while !outlook.expired.is_empty() {
            let expired = std::mem::take(&mut outlook.expired);
            let mut commands = Vec::with_capacity(expired.len());
            for lease in expired {
                let jitter = Jitter::from_random(self.ids.random());
                // A queue that the policies no longer name keeps its jobs until it is named again.
                let Some(policy) = self.queues.get(&lease.queue) else { continue };
                commands.push(Command::Settle(decide::lose(policy, lease, now_ms, jitter)));
            }
            if commands.is_empty() {
                break;
            }
            self.apply(turn, &commands).await?;
            turn.has_ended = true;
            for command in &commands {
                if let Command::Settle(it) = command {
                    self.deliveries.revoke(&it.lease.job);
                }
            }
            outlook = self.store.outlook(now_ms).await?;
        }
        Ok(outlook)
    }

    /// Gives work to the pulls that wait, first come first served, and sends away those that have waited long enough.
    async fn give(&mut self, turn: &mut Turn, mut outlook: Outlook, now_ms: u64) -> Result<Outlook, Error> {
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else { break };
            match self.fill(turn, &waiting.pull, &mut outlook, now_ms).await {
                Ok(pulled) => {
                    let nothing = pulled.deliveries.is_empty() && pulled.revoked.is_empty();
                    if nothing && now_ms < waiting.deadline_ms() {
                        self.waiting.push_back(waiting);
                    } else {
                        turn.give(waiting, pulled);
                    }
                }
                Err(error) => {
                    turn.give(waiting, Pulled::default());
                    return Err(error);
                }
            }
        }
        Ok(outlook)
    }

    /// What `pull` is given now.
    async fn fill(
        &mut self,
        turn: &mut Turn,
        pull: &Pull,
        outlook: &mut Outlook,
        now_ms: u64,
    ) -> Result<Pulled, Error> {
        let mut pulled = Pulled { revoked: self.deliveries.take_over(&pull.holding), ..Pulled::default() };
        let mut bytes = 0;
        while (pulled.deliveries.len() as u32) < pull.slots && bytes < PULL_BYTES {
            let Some(chosen) = offer::choose(&self.queues, outlook, &pull.queues, now_ms) else { break };
            let room = pull.slots - pulled.deliveries.len() as u32;
            let granted = self.claim(turn, pull, &chosen, room, now_ms).await?;
            if granted.is_empty() {
                // It has less to give than it looks as if, such as after its rate limit's window was made longer.
                outlook.queues.retain(|queue| queue.queue != chosen.queue);
                continue;
            }
            bytes += granted.iter().flat_map(|it| &it.delivery.jobs).map(|job| job.payload.get().len()).sum::<usize>();
            pulled.deliveries.extend(granted);
            *outlook = self.store.outlook(now_ms).await?;
        }
        Ok(pulled)
    }

    /// Claims up to `room` deliveries of the chosen queue.
    async fn claim(
        &mut self,
        turn: &mut Turn,
        pull: &Pull,
        chosen: &offer::Offer,
        room: u32,
        now_ms: u64,
    ) -> Result<Vec<Granted>, Error> {
        let queues = self.queues.clone();
        let policy = queues.get(&chosen.queue).expect("only queues with a policy are chosen");
        let lease_ms = decide::lease_ms(policy, pull.lease_ms);
        let claims: Vec<_> = (0..room.min(chosen.deliveries))
            .map(|_| Claim {
                queue: chosen.queue.clone(),
                processor: pull.processor.clone(),
                delivery: self.ids.next(now_ms),
                is_batch: policy.batch.is_some(),
                max: pull.batch_size_max.unwrap_or(u32::MAX).clamp(1, policy.batch_size_max()),
                rate: policy.rate_limit.as_ref().map(|limit| (limit.starts, limit.per_ms)),
                keep_attempts: policy.dead_letter_queue.is_some(),
                lease_until_ms: now_ms + lease_ms,
                now_ms,
            })
            .map(Command::Claim)
            .collect();
        let answers = self.apply(turn, &claims).await?;
        let mut granted = Vec::new();
        for (command, answer) in claims.into_iter().zip(answers) {
            if let (Command::Claim(claim), Answer::Claimed(Some(claimed))) = (command, answer) {
                self.deliveries.begin(&claim.delivery, claimed.jobs.iter().map(|job| job.lease.job.as_str()));
                granted.push(grant(claim, claimed, policy.timeout_ms, lease_ms));
            }
        }
        Ok(granted)
    }

    /// When something falls due without being asked.
    fn next_ms(&self, outlook: &Outlook, now_ms: u64) -> u64 {
        let deadlines = self.waiting.iter().map(Waiting::deadline_ms);
        let due = self
            .waiting
            .iter()
            .filter(|waiting| 0 < waiting.pull.slots)
            .filter_map(|waiting| offer::next_due_ms(&self.queues, outlook, &waiting.pull.queues, now_ms));
        deadlines.chain(due).chain(outlook.next_lease_ms).chain([self.prune_ms]).min().unwrap_or(u64::MAX)
    }
}

fn grant(claim: Claim, claimed: Claimed, timeout_ms: u64, lease_ms: u64) -> Granted {
    let created_ms = claimed.jobs.iter().map(|job| job.created_ms).collect();
    let leases = claimed.jobs.iter().map(|job| job.lease.clone()).collect();
    let jobs = claimed.jobs.into_iter().map(|it| Job {
        id: it.lease.job,
        user: it.user,
        attempt: it.lease.attempt,
        version: it.version,
        key: it.key,
        payload: it.payload,
    });
    let delivery =
        Delivery { id: claim.delivery, queue: claim.queue, batch: claimed.batch, timeout_ms, jobs: jobs.collect() };
    Granted { delivery, leases, lease_ms, created_ms }
}

/// When a redriven job may be claimed: it waits for its queue's next tick, as a new one would.
async fn ready_after_redrive(reader: Arc<Mutex<Box<dyn Reader>>>, queues: Arc<Queues>, job: &str, now_ms: u64) -> u64 {
    let query = Query::Job { job: job.to_owned() };
    let policy = match reader.lock().await.read(&query).await {
        Ok(Rows::Jobs(jobs)) => jobs.first().and_then(|job| queues.get(&job.queue)),
        _ => None,
    };
    policy.map_or(now_ms, |policy| policy.first_ready_at(now_ms))
}

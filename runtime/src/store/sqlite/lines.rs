//! What is live, in memory: who waits in which line, since when, and which leases are out. Claims and the outlook look
//! here, so that neither costs a look into the file, however much waits.
//!
//! The table `live` is what survives; these lines are read from it when the store is opened and told of every change.
//! After a transaction that failed they are read anew. Of a job that waits they hold only its place, some 70 bytes; of
//! one that is leased, of which there are few, all that its end needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, Result};

use super::live::{LEASED, Live, WAITING};
use super::statement::Statements;
use super::value::Nat;
use crate::store::LeaseId;

/// Where a job stands in its line: when it became or becomes ready, then the order of enqueueing.
pub(super) type Place = (u64, u64);

/// All lines, and all leases.
#[derive(Debug, Default)]
pub(super) struct Lines {
    queues: BTreeMap<String, Line>,
    leased: BTreeMap<Arc<str>, Live>,
}

/// The live jobs of one queue.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Every one: waiting, blocked or leased.
    live: BTreeSet<u64>,
    /// Those that wait and belong to no batch.
    fresh: BTreeSet<Place>,
    /// The batches that are tried again as a whole, by where they stand. One of which a job is still leased is not here:
    /// it cannot go out before that has ended.
    kept: BTreeMap<Place, Arc<str>>,
    /// Every batch of which a job waits or is leased.
    batches: BTreeMap<Arc<str>, Batch>,
    /// When each lease runs out, and whose it is.
    leases: BTreeMap<(u64, u64), Arc<str>>,
    /// Whether it gives no deliveries.
    pub(super) is_paused: bool,
    /// The last window of a rate limit that was claimed with; 0 if none was.
    pub(super) window_ms: u64,
    /// How many that wait are ready at `through_ms`.
    ready: u64,
    through_ms: u64,
    /// Whether it has changed since its counts were last written down.
    is_changed: bool,
}

/// The live jobs of one batch.
#[derive(Debug, Default)]
struct Batch {
    waiting: BTreeSet<Place>,
    leased: u32,
}

impl Batch {
    /// Where it stands as a whole: where the last of its jobs does, if all of them wait.
    fn place(&self) -> Option<Place> {
        self.waiting.last().copied().filter(|_| self.leased == 0)
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.leased == 0
    }
}

/// How many jobs a queue holds.
pub(super) struct Count {
    pub(super) waiting: u64,
    pub(super) processing: u64,
    /// The number of the oldest, waiting or not.
    pub(super) oldest: Option<u64>,
}

impl Lines {
    /// Reads what is live.
    pub(super) fn read(connection: &Connection) -> Result<Self> {
        let mut lines = Self::default();
        connection.each(WAITING, [], |row| {
            let (Nat(seq), queue) = (row.get(0)?, row.get_ref(1)?.as_str()?);
            lines.begin(queue, seq);
            if let Some(Nat(ready_ms)) = row.get(2)? {
                lines.wait(queue, (ready_ms, seq), row.get_ref(3)?.as_str_or_null()?);
            }
            Ok(())
        })?;
        connection.each(LEASED, [], |row| {
            let live = Live::read(row)?;
            lines.begin(&live.queue, live.seq);
            lines.lease(live);
            Ok(())
        })?;
        connection.each("SELECT queue, paused, rate_window_ms FROM queue_state", [], |row| {
            let (queue, Nat(window_ms)) = (row.get::<_, String>(0)?, row.get(2)?);
            lines.pause(&queue, row.get(1)?);
            lines.set_window(&queue, window_ms);
            Ok(())
        })?;
        lines.queues.values_mut().for_each(|line| line.is_changed = false);
        Ok(lines)
    }

    /// A queue gives deliveries from now on, or not.
    pub(super) fn pause(&mut self, queue: &str, is_paused: bool) {
        self.line(queue).is_paused = is_paused;
    }

    /// A queue is claimed from with a rate limit of this window. Returns whether it is another than before.
    pub(super) fn set_window(&mut self, queue: &str, window_ms: u64) -> bool {
        std::mem::replace(&mut self.line(queue).window_ms, window_ms) != window_ms
    }

    /// A job becomes live. It is blocked until it is told to wait.
    pub(super) fn begin(&mut self, queue: &str, seq: u64) {
        self.line(queue).live.insert(seq);
    }

    /// A live job waits.
    pub(super) fn wait(&mut self, queue: &str, place: Place, batch: Option<&str>) {
        self.line(queue).wait(place, batch);
    }

    /// A job that waits does so no more.
    pub(super) fn leave(&mut self, queue: &str, place: Place, batch: Option<&str>) {
        self.line(queue).leave(place, batch);
    }

    /// A live job that does not wait is leased.
    pub(super) fn lease(&mut self, live: Live) {
        let Some(until_ms) = live.lease_until_ms else { return };
        let job: Arc<str> = live.job.as_str().into();
        let line = self.line(&live.queue);
        line.leases.insert((until_ms, live.seq), job.clone());
        if let Some(batch) = &live.batch {
            line.change(batch, |batch| batch.leased += 1);
        }
        self.leased.insert(job, live);
    }

    /// The lease on this job is over, if there is one.
    pub(super) fn release(&mut self, job: &str) -> Option<Live> {
        let live = self.leased.remove(job)?;
        let line = self.line(&live.queue);
        line.leases.remove(&(live.lease_until_ms?, live.seq));
        if let Some(batch) = &live.batch {
            line.change(batch, |batch| batch.leased -= 1);
        }
        Some(live)
    }

    /// A job that neither waits nor is leased has ended.
    pub(super) fn end(&mut self, queue: &str, seq: u64) {
        self.line(queue).live.remove(&seq);
    }

    fn line(&mut self, queue: &str) -> &mut Line {
        if !self.queues.contains_key(queue) {
            self.queues.insert(queue.to_owned(), Line::default());
        }
        let line = self.queues.get_mut(queue).expect("it is there by now");
        line.is_changed = true;
        line
    }

    /// The queues that have live jobs, in the order of their names.
    pub(super) fn live(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().filter(|(_, line)| !line.live.is_empty()).map(|(queue, _)| queue.as_str())
    }

    /// The line of a queue that has or had live jobs.
    pub(super) fn of(&self, queue: &str) -> Option<&Line> {
        self.queues.get(queue)
    }

    /// How many jobs of `queue` are ready at `now_ms`. Only those are looked at that became so since it was last asked.
    pub(super) fn ready(&mut self, queue: &str, now_ms: u64) -> u64 {
        self.queues.get_mut(queue).map_or(0, |line| line.ready(now_ms))
    }

    /// The leased job of this id.
    pub(super) fn leased(&self, job: &str) -> Option<&Live> {
        self.leased.get(job)
    }

    /// Leases that have run out by `now_ms`, the oldest first, at most `limit` of each queue: a queue whose leases nobody
    /// ends must not stand in the way of the others.
    pub(super) fn expired(&self, now_ms: u64, limit: usize) -> Vec<LeaseId> {
        let run_out = ..=(now_ms, u64::MAX);
        let mut over: Vec<_> = self.queues.values().flat_map(|line| line.leases.range(run_out).take(limit)).collect();
        over.sort_unstable();
        over.into_iter().filter_map(|(_, job)| self.leased.get(job)).map(Live::lease).collect()
    }

    /// When the next lease runs out that has not by `now_ms`.
    pub(super) fn next_lease_ms(&self, now_ms: u64) -> Option<u64> {
        let next =
            |line: &Line| line.leases.range((now_ms.saturating_add(1), 0)..).next().map(|((until_ms, _), _)| *until_ms);
        self.queues.values().filter_map(next).min()
    }

    /// The counts of the queues that have changed since this was last asked.
    pub(super) fn changed(&mut self) -> impl Iterator<Item = (&str, Count)> {
        let changed = self.queues.iter_mut().filter(|(_, line)| line.is_changed);
        changed.map(|(queue, line)| {
            line.is_changed = false;
            let (all, processing) = (line.live.len() as u64, line.leases.len() as u64);
            (queue.as_str(), Count { waiting: all - processing, processing, oldest: line.live.first().copied() })
        })
    }
}

impl Line {
    fn wait(&mut self, place: Place, batch: Option<&str>) {
        match batch {
            Some(batch) => self.change(batch, |batch| {
                batch.waiting.insert(place);
            }),
            None => {
                self.fresh.insert(place);
                self.ready += u64::from(place.0 <= self.through_ms);
            }
        }
    }

    fn leave(&mut self, place: Place, batch: Option<&str>) {
        match batch {
            Some(batch) => self.change(batch, |batch| {
                batch.waiting.remove(&place);
            }),
            None => {
                self.fresh.remove(&place);
                self.ready -= u64::from(place.0 <= self.through_ms);
            }
        }
    }

    /// Changes which jobs of a batch wait and how many are leased, and by that where it stands.
    fn change(&mut self, batch: &str, change: impl FnOnce(&mut Batch)) {
        let known = self.batches.remove_entry(batch);
        let (name, mut batch) = known.unwrap_or_else(|| (batch.into(), Batch::default()));
        if let Some(place) = batch.place() {
            self.kept.remove(&place);
            self.ready -= if place.0 <= self.through_ms { batch.waiting.len() as u64 } else { 0 };
        }
        change(&mut batch);
        if let Some(place) = batch.place() {
            self.kept.insert(place, name.clone());
            self.ready += if place.0 <= self.through_ms { batch.waiting.len() as u64 } else { 0 };
        }
        if !batch.is_empty() {
            self.batches.insert(name, batch);
        }
    }

    /// How many jobs of a batch wait.
    pub(super) fn size(&self, batch: &str) -> usize {
        self.batches.get(batch).map_or(0, |batch| batch.waiting.len())
    }

    fn ready(&mut self, now_ms: u64) -> u64 {
        if self.through_ms != now_ms {
            let (from, to) = (self.through_ms.min(now_ms), self.through_ms.max(now_ms));
            let between = (from.saturating_add(1), 0)..=(to, u64::MAX);
            let kept: usize = self.kept.range(between.clone()).map(|(_, batch)| self.size(batch)).sum();
            let moved = (self.fresh.range(between).count() + kept) as u64;
            self.ready = if from == now_ms { self.ready - moved } else { self.ready + moved };
            self.through_ms = now_ms;
        }
        self.ready
    }

    /// The place that comes first, ready or not, and the batch that stands there if it is no single job.
    fn first(&self) -> Option<(Place, Option<&Arc<str>>)> {
        let fresh = self.fresh.first().map(|place| (*place, None));
        let kept = self.kept.first_key_value().map(|(place, batch)| (*place, Some(batch)));
        [fresh, kept].into_iter().flatten().min_by_key(|(place, _)| *place)
    }

    /// The first place if it is ready at `now_ms`, and the batch that stands there if it is no single job.
    pub(super) fn head(&self, now_ms: u64) -> Option<(Place, Option<&Arc<str>>)> {
        self.first().filter(|((ready_ms, _), _)| *ready_ms <= now_ms)
    }

    /// The places of at most `limit` ready jobs of `batch`, or of such as belong to none, the longest waiting first.
    pub(super) fn places(&self, batch: Option<&str>, now_ms: u64, limit: u32) -> Vec<Place> {
        let all = match batch {
            None => Some(&self.fresh),
            Some(batch) => self.batches.get(batch).map(|batch| &batch.waiting),
        };
        let ready = all.into_iter().flat_map(|all| all.range(..=(now_ms, u64::MAX)));
        ready.take(limit as usize).copied().collect()
    }

    /// When the next job or batch becomes ready that is not at `now_ms`.
    pub(super) fn next_ready_ms(&self, now_ms: u64) -> Option<u64> {
        let after = (now_ms.saturating_add(1), 0)..;
        let fresh = self.fresh.range(after.clone()).next().map(|place| place.0);
        let kept = self.kept.range(after).next().map(|(place, _)| place.0);
        fresh.into_iter().chain(kept).min()
    }
}

//! How long draining may take: what the policies and the scenario's outstanding work allow, added up on the safe side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kew_runtime::broker::LEASE_MARGIN_MS;
use kew_spec::queues::{Backoff, Policy, Queues};
use kew_spec::scenario::{Act, Behaviour, PlannedJob, Scenario};

/// After the last fault has healed, how long connections take to find out that they are dead and to be opened anew:
/// the longest request timeout (a pull's wait and 5 s), twice, and some.
pub const RECOVERY_MS: u64 = 25_000;

/// How many attempts a job may still lose once all faults have healed: the one that was running when its processor was
/// lost, and one that is granted over a connection that is dead already.
const ATTEMPTS_LOST: u32 = 2;

/// What the policies allow for the work that is outstanding, part by part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// For connections to find out that they are dead.
    pub recovery_ms: u64,
    /// For the longest chain of attempts, backoffs and lost leases that one job may still have before it.
    pub chain_ms: u64,
    /// For what all attempts together occupy of the processors' slots.
    pub work_ms: u64,
    /// For what rate limits stretch that to.
    pub rate_ms: u64,
}

impl Bound {
    /// The sum of all parts, in simulated milliseconds.
    pub fn ms(&self) -> u64 {
        self.recovery_ms + self.chain_ms + self.work_ms + self.rate_ms
    }
}

/// How a run drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// How long it took after the last fault had healed.
    pub took_ms: u64,
    /// How long it might have taken.
    pub bound: Bound,
}

/// Where the users note how the run drained.
#[derive(Clone, Debug, Default)]
pub struct Noted(Arc<Mutex<Drain>>);

impl Noted {
    /// Notes it.
    pub fn note(&self, drain: Drain) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = drain;
    }

    /// What was noted; nothing, before the run has drained.
    pub fn get(&self) -> Drain {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that may not have ended, and its attempt that is running or due. Those before are over.
pub type Outstanding<'a> = (&'a PlannedJob, u32);

/// What a scenario's bounds follow from, and which of its jobs end at all.
#[derive(Clone, Debug)]
pub struct Limits {
    queues: Queues,
    lanes: u64,
    late_ms: u64,
    /// Queues whose batches may never end as a whole.
    stuck: BTreeSet<String>,
}

impl Limits {
    /// The limits of `scenario`, where messages and timers may add `late_ms` to what an attempt takes.
    pub fn new(scenario: &Scenario, late_ms: u64) -> Self {
        let lanes = u64::from(scenario.processors * scenario.slots).max(1);
        let queues = scenario.policies();
        let takes_all_along = |job: &&PlannedJob| {
            let policy = queues.get(&job.queue).filter(|policy| policy.batch.is_some());
            policy.is_some_and(|policy| job.attempts.last().is_some_and(|last| !is_in_time(last, policy, late_ms)))
        };
        let stuck = scenario.jobs().iter().filter(takes_all_along).map(|job| job.queue.clone()).collect();
        Self { queues, lanes, late_ms, stuck }
    }

    /// The bound while `jobs` are outstanding. Whenever the last of them is not getting on with its own chain, all slots
    /// are busy with others or a rate limit holds it back; so the parts add up.
    pub fn bound(&self, jobs: &[Outstanding<'_>]) -> Bound {
        let lost = attempts_lost(jobs);
        let of =
            |(name, policy)| Load::new(policy, jobs.iter().filter(|(job, _)| job.queue == name), lost, self.late_ms);
        let loads: Vec<_> = self.queues.iter().map(of).collect();
        Bound {
            recovery_ms: RECOVERY_MS,
            chain_ms: loads.iter().map(Load::longest_chain_ms).max().unwrap_or(0),
            work_ms: loads.iter().map(Load::work_ms).sum::<u64>() / self.lanes_left(jobs),
            rate_ms: loads.iter().map(Load::rate_ms).max().unwrap_or(0),
        }
    }

    /// Whether the job ends by itself: its attempts are limited, or its script lets it succeed in time and no other of its
    /// batch holds it up for ever.
    pub fn ends(&self, job: &PlannedJob) -> bool {
        let Some(policy) = self.queues.get(&job.queue) else { return true };
        let succeeds = |last: &Behaviour| last.act == Act::Succeed && is_in_time(last, policy, self.late_ms);
        let lets_it = job.attempts.last().is_none_or(succeeds) && !self.stuck.contains(&job.queue);
        policy.attempts.max().is_some() || lets_it
    }

    /// The slots that jobs without an end leave to the others. Since waiting jobs rise, that is at least every other turn.
    fn lanes_left(&self, jobs: &[Outstanding<'_>]) -> u64 {
        let endless = jobs.iter().filter(|(job, _)| !self.ends(job)).count() as u64;
        self.lanes.saturating_sub(endless).max(self.lanes.div_ceil(2))
    }
}

/// How long a play of `scenario` will likely last, if nothing strikes: until the last job has gone through its script.
pub fn likely_ms(scenario: &Scenario) -> u64 {
    let queues = scenario.policies();
    let scripted = |job: &PlannedJob| {
        let policy = queues.get(&job.queue).expect("a scenario's jobs go to queues that there are");
        let tick = policy.schedule.as_ref().map_or(0, |schedule| schedule.every_ms);
        let attempts = policy.attempts.max().unwrap_or(job.attempts.len() as u32).max(1);
        let succeeds = |attempt: &u32| job.behaviour(*attempt).act == Act::Succeed;
        let last = (1..attempts).find(succeeds).unwrap_or(attempts);
        let one = |attempt| attempt_ms(policy, job.behaviour(attempt)) + backoff_ms(policy, attempt) + tick;
        job.at_ms + (1..=last).map(one).sum::<u64>()
    };
    scenario.jobs().iter().map(scripted).max().unwrap_or(0).max(scenario.length_ms())
}

/// Whether an attempt ends by itself before its timeout.
fn is_in_time(behaviour: &Behaviour, policy: &Policy, late_ms: u64) -> bool {
    matches!(behaviour.act, Act::Succeed | Act::Fail) && behaviour.after_ms + late_ms < policy.timeout_ms
}

/// A scripted crash that is still to come takes along what runs beside it, and costs one more.
fn attempts_lost(jobs: &[Outstanding<'_>]) -> u32 {
    let crashes = |&(job, next): &Outstanding<'_>| {
        let first = (next.saturating_sub(1) as usize).min(job.attempts.len().saturating_sub(1));
        job.attempts.iter().skip(first).any(|behaviour| behaviour.act == Act::Crash)
    };
    ATTEMPTS_LOST + u32::from(jobs.iter().any(crashes))
}

/// One queue's outstanding work.
struct Load<'a> {
    policy: &'a Policy,
    jobs: Vec<Outstanding<'a>>,
    lost: u32,
    late_ms: u64,
    /// Of a queue that batches: how many attempts are scripted at most, and the longest of them. A batch takes as long as
    /// its slowest job, and what fails it as a whole fails all its jobs.
    batched: Option<(u32, u64)>,
}

impl<'a> Load<'a> {
    fn new(policy: &'a Policy, jobs: impl Iterator<Item = &'a Outstanding<'a>>, lost: u32, late_ms: u64) -> Self {
        let jobs: Vec<_> = jobs.copied().collect();
        let mut load = Self { policy, jobs, lost, late_ms, batched: None };
        if policy.batch.is_some() {
            let scripted = load.jobs.iter().map(|(job, _)| job.attempts.len() as u32).max().unwrap_or(0);
            let own = |it: &Outstanding<'_>| load.attempts(it).map(|attempt| load.attempt_ms(it.0, attempt)).max();
            let longest_ms = load.jobs.iter().filter_map(own).max().unwrap_or(0);
            load.batched = Some((scripted, longest_ms));
        }
        load
    }

    /// The attempts that a job may still take: as its script has it, and some that may be lost.
    fn attempts(&self, &(job, next): &Outstanding<'_>) -> std::ops::RangeInclusive<u32> {
        let scripted = self.batched.map_or(job.attempts.len() as u32, |(scripted, _)| scripted);
        next..=self.policy.attempts.max().unwrap_or(scripted.max(next) + self.lost)
    }

    /// What one attempt may take at most.
    fn attempt_ms(&self, job: &PlannedJob, attempt: u32) -> u64 {
        let own = || attempt_ms(self.policy, job.behaviour(attempt));
        self.batched.map_or_else(own, |(_, longest_ms)| longest_ms)
    }

    /// The longest chain of one job, or of the two of one entity that may be open together: one runs, one waits for it.
    fn longest_chain_ms(&self) -> u64 {
        let mut of_entity: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for it in &self.jobs {
            let entity = it.0.key.as_ref().filter(|_| self.policy.deduplication).unwrap_or(&it.0.label);
            let [longest, second] = of_entity.entry(entity).or_default();
            let chain_ms = self.chain_ms(it);
            *second = chain_ms.min(*longest).max(*second);
            *longest = chain_ms.max(*longest);
        }
        of_entity.values().map(|chains| chains.iter().sum()).max().unwrap_or(0)
    }

    /// One job's attempts and waits, one after the other, and the leases that it may lose beside them.
    fn chain_ms(&self, it: &Outstanding<'_>) -> u64 {
        let wait = self.policy.batch.as_ref().and_then(|batch| batch.wait_ms).unwrap_or(0);
        let tick = self.policy.schedule.as_ref().map_or(0, |schedule| schedule.every_ms);
        let one =
            |attempt| self.late_ms + wait + tick + self.attempt_ms(it.0, attempt) + backoff_ms(self.policy, attempt);
        let lost = u64::from(self.lost) * (self.policy.timeout_ms + LEASE_MARGIN_MS);
        self.attempts(it).map(one).sum::<u64>() + lost
    }

    /// What the jobs' attempts occupy of slots. A tick's events leave in full batches; other batches may be of one job
    /// each, since retries scatter.
    fn work_ms(&self) -> u64 {
        let own = |it: &Outstanding<'_>| -> u64 {
            self.attempts(it).map(|attempt| self.late_ms + self.attempt_ms(it.0, attempt)).sum()
        };
        if self.policy.schedule.is_none() {
            return self.jobs.iter().map(own).sum();
        }
        let longest_ms = self.jobs.iter().map(own).max().unwrap_or(0);
        longest_ms * (self.jobs.len() as u64).div_ceil(u64::from(self.policy.batch_size_max()))
    }

    /// How long a rate limit stretches the work.
    fn rate_ms(&self) -> u64 {
        let Some(limit) = &self.policy.rate_limit else { return 0 };
        let starts: u64 = self.jobs.iter().map(|it| self.attempts(it).count() as u64).sum();
        starts.div_ceil(u64::from(limit.starts)) * limit.per_ms
    }
}

/// What one attempt takes at most, of a job alone. Of one whose processor dies, the lease has to run out.
fn attempt_ms(policy: &Policy, behaviour: &Behaviour) -> u64 {
    match behaviour.act {
        Act::Succeed | Act::Fail if behaviour.after_ms < policy.timeout_ms => behaviour.after_ms,
        Act::Crash => policy.timeout_ms + LEASE_MARGIN_MS,
        _ => policy.timeout_ms,
    }
}

fn backoff_ms(policy: &Policy, attempt: u32) -> u64 {
    match &policy.backoff {
        Backoff::Exponential(exponential) => exponential.delay_max_ms(attempt),
        Backoff::None | Backoff::NextTick => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: &str = "attempts = [{ do = \"fail\", after_ms = 1000 }]";

    fn scenario(policy: &str, jobs: &str) -> Scenario {
        let queue = format!("[work]\npriority = \"high\"\ntimeout_ms = 2000\n{policy}\n");
        let head = "name = \"a\"\nprocessors = 1\nslots = 2\n";
        let text = format!("{head}queues = '''\n{queue}'''\n{jobs}");
        Scenario::parse(&text).expect("it is a scenario")
    }

    fn job(more: &str) -> String {
        format!("[[job]]\nlabel = \"j-{{n}}\"\nqueue = \"work\"\n{more}\n")
    }

    /// The bound while all jobs are outstanding whose attempt `next` is due.
    fn bound(policy: &str, more: &str, next: u32) -> Bound {
        let scenario = scenario(policy, &job(more));
        let jobs = scenario.jobs();
        Limits::new(&scenario, 0).bound(&jobs.iter().map(|job| (job, next)).collect::<Vec<_>>())
    }

    #[test]
    fn what_has_ended_is_not_waited_for() {
        let bound = Limits::new(&scenario("attempts = 3", &job(SLOW)), 0).bound(&[]);
        assert_eq!(bound, Bound { recovery_ms: RECOVERY_MS, ..Bound::default() });
        assert_eq!(bound.ms(), RECOVERY_MS);
    }

    #[test]
    fn a_chain_is_the_attempts_left_and_the_leases_that_may_be_lost() {
        assert_eq!(bound("attempts = 3", SLOW, 1).chain_ms, 3 * 1_000 + 2 * 7_000);
        assert_eq!(bound("attempts = 3", SLOW, 3).chain_ms, 1_000 + 2 * 7_000);
    }

    #[test]
    fn work_is_shared_by_the_slots_and_a_rate_limit_stretches_it() {
        let limited = "attempts = 1\nrate_limit = { starts = 2, per_ms = 500 }";
        let bound = bound(limited, &format!("count = 10\n{SLOW}"), 1);
        assert_eq!((bound.work_ms, bound.rate_ms), (10 * 1_000 / 2, 5 * 500));
    }

    #[test]
    fn the_two_jobs_of_an_entity_wait_for_each_other() {
        let chain_ms = |key: &str| {
            let jobs = format!("count = 5\nkey = \"{key}\"\n{SLOW}");
            bound("attempts = 1\ndeduplication = \"key\"", &jobs, 1).chain_ms
        };
        assert_eq!(chain_ms("a"), 2 * chain_ms("a-{n}"));
    }

    #[test]
    fn a_job_that_is_never_in_time_has_no_end_and_neither_has_its_batch() {
        let ends = |batch: &str, attempts: &str| {
            let scenario =
                scenario(&format!("attempts = \"infinite\"\n{batch}"), &(job("") + &job(attempts).replace("j-", "k-")));
            let limits = Limits::new(&scenario, 0);
            scenario.jobs().iter().map(|job| limits.ends(job)).collect::<Vec<_>>()
        };
        let (late, batch) =
            ("attempts = [{ do = \"succeed\", after_ms = 2000 }]", "batch = { size = 2, wait_ms = 10 }");
        assert_eq!(ends("", late), [true, false]);
        assert_eq!(ends(batch, late), [false, false]);
        assert_eq!(ends(batch, SLOW), [true, false], "it fails alone");
    }

    #[test]
    fn a_play_lasts_until_each_job_has_gone_through_its_script() {
        let likely = |attempts: &str| likely_ms(&scenario("attempts = 3", &job(&format!("attempts = [{attempts}]"))));
        assert_eq!(likely(r#"{ do = "hang" }"#), 6_000, "each attempt is stopped at its timeout");
        assert_eq!(likely(r#"{ do = "hang" }, { do = "succeed", after_ms = 500 }"#), 2_500);
        assert_eq!(likely(r#"{ do = "succeed", after_ms = 500 }"#), 500);
    }
}

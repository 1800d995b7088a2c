//! A run to keep: everything that decides it, what it came to, and what program it was. A capsule outlives changes of the
//! random choices, since it holds the decisions themselves and not only the seed that they were drawn from.

use kew_spec::scenario::Scenario;
use serde::{Deserialize, Serialize};

use crate::Plan;

/// The version of the format.
const VERSION: u32 = 1;

/// The largest file that is taken for a capsule: one of the largest scenario is far smaller.
pub const BYTES_MAX: u64 = 64 << 20;

/// A run to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// The format's version.
    kew_capsule: u32,
    /// What played it.
    pub program: Program,
    /// What was broken, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// What was left out, if it was shrunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Shrunk>,
    /// The hash over all that happened.
    pub hash: String,
    /// What decides the run: the jobs, operations, outcomes and faults, one by one.
    pub plan: Plan,
}

/// A build of Kew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The revision of its source, as git tells it; empty where there was no git.
    pub revision: String,
    /// The compiler that built it.
    pub toolchain: String,
}

/// What a run breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broken {
    /// The clause's id.
    pub clause: String,
    /// The kind of event at which it breaks, as in a history.
    pub at: String,
}

/// How far a run was shrunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shrunk {
    /// Before.
    pub from: Size,
    /// After.
    pub to: Size,
    /// Leaving out any single fault, job or operation of what is left, the clause is kept: every one was tried.
    pub is_minimal: bool,
    /// How many runs it took.
    pub runs: u64,
}

/// How large a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// How many faults.
    pub faults: usize,
    /// How many jobs.
    pub jobs: usize,
    /// How many operations besides enqueues.
    pub ops: usize,
}

impl Size {
    /// The size of `plan`.
    pub fn of(plan: &Plan) -> Self {
        let Scenario { faults, ops, job_specs, .. } = &plan.scenario;
        let jobs = job_specs.iter().map(|spec| spec.count as usize).sum();
        Self { faults: faults.len(), jobs, ops: ops.len() }
    }
}

impl Capsule {
    /// A capsule of a run that came to `hash`.
    pub fn new(plan: &Plan, program: Program, hash: String, broken: Option<Broken>) -> Self {
        let plan = Plan { scenario: plan.scenario.explicit(), ..plan.clone() };
        Self { kew_capsule: VERSION, program, broken, shrunk: None, hash, plan }
    }

    /// Reads a capsule's text.
    ///
    /// # Errors
    /// A fragment that says where and what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let capsule: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if capsule.kew_capsule != VERSION {
            let version = capsule.kew_capsule;
            return Err(format!("it is of format {version}, and this Kew knows format {VERSION}; take a newer Kew"));
        }
        // What the scenario holds is checked where every scenario is.
        Scenario::parse(&capsule.plan.scenario.to_toml()).map_err(|error| error.0)?;
        Ok(capsule)
    }

    /// The capsule as a file.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a capsule is plain data") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Program {
        Program { version: "0.1.0".into(), revision: String::new(), toolchain: "rustc".into() }
    }

    #[test]
    fn a_capsule_is_read_back_as_it_was_written() {
        for seed in 0..40 {
            let broken = Some(Broken { clause: "retry/at-most".into(), at: "granted".into() });
            let capsule = Capsule::new(&Plan::draw(seed, None, None), program(), "a9".into(), broken);
            assert_eq!(Capsule::parse(&capsule.to_text()), Ok(capsule));
        }
    }

    #[test]
    fn what_is_no_capsule_is_refused_with_a_reason() {
        let capsule = Capsule::new(&Plan::draw(1, None, None), program(), "a9".into(), None);
        let newer = Capsule { kew_capsule: 2, ..capsule.clone() };
        assert!(Capsule::parse(&newer.to_text()).is_err_and(|reason| reason.contains("format 2")));
        let mut crowded = capsule;
        crowded.plan.scenario.processors = 1_000;
        assert!(Capsule::parse(&crowded.to_text()).is_err_and(|reason| reason.contains("processors")));
        assert!(Capsule::parse("{}").is_err());
    }
}

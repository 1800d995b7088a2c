//! Scenarios of the harness's own, embedded from `verify/scenarios/`: what the library of `spec` shows in minutes only, or
//! with faults alone, in seconds of real time. Their times are real, so they are slowed down where a system needs it, but
//! never sped up.

use kew_spec::scenario::Scenario;

macro_rules! scenarios {
    ($($name:literal)*) => {
        const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../scenarios/", $name, ".toml"))),)*];
    };
}

scenarios! {
    "aging"
    "backlog-fails-in-part"
    "backoff-cap"
    "dead-letters-of-one"
    "entity-tried-again"
    "late-answer"
    "limited"
    "never-gives-up"
    "run-over-ticks"
    "tick-drains"
    "ticks-under-a-pause"
}

/// All of them, in the order of their names.
pub fn all() -> Vec<Scenario> {
    FILES.iter().map(|(_, text)| read(text)).collect()
}

/// The one with this name.
pub fn find(name: &str) -> Option<Scenario> {
    FILES.iter().find(|(own, _)| *own == name).map(|(_, text)| read(text))
}

/// Whether a scenario of this name states real times.
pub(crate) fn are_real(name: &str) -> bool {
    FILES.iter().any(|(own, _)| *own == name)
}

fn read(text: &str) -> Scenario {
    Scenario::parse(text).expect("every embedded scenario is tested to parse")
}

#[cfg(test)]
mod tests {
    use kew_spec::{clause, scenario};

    use super::{FILES, all};

    #[test]
    fn each_file_has_a_name_that_the_library_has_not_and_exercises_clauses_that_there_are() {
        for (it, (name, _)) in all().iter().zip(FILES) {
            assert_eq!(it.name, *name);
            assert!(scenario::find(name).is_none(), "{name} is in the library too");
            assert!(!it.exercises.is_empty() && it.exercises.iter().all(|id| clause::find(id).is_some()), "{name}");
        }
    }
}

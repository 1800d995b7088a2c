//! The command line that plays again what broke a clause.

use std::fmt::Write;

use super::Arguments;

/// Knows how this run was called.
pub(super) struct Again<'a> {
    /// The system, as it was named: by its name, or by its folder.
    pub(super) target: &'a str,
    /// Where the systems' folders are, if that was said.
    pub(super) targets: Option<String>,
    /// The scenarios that were asked for: names, or files.
    pub(super) scenarios: &'a [String],
}

impl<'a> Again<'a> {
    /// As this run was called.
    pub(super) fn of(arguments: &'a Arguments) -> Self {
        Self {
            target: arguments.target.as_deref().unwrap_or_default(),
            targets: arguments.targets.as_ref().map(|folder| folder.display().to_string()),
            scenarios: &arguments.scenario,
        }
    }

    /// The line that plays one scenario for one clause.
    pub(super) fn line(&self, clause: &str, scenario: &str) -> String {
        // A file may hold a scenario of another name, so where only one was asked for it is taken as it was given.
        let scenario = if let [only] = self.scenarios { only } else { scenario };
        let mut line = format!("kew verify {} {clause} --scenario {scenario}", self.target);
        if let Some(targets) = &self.targets {
            let _ = write!(line, " --targets {targets}");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::Again;

    #[test]
    fn a_scenario_of_a_file_is_named_as_it_was_given() {
        let scenarios = ["mine/slow.toml".to_owned()];
        let again = Again { target: "./queue", targets: Some("there".into()), scenarios: &scenarios };
        let line = "kew verify ./queue retry/stops --scenario mine/slow.toml --targets there";
        assert_eq!(again.line("retry/stops", "slow"), line);
    }
}

//! The line that runs a seed again, as a person types it and as a child is started with.

use std::fmt;

/// What decides a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay<'a> {
    /// The seed.
    pub(super) seed: u64,
    /// The scenario's name or file, if one was asked for.
    pub(super) scenario: Option<&'a str>,
    /// The planted bug, if there is one.
    pub(super) planted: Option<&'a str>,
}

impl Replay<'_> {
    /// The arguments of `kew sim`.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--seed".to_owned(), self.seed.to_string()];
        for (name, value) in [("--scenario", self.scenario), ("--planted", self.planted)] {
            arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_owned()]));
        }
        arguments
    }
}

impl fmt::Display for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kew sim")?;
        self.arguments().iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

/// An argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_can_be_pasted_into_a_shell() {
        let replay = Replay { seed: 37, scenario: Some("my friend's.toml"), planted: None };
        assert_eq!(replay.to_string(), r"kew sim --seed 37 --scenario 'my friend'\''s.toml'");
    }
}

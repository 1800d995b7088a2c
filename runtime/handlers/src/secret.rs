//! A key or password that can be used but not printed.

use std::fmt;

use serde::Deserialize;

/// Text that `Debug` hides, and that `redact` removes from what others answer.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret of the configuration or, without one, of the environment variable `env`. Empty counts as none.
    pub(crate) fn resolve(configured: Option<&Self>, env: &str) -> Option<Self> {
        let from_env = || std::env::var(env).ok().map(Self);
        configured.cloned().or_else(from_env).filter(|s| !s.0.is_empty())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` without this secret, for servers that repeat what they were sent.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(***)");
    }

    #[test]
    fn an_empty_secret_is_none() {
        assert_eq!(Secret::resolve(Some(&Secret::new("")), "KEW_TEST_UNSET"), None);
    }
}

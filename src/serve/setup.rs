//! What `kew serve` goes by: the configuration file, and the options that win over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kew_runtime::api::Access;
use kew_runtime::config::{Broker, Config, Token, broker_url};
use kew_spec::queues::Queues;

use super::{Arguments, Role};
use crate::outcome::Failure;

/// Everything that the roles need, read and checked.
pub(super) struct Setup {
    pub(super) role: Role,
    pub(super) config: Config,
    pub(super) queues: Arc<Queues>,
    pub(super) access: Arc<Access>,
    pub(super) handlers: kew_handlers::Config,
    /// The broker, for a role that runs apart from it: its address and the token to call it with.
    pub(super) broker: Option<(String, Option<String>)>,
}

impl Setup {
    pub(super) fn read(arguments: &Arguments) -> Result<Self, Failure> {
        check_broker(arguments)?;
        let mut config = match &arguments.config {
            Some(path) => Config::parse(&text(path, "configuration")?).map_err(|error| in_file(path, &error))?,
            None => Config::default(),
        };
        overrule(&mut config, arguments)?;
        let queues = match &config.queues {
            Some(path) => Queues::parse(&text(path, "queues")?).map_err(|error| in_file(path, &error))?,
            None => Queues::default(),
        };
        let env = |name: &str| std::env::var(name).ok();
        let access = access(arguments.role, &config, env)?;
        let handlers = handlers(&config).map_err(|error| match &arguments.config {
            Some(path) => in_file(path, &error),
            None => Failure::input(&error),
        })?;
        let broker = broker(arguments.role, config.broker.as_ref(), env)?;
        Ok(Self { role: arguments.role, config, queues: Arc::new(queues), access: Arc::new(access), handlers, broker })
    }

    /// The store's file.
    pub(super) fn store(&self) -> PathBuf {
        self.config.data.join("kew.sqlite")
    }
}

/// A broker elsewhere and one in this process exclude each other: jobs would go to the wrong one without a word.
fn check_broker(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.broker.is_none() || arguments.role.runs_apart() {
        return Ok(());
    }
    let name = if arguments.role == Role::All { "all (the default)" } else { "broker" };
    Err(Failure::input(format!(
        "use --broker: the role {name} is the broker itself; add --role api, processor or notifier, or leave --broker out"
    )))
}

/// Who may call. A role that answers nobody needs nobody's token: it may share its configuration with those that do.
fn access(role: Role, config: &Config, env: impl Fn(&str) -> Option<String>) -> Result<Access, Failure> {
    if !role.listens() {
        return Ok(Access::default());
    }
    let access = config.access(env).map_err(|error| Failure::input(&error))?;
    if !access.has_tokens() && !config.listen.ip().is_loopback() {
        let why = "without tokens only this machine is served; add [[token]] entries to the configuration";
        return Err(Failure::input(format!("listen on {}: {why}", config.listen)));
    }
    Ok(access)
}

/// What the handlers go by. An error names the section that it is in: of these sections the lines are not known.
fn handlers(config: &Config) -> Result<kew_handlers::Config, String> {
    config.handlers.clone().try_into().map_err(|error| {
        let faulty = config.handlers.keys().find_map(|name| {
            let mut alone = config.handlers.clone();
            alone.retain(|other, _| other == name);
            Some((name, alone.try_into::<kew_handlers::Config>().err()?))
        });
        match faulty {
            Some((name, error)) => format!("read [handlers.{name}]: {}", error.message()),
            None => format!("read [handlers]: {}", error.message()),
        }
    })
}

/// What the command line says wins over the file.
fn overrule(config: &mut Config, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    if let Some(queues) = &arguments.queues {
        config.queues = Some(queues.clone());
    }
    if let Some(url) = &arguments.broker {
        let url = broker_url(url).map_err(|rule| Failure::input(format!("find the broker: {rule}")))?;
        let in_file = config.broker.take().and_then(|broker| broker.token);
        config.broker = Some(Broker { url, token: arguments.token_env.clone().map(Token::Env).or(in_file) });
    }
    Ok(())
}

fn broker(
    role: Role,
    broker: Option<&Broker>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<(String, Option<String>)>, Failure> {
    match (role.runs_apart(), broker) {
        (true, None) => Err(Failure::input("find the broker: this role runs apart from it; add --broker URL")),
        (true, Some(broker)) => {
            let token = broker.token.as_ref().map(|token| token.reveal(env)).transpose().map_err(Failure::input)?;
            Ok(Some((broker.url.clone(), token)))
        }
        (false, _) => Ok(None),
    }
}

fn text(path: &Path, what: &str) -> Result<String, Failure> {
    let read = std::fs::read_to_string(path);
    read.map_err(|error| Failure::input(format!("read the {what} file {}: {error}", path.display())))
}

fn in_file(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::input(format!("{error} (in {})", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = "[[token]]\nuser = \"ada\"\nrole = \"user\"\ntoken_env = \"KEW_TEST_NO_SUCH_TOKEN\"";

    /// What a role says of a configuration in which nothing but a user's token is missing.
    fn access_of(role: Role) -> Result<bool, String> {
        let config = Config::parse(SHARED).expect("it is allowed");
        access(role, &config, |_| None).map(|access| access.has_tokens()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_role_that_answers_nobody_needs_nobodys_token() {
        assert_eq!(access_of(Role::Processor), Ok(false));
        for role in [Role::All, Role::Api, Role::Broker, Role::Notifier] {
            let refused = access_of(role).expect_err("it serves users");
            assert!(refused.contains("KEW_TEST_NO_SUCH_TOKEN is not set"), "{refused}");
        }
    }

    #[test]
    fn a_wrong_field_of_a_handler_is_told_with_its_section() {
        let wrong = [
            (
                "[handlers.ai]\nmodel = \"m\"\n[handlers.email]\nhots = \"x\"",
                "[handlers.email]",
                "unknown field `hots`",
            ),
            ("[handlers.emial]\nhost = \"x\"", "[handlers.emial]", "unknown field `emial`"),
            ("[handlers.pdf]\nfonts = 1", "[handlers.pdf]", "invalid type"),
        ];
        for (text, section, words) in wrong {
            let error = handlers(&Config::parse(text).expect("it is left to the handlers")).expect_err("it is wrong");
            assert!(error.starts_with(&format!("read {section}: ")) && error.contains(words), "{error}");
        }
    }

    /// The token's variable after the command line has named a broker, and perhaps a token, beside the file's.
    fn token_env(given: Option<&str>) -> Option<Token> {
        let file = "[broker]\nurl = \"http://file:1\"\ntoken_env = \"FILES\"";
        let mut config = Config::parse(file).expect("it is allowed");
        let arguments = Arguments {
            config: None,
            listen: None,
            data: None,
            queues: None,
            role: Role::Processor,
            broker: Some("http://given:2/".into()),
            token_env: given.map(Into::into),
        };
        overrule(&mut config, &arguments).unwrap_or_else(|_| panic!("the URL is allowed"));
        let broker = config.broker.expect("there is one");
        assert_eq!(broker.url, "http://given:2");
        broker.token
    }

    #[test]
    fn a_broker_of_the_command_line_is_called_with_the_files_token_unless_another_is_given() {
        assert_eq!(token_env(None), Some(Token::Env("FILES".into())));
        assert_eq!(token_env(Some("GIVEN")), Some(Token::Env("GIVEN".into())));
    }
}

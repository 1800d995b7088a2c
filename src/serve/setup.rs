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
        let access = config.access(env).map_err(|error| Failure::input(&error))?;
        if !access.has_tokens() && !config.listen.ip().is_loopback() {
            let why = "without tokens only this machine is served; add [[token]] entries to the configuration";
            return Err(Failure::input(format!("listen on {}: {why}", config.listen)));
        }
        let handlers = config.handlers.clone().try_into();
        let handlers = handlers.map_err(|error| Failure::input(format!("read [handlers]: {}", error.message())))?;
        let broker = broker(arguments.role, config.broker.as_ref(), env)?;
        Ok(Self { role: arguments.role, config, queues: Arc::new(queues), access: Arc::new(access), handlers, broker })
    }

    /// The store's file.
    pub(super) fn store(&self) -> PathBuf {
        self.config.data.join("kew.sqlite")
    }
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
    let apart = matches!(role, Role::Api | Role::Processor | Role::Notifier);
    match (apart, broker) {
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

//! The configuration file of `kew serve` (TOML). Whatever is wrong becomes one error with the line and what is allowed.
//!
//! It reads no environment and no other file: a token may name an environment variable, which [`Config::access`] and
//! [`Token::reveal`] ask the caller for. Tokens are never shown by `Debug`.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::api::{Access, Grant, Role};
use crate::broker::RETENTION_MS;
use crate::store::Synchronous;

/// The shortest token: with 16 random characters, guessing is hopeless.
const TOKEN_CHARS_MIN: usize = 16;

/// The longest user name.
const USER_CHARS_MAX: usize = 255;

/// The most deliveries that one processor runs side by side: the most that one pull may ask for.
const SLOTS_MAX: i64 = 1_000;

/// The longest that jobs are kept after they have ended: a century.
const KEEP_ENDED_DAYS_MAX: i64 = 36_500;

const DAY_MS: u64 = 24 * 3_600_000;

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the configuration: line {line}: {message}")]
pub struct Error {
    /// The line at fault, from 1.
    pub line: usize,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// How `kew serve` runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The folder of the store.
    pub data: PathBuf,
    /// The file of the queues' policies; absent: the five of the architecture.
    pub queues: Option<PathBuf>,
    /// What a commit survives.
    pub synchronous: Synchronous,
    /// For how many days jobs are kept after they have ended. Dead letters are kept until they are redriven or purged.
    pub keep_ended_days: u32,
    /// Who may call. Without any, only this machine is served.
    pub tokens: Vec<UserToken>,
    /// The processor.
    pub processor: Processor,
    /// Where the broker is, for a role that runs apart from it.
    pub broker: Option<Broker>,
    /// What the handlers need, in their own words.
    pub handlers: toml::Table,
}

/// A token of the file, or the environment variable that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// The token itself.
    Plain(String),
    /// The environment variable's name.
    Env(String),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(…)"),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
        }
    }
}

/// Who may call with a token.
#[derive(Clone, Debug)]
pub struct UserToken {
    /// The token.
    pub token: Token,
    /// Whose it is.
    pub user: String,
    /// What they may do.
    pub role: Role,
    /// Where it stands in the file, for errors about it.
    line: usize,
}

/// The processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// How many deliveries it runs side by side.
    pub slots: u32,
    /// Which queues it pulls from; absent: all that have a handler.
    pub queues: Option<Vec<String>>,
    /// Its name in leases and logs; absent: made up at the start.
    pub name: Option<String>,
}

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its base URL, `http://host:port`.
    pub url: String,
    /// What it is called with.
    pub token: Option<Token>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8_480)),
            data: PathBuf::from("./kew-data"),
            queues: None,
            synchronous: Synchronous::default(),
            keep_ended_days: (RETENTION_MS / DAY_MS) as u32,
            tokens: Vec::new(),
            processor: Processor::default(),
            broker: None,
            handlers: toml::Table::new(),
        }
    }
}

impl Default for Processor {
    /// Eight deliveries side by side: they wait for others more than they compute. Chosen.
    fn default() -> Self {
        Self { slots: 8, queues: None, name: None }
    }
}

impl Config {
    /// For how many milliseconds jobs are kept after they have ended.
    pub fn keep_ended_ms(&self) -> u64 {
        u64::from(self.keep_ended_days) * DAY_MS
    }

    /// Reads a configuration file. What it does not say is as in [`Config::default`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let raw: Raw = toml::from_str(text).map_err(|error| Error {
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            message: error.message().to_owned(),
        })?;
        let fault = |(span, message): Fault| Error { line: line_of(text, span.start), message };
        let mut tokens = Vec::with_capacity(raw.token.len());
        for token in raw.token {
            let line = line_of(text, token.span().start);
            tokens.push(user_token(token, line).map_err(fault)?);
        }
        let default = Self::default();
        Ok(Self {
            listen: raw.listen.map(listen).transpose().map_err(fault)?.unwrap_or(default.listen),
            data: raw.data.unwrap_or(default.data),
            queues: raw.queues,
            synchronous: match raw.synchronous {
                None | Some(RawSynchronous::Full) => Synchronous::Full,
                Some(RawSynchronous::Normal) => Synchronous::Normal,
            },
            keep_ended_days: match raw.keep_ended_days {
                None => default.keep_ended_days,
                Some(days) => within(&days, "keep_ended_days", KEEP_ENDED_DAYS_MAX).map_err(fault)?,
            },
            tokens,
            processor: raw.processor.map(processor).transpose().map_err(fault)?.unwrap_or_default(),
            broker: raw.broker.map(broker).transpose().map_err(fault)?,
            handlers: raw.handlers,
        })
    }

    /// Who may call. `env` gives the value of an environment variable.
    pub fn access(&self, env: impl Fn(&str) -> Option<String>) -> Result<Access, Error> {
        let mut grants: Vec<Grant> = Vec::with_capacity(self.tokens.len());
        for it in &self.tokens {
            let at = |message: String| Error { line: it.line, message };
            let token = it.token.reveal(&env).map_err(at)?;
            if grants.iter().any(|grant| grant.token == token) {
                return Err(at("this token is also another entry's; give each its own".into()));
            }
            grants.push(Grant { token, user: it.user.clone(), role: it.role });
        }
        Ok(Access::new(grants))
    }
}

impl Token {
    /// The token itself. `env` gives the value of an environment variable. The error is one sentence without the token.
    pub fn reveal(&self, env: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let token = match self {
            Self::Plain(token) => token.clone(),
            Self::Env(name) => env(name)
                .ok_or_else(|| format!("the environment variable {name} is not set; it has to hold a token"))?,
        };
        if token.len() < TOKEN_CHARS_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let rule = format!("a token needs at least {TOKEN_CHARS_MIN} visible ASCII characters and no others");
            return Err(match self {
                Self::Plain(_) => rule,
                Self::Env(name) => format!("the environment variable {name}: {rule}"),
            });
        }
        Ok(token)
    }
}

/// A message and the bytes of the file it speaks of.
type Fault = (Range<usize>, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: Option<Spanned<String>>,
    data: Option<PathBuf>,
    queues: Option<PathBuf>,
    synchronous: Option<RawSynchronous>,
    keep_ended_days: Option<Spanned<i64>>,
    #[serde(default)]
    token: Vec<Spanned<RawToken>>,
    processor: Option<RawProcessor>,
    broker: Option<Spanned<RawBroker>>,
    #[serde(default)]
    handlers: toml::Table,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawSynchronous {
    Full,
    Normal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToken {
    token: Option<String>,
    token_env: Option<String>,
    user: String,
    role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProcessor {
    slots: Option<Spanned<i64>>,
    queues: Option<Vec<String>>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBroker {
    url: String,
    token: Option<String>,
    token_env: Option<String>,
}

fn line_of(text: &str, byte: usize) -> usize {
    text[..byte.min(text.len())].matches('\n').count() + 1
}

fn listen(raw: Spanned<String>) -> Result<SocketAddr, Fault> {
    let rule = format!("listen is {:?}; allowed: an address and a port, such as \"127.0.0.1:8480\"", raw.get_ref());
    raw.get_ref().parse().map_err(|_| (raw.span(), rule))
}

fn user_token(raw: Spanned<RawToken>, line: usize) -> Result<UserToken, Fault> {
    let span = raw.span();
    let RawToken { token, token_env, user, role } = raw.into_inner();
    if !(1..=USER_CHARS_MAX).contains(&user.chars().count()) {
        return Err((span, format!("user has to have 1 to {USER_CHARS_MAX} characters")));
    }
    let token = one_of(token, token_env, span.clone())?;
    let token =
        token.ok_or_else(|| (span, "give a token, or token_env: the environment variable that holds it".into()))?;
    Ok(UserToken { token, user, role, line })
}

fn one_of(token: Option<String>, env: Option<String>, span: Range<usize>) -> Result<Option<Token>, Fault> {
    match (token, env) {
        (Some(_), Some(_)) => Err((span, "there are a token and a token_env; give one of them".into())),
        (token, env) => Ok(token.map(Token::Plain).or(env.map(Token::Env))),
    }
}

fn processor(raw: RawProcessor) -> Result<Processor, Fault> {
    let default = Processor::default();
    let slots = match raw.slots {
        None => default.slots,
        Some(slots) => within(&slots, "slots", SLOTS_MAX)?,
    };
    Ok(Processor { slots, queues: raw.queues, name: raw.name })
}

/// A whole number from 1 to `max`.
fn within(raw: &Spanned<i64>, name: &str, max: i64) -> Result<u32, Fault> {
    let legal = u32::try_from(*raw.get_ref()).ok().filter(|_| (1..=max).contains(raw.get_ref()));
    legal.ok_or_else(|| (raw.span(), format!("{name} is {}; allowed: 1 to {max}", raw.get_ref())))
}

fn broker(raw: Spanned<RawBroker>) -> Result<Broker, Fault> {
    let span = raw.span();
    let RawBroker { url, token, token_env } = raw.into_inner();
    let url = broker_url(&url).map_err(|rule| (span.clone(), rule))?;
    Ok(Broker { url, token: one_of(token, token_env, span)? })
}

/// The broker's base URL as the roles take it, or what is wrong with `url`: what they say to the broker, a token among it,
/// is not encrypted, so a URL that promises it would be is refused.
pub fn broker_url(url: &str) -> Result<String, String> {
    let host = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let host = host.filter(|host| !host.is_empty() && !host.contains('/'));
    let rule = || format!("url is {url:?}; allowed: http://host:port, without a path");
    host.map(|host| format!("http://{host}")).ok_or_else(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a-secret-of-some-length";

    #[test]
    fn an_empty_file_is_the_default() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8480");
        assert_eq!(config.data, PathBuf::from("./kew-data"));
        assert!(!config.access(|_| None).unwrap().has_tokens());
    }

    #[test]
    fn debug_shows_no_token() {
        let text = format!(
            "[[token]]\ntoken = \"{SECRET}\"\nuser = \"ann\"\nrole = \"operator\"\n[broker]\nurl = \"http://b:1\"\ntoken = \"{SECRET}\"\n"
        );
        let config = Config::parse(&text).unwrap();
        let shown = format!("{config:?} {:?}", config.access(|_| None).unwrap());
        assert!(shown.contains("ann") && !shown.contains(SECRET), "{shown}");
    }

    #[test]
    fn a_token_may_come_from_the_environment() {
        let config = Config::parse("[[token]]\ntoken_env = \"T\"\nuser = \"ann\"\nrole = \"user\"\n").unwrap();
        assert!(config.access(|name| (name == "T").then(|| SECRET.into())).unwrap().has_tokens());
        assert!(config.access(|_| None).unwrap_err().to_string().contains("T is not set"));
    }

    #[test]
    fn an_error_names_the_line_and_what_is_allowed() {
        let faults = [
            ("listen = \"here\"", 1, "127.0.0.1:8480"),
            ("\nport = 1", 2, "unknown field"),
            ("synchronous = \"off\"", 1, "`full` or `normal`"),
            ("\nkeep_ended_days = 0", 2, "keep_ended_days is 0; allowed: 1 to 36500"),
            ("\n[processor]\nslots = 0", 3, "1 to 1000"),
            ("[broker]\nurl = \"https://b\"", 1, "http://host:port"),
            ("[[token]]\nuser = \"a\"\nrole = \"user\"", 1, "give a token"),
            ("[[token]]\ntoken = \"x\"\nuser = \"a\"\nrole = \"boss\"", 4, "`operator`"),
        ];
        for (text, line, words) in faults {
            let error = Config::parse(text).unwrap_err();
            assert!(error.line == line && error.message.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_short_token_is_refused_without_showing_it() {
        let config = Config::parse("\n[[token]]\ntoken = \"tiny\"\nuser = \"a\"\nrole = \"user\"\n").unwrap();
        let error = config.access(|_| None).unwrap_err();
        assert!(error.line == 2 && !error.message.contains("tiny"), "{error}");
    }
}

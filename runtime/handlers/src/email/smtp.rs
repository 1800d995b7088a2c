//! SMTP: a few connections a batch, one transaction a mail.
//!
//! The connections of a batch work side by side, each taking the next mail that is left: so a slow server has not the
//! timeout's time for all of them one after the other, and a connection that breaks costs the one mail that was on it.
//!
//! The commands are given one by one, because lettre's own `send` closes the connection on a refused recipient, and
//! a refusal must cost nobody else their mail. A mail whose acceptance was not heard fails, though it may have been
//! sent: it will be tried again under the same `Message-ID`.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{FuturesUnordered, StreamExt};
use kew_runtime::processor::{Failure, Report};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use serde_json::json;

use super::{Config, Mail, Security};
use crate::{Secret, http, payload};

/// The most connections of one batch. Chosen: a hundred mails of half a second each go out within the ten seconds that the
/// batch has, and it is far below the 50 that Postfix takes of one client.
const CONNECTIONS_MAX: usize = 8;

/// How many mails there are for each connection at least: fewer are not worth another greeting and its TLS.
const MAILS_PER_CONNECTION: usize = 4;

/// An SMTP server and how to speak to it.
#[derive(Debug)]
pub(super) struct Server {
    host: String,
    port: u16,
    security: Security,
    hello: ClientId,
    login: Option<Login>,
}

#[derive(Debug)]
struct Login {
    username: String,
    password: Secret,
}

impl Server {
    pub(super) fn new(config: &Config, host: &str) -> Result<Self, String> {
        let default_port = match config.security {
            Security::Starttls => 587,
            Security::Tls => 465,
            Security::None => 25,
        };
        Ok(Self {
            host: host.to_owned(),
            port: config.port.unwrap_or(default_port),
            security: config.security,
            hello: ClientId::Domain(config.hello.clone()),
            login: login(config, host)?,
        })
    }

    /// Sends `mails` and reports each as the server accepts or refuses it. An error is the fate of the rest.
    pub(super) async fn send(&self, mails: &[Mail<'_>], report: &Report) -> Result<(), Failure> {
        let left = Left::new(mails);
        let connections = mails.len().div_ceil(MAILS_PER_CONNECTION).min(CONNECTIONS_MAX);
        let mut working: FuturesUnordered<_> = (0..connections).map(|_| self.work(&left, report)).collect();
        let mut broken = None;
        while let Some(ended) = working.next().await {
            broken = broken.or(ended.err());
            if left.is_settled() {
                // A connection that is still being made has nothing to do any more.
                return Ok(());
            }
        }
        broken.map_or(Ok(()), Err)
    }

    /// Opens a connection and sends what is left over it, mail by mail. A mail on a connection that breaks is not reported.
    async fn work(&self, left: &Left<'_>, report: &Report) -> Result<(), Failure> {
        let unreachable = |e| self.failure("could not connect to", &e);
        let lost = |e| self.failure("lost the connection to", &e);
        let mut connection = self.connect().await.map_err(unreachable)?;
        let utf8 = connection.server_info().supports_feature(Extension::SmtpUtfEight);
        while let Some(mail) = left.take() {
            if !utf8 && !is_ascii(mail) {
                let why = "the address is not ASCII, and the mail server cannot take such (SMTPUTF8)";
                report.job(mail.id, Err(Failure::new(why)));
                left.settle();
                continue;
            }
            let sent = transact(&mut connection, mail).await;
            let refused = sent.as_ref().is_err_and(is_refusal);
            let outcome = match sent {
                Ok(said) => Ok(payload::result(&json!({ "accepted": said }))),
                Err(e) if refused => Err(self.failure("was refused by", &e)),
                Err(e) => return Err(lost(e)),
            };
            report.job(mail.id, outcome);
            left.settle();
            if refused {
                connection.command(Rset).await.map_err(lost)?;
            }
        }
        // All is settled; how the server takes its leave changes nothing.
        let _ = connection.command(Quit).await;
        Ok(())
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let at_once = match self.security {
            Security::Tls => Some(self.tls()?),
            Security::Starttls | Security::None => None,
        };
        let address = (self.host.as_str(), self.port);
        let opened = AsyncSmtpConnection::connect_tokio1(address, None, &self.hello, at_once, None);
        let mut connection = opened.await?;
        if self.security == Security::Starttls {
            connection.starttls(self.tls()?, &self.hello).await?;
        }
        if let Some(Login { username, password }) = &self.login {
            let credentials = Credentials::new(username.clone(), password.expose().to_owned());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await?;
        }
        Ok(connection)
    }

    fn tls(&self) -> Result<TlsParameters, SmtpError> {
        TlsParameters::new_rustls(self.host.clone())
    }

    fn failure(&self, what: &str, error: &SmtpError) -> Failure {
        let text = format!("{what} the mail server {}:{}: {error}", self.host, self.port);
        Failure::new(self.login.as_ref().map_or(text.clone(), |l| l.password.redact(&text)))
    }
}

/// The mails of a batch that no connection has taken yet, and how many have their outcome.
struct Left<'a> {
    mails: &'a [Mail<'a>],
    taken: AtomicUsize,
    settled: AtomicUsize,
}

impl<'a> Left<'a> {
    fn new(mails: &'a [Mail<'a>]) -> Self {
        Self { mails, taken: AtomicUsize::new(0), settled: AtomicUsize::new(0) }
    }

    fn take(&self) -> Option<&'a Mail<'a>> {
        self.mails.get(self.taken.fetch_add(1, Ordering::Relaxed))
    }

    fn settle(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }

    fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed) == self.mails.len()
    }
}

fn login(config: &Config, host: &str) -> Result<Option<Login>, String> {
    let Some(username) = config.username.clone() else {
        return Ok(None);
    };
    if config.security == Security::None && !http::is_loopback(host) {
        return Err("security = \"none\" would send the password in the clear".into());
    }
    let password = Secret::resolve(config.password.as_ref(), &config.password_env);
    let password = password
        .ok_or_else(|| format!("username is set, but neither password nor the variable {}", config.password_env))?;
    Ok(Some(Login { username, password }))
}

/// One mail: envelope, then content. Answers what the server said on accepting it. The content is ASCII: lettre
/// encodes all else.
async fn transact(connection: &mut AsyncSmtpConnection, mail: &Mail<'_>) -> Result<String, SmtpError> {
    let envelope = mail.message.envelope();
    let parameters = if is_ascii(mail) { vec![] } else { vec![MailParameter::SmtpUtfEight] };
    connection.command(MailFrom::new(envelope.from().cloned(), parameters)).await?;
    for recipient in envelope.to() {
        connection.command(Rcpt::new(recipient.clone(), vec![])).await?;
    }
    connection.command(Data).await?;
    let accepted = connection.message(&mail.message.formatted()).await?;
    Ok(accepted.message().collect::<Vec<_>>().join(" "))
}

/// Whether both addresses are ASCII; others need a server that knows SMTPUTF8 (RFC 6531).
fn is_ascii(mail: &Mail<'_>) -> bool {
    let envelope = mail.message.envelope();
    envelope.to().iter().chain(envelope.from()).all(|a| AsRef::<str>::as_ref(a).is_ascii())
}

/// Whether the server answered no to this mail, rather than left. 421 is its word for leaving (RFC 5321, 3.8).
fn is_refusal(error: &SmtpError) -> bool {
    error.status().is_some_and(|code| u16::from(code) != 421)
}

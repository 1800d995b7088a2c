//! E-mail: a batch goes out over a few SMTP connections, and each mail's outcome is reported as the server gives it.
//!
//! One job is one mail to one recipient. A mail's `Message-ID` comes from its job, so a mailbox that gets a repeated
//! delivery can know it. Without a server, mails become `.eml` files that any mail program opens.

use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use kew_runtime::processor::{Delivery, Failure, Handler, Report};
use lettre::Message;
use lettre::message::Mailbox;
use serde::Deserialize;
use serde_json::json;

use crate::clock::{self, Now};
use crate::{Error, Secret, file, payload};

mod message;
mod smtp;

/// The section `[handlers.email]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who every mail is from, as in `Résumés <jobs@example.com>`.
    pub from: String,
    /// The SMTP server. None by default: mails become files in `<data>/mail/`.
    pub host: Option<String>,
    /// Its port. By default 587 with STARTTLS, 465 with TLS, 25 with neither.
    pub port: Option<u16>,
    /// How the connection is kept private.
    pub security: Security,
    /// The user name to log in with. None by default: no login.
    pub username: Option<String>,
    /// The password. Better left to the environment.
    pub password: Option<Secret>,
    /// The environment variable that holds the password where `password` does not.
    pub password_env: String,
    /// The name this machine gives itself to the server.
    pub hello: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            from: "Kew <kew@localhost>".into(),
            host: None,
            port: None,
            security: Security::Starttls,
            username: None,
            password: None,
            password_env: "KEW_SMTP_PASSWORD".into(),
            hello: "localhost".into(),
        }
    }
}

/// How the connection to the SMTP server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Plain, then upgraded before anything is sent; a server that cannot do it gets nothing.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all. A password is then sent to this machine only.
    None,
}

/// The handler of `email_notification`.
#[derive(Debug)]
pub struct Mailer {
    from: Mailbox,
    target: Target,
    now: Now,
}

#[derive(Debug)]
enum Target {
    Folder(PathBuf),
    Server(smtp::Server),
}

/// A mail that is ready, and the job it came with.
struct Mail<'a> {
    id: &'a str,
    message: Message,
}

impl Mailer {
    /// Takes the server that `config` names, or the folder `mail` in `data`.
    pub fn new(config: &Config, data: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::new("[handlers.email]", reason);
        let from = config.from.parse().map_err(|e| wrong(format!("from {:?}: {e}", config.from)))?;
        let target = match &config.host {
            Some(host) => Target::Server(smtp::Server::new(config, host).map_err(wrong)?),
            None => {
                let dir = data.join("mail");
                std::fs::create_dir_all(&dir).map_err(|e| wrong(format!("{}: {e}", dir.display())))?;
                Target::Folder(dir)
            }
        };
        Ok(Self { from, target, now: clock::now })
    }

    async fn mail(&self, delivery: &Delivery, report: &Report) -> Result<(), Failure> {
        let mut mails = Vec::with_capacity(delivery.jobs.len());
        for job in &delivery.jobs {
            match message::of(job, &self.from, (self.now)()) {
                Ok(message) => mails.push(Mail { id: &job.id, message }),
                Err(failure) => report.job(&job.id, Err(failure)),
            }
        }
        match &self.target {
            _ if mails.is_empty() => Ok(()),
            Target::Server(server) => server.send(&mails, report).await,
            Target::Folder(dir) => {
                for mail in &mails {
                    report.job(mail.id, keep(dir, mail));
                    // Each waits for the disk: here the timeout can end the rest.
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        }
    }
}

fn keep(dir: &Path, mail: &Mail<'_>) -> kew_runtime::processor::Outcome {
    let path = file::write(dir, mail.id, "eml", &mail.message.formatted())?;
    Ok(payload::result(&json!({ "path": path })))
}

impl Handler for Mailer {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.mail(delivery, report))
    }
}

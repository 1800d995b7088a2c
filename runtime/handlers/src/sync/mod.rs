//! Data sync: the newest payload of an entity replaces the one before, here or at another system, never the reverse.
//!
//! Versions decide, not arrival: a delivery that comes late, or twice, changes nothing that is newer. The payload is
//! any JSON object and is passed on byte for byte.

use std::path::Path;

use futures_util::future::BoxFuture;
use kew_runtime::processor::{Delivery, Failure, Handler, Job, Outcome, Report};
use serde::{Deserialize, Serialize};

use crate::{Error, Secret, clock, payload};

mod local;
mod remote;

/// The section `[handlers.sync]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The service that takes `PUT {base_url}/{entity key}`. None by default: `<data>/sync.sqlite` takes them.
    pub base_url: Option<String>,
    /// A bearer token for it. Better left to the environment.
    pub token: Option<Secret>,
    /// The environment variable that holds the token where `token` does not.
    pub token_env: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { base_url: None, token: None, token_env: "KEW_SYNC_TOKEN".into() }
    }
}

/// What became of a payload.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Synced {
    /// It is the entity's value now.
    Version(u64),
    /// A newer one was there before it.
    SupersededBy(u64),
}

/// The handler of `data_sync`.
#[derive(Debug)]
pub struct Entities {
    target: Target,
}

#[derive(Debug)]
enum Target {
    Local(local::Table),
    Remote(remote::Service),
}

impl Entities {
    /// Opens the table in `data`, or takes the service that `config` names.
    pub fn new(config: &Config, data: &Path) -> Result<Self, Error> {
        let target = match &config.base_url {
            None => local::Table::open(&data.join("sync.sqlite"), clock::now).map(Target::Local),
            Some(url) => {
                let token = Secret::resolve(config.token.as_ref(), &config.token_env);
                remote::Service::new(url, token).map(Target::Remote)
            }
        };
        Ok(Self { target: target.map_err(|e| Error::new("[handlers.sync]", e))? })
    }

    async fn sync(&self, job: &Job) -> Outcome {
        let key = key_of(job)?;
        let synced = match &self.target {
            Target::Local(table) => table.put(key, job.version, job.payload.get()),
            Target::Remote(service) => service.put(key, job).await,
        };
        synced.map(|s| payload::result(&s))
    }
}

fn key_of(job: &Job) -> Result<&str, Failure> {
    if !job.payload.get().trim_start().starts_with('{') {
        return Err(Failure::new("the payload is wrong: an entity is a JSON object"));
    }
    let key = job.key.as_deref().filter(|k| !k.is_empty());
    key.ok_or_else(|| Failure::new("the job has no entity key, so there is nothing to sync it to"))
}

impl Handler for Entities {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            for job in &delivery.jobs {
                report.job(&job.id, self.sync(job).await);
            }
            Ok(())
        })
    }
}

//! Analytics: a batch of data points is stored as one, each point once by its job's id.
//!
//! A point has the shape that Workers Analytics Engine takes: up to 20 blobs, up to 20 doubles, one index. Its
//! service has no write over HTTP, only a binding inside a Worker; so points go to a relay that the operator puts
//! there, or to a table in the data folder.

use std::path::Path;

use futures_util::future::BoxFuture;
use kew_runtime::processor::{Delivery, Failure, Handler, Job, Report};
use serde::{Deserialize, Serialize};

use crate::{Error, Secret, clock, payload};

mod local;
mod relay;

/// The section `[handlers.analytics]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where batches are POSTed to. None by default: `<data>/analytics.sqlite` takes them.
    pub base_url: Option<String>,
    /// A bearer token for it. Better left to the environment.
    pub token: Option<Secret>,
    /// The environment variable that holds the token where `token` does not.
    pub token_env: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { base_url: None, token: None, token_env: "KEW_ANALYTICS_TOKEN".into() }
    }
}

// The limits of one data point, from Cloudflare's documentation of Workers Analytics Engine.
const BLOBS_MAX: usize = 20;
const BLOBS_BYTES_MAX: usize = 16 << 10;
const DOUBLES_MAX: usize = 20;
const INDEXES_MAX: usize = 1;
const INDEX_BYTES_MAX: usize = 96;

/// Twice what the largest valid point takes as JSON without escapes.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// A data point, as Workers Analytics Engine takes it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Point {
    blobs: Vec<Option<String>>,
    doubles: Vec<f64>,
    indexes: Vec<String>,
}

impl Point {
    fn of(job: &Job) -> Result<Self, Failure> {
        let point: Self = payload::parse(job, PAYLOAD_BYTES_MAX)?;
        let blob_bytes: usize = point.blobs.iter().flatten().map(String::len).sum();
        let index_bytes = point.indexes.iter().map(String::len).max().unwrap_or(0);
        at_most("blobs", point.blobs.len(), BLOBS_MAX)?;
        at_most("bytes in its blobs", blob_bytes, BLOBS_BYTES_MAX)?;
        at_most("doubles", point.doubles.len(), DOUBLES_MAX)?;
        at_most("indexes", point.indexes.len(), INDEXES_MAX)?;
        at_most("bytes in its index", index_bytes, INDEX_BYTES_MAX)?;
        Ok(point)
    }
}

fn at_most(what: &str, found: usize, max: usize) -> Result<(), Failure> {
    if found <= max {
        return Ok(());
    }
    Err(Failure::new(format!("the data point has {found} {what}, and at most {max} are allowed")))
}

/// A point and the job it came with, whose id makes it storable once.
#[derive(Debug, Serialize)]
struct Event<'a> {
    id: &'a str,
    #[serde(flatten)]
    point: Point,
}

/// The handler of `analytics_processing`.
#[derive(Debug)]
pub struct Events {
    target: Target,
}

#[derive(Debug)]
enum Target {
    Local(local::Table),
    Relay(relay::Relay),
}

impl Events {
    /// Opens the table in `data`, or takes the relay that `config` names.
    pub fn new(config: &Config, data: &Path) -> Result<Self, Error> {
        let target = match &config.base_url {
            None => local::Table::open(&data.join("analytics.sqlite"), clock::now).map(Target::Local),
            Some(url) => {
                let token = Secret::resolve(config.token.as_ref(), &config.token_env);
                relay::Relay::new(url, token).map(Target::Relay)
            }
        };
        Ok(Self { target: target.map_err(|e| Error::new("[handlers.analytics]", e))? })
    }

    async fn store(&self, delivery: &Delivery, report: &Report) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(delivery.jobs.len());
        for job in &delivery.jobs {
            match Point::of(job) {
                Ok(point) => events.push(Event { id: &job.id, point }),
                // A bad point fails alone, and now: it must not keep the good ones from being stored.
                Err(failure) => report.job(&job.id, Err(failure)),
            }
        }
        match &self.target {
            _ if events.is_empty() => Ok(()),
            Target::Local(table) => table.store(&delivery.batch, &events),
            Target::Relay(relay) => relay.store(&delivery.batch, &events).await,
        }
    }
}

impl Handler for Events {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.store(delivery, report))
    }
}

//! The work itself: five handlers, each real, each with a default that needs nothing but a folder.
//!
//! `handlers` makes them from a `Config`. The processor knows them by the queue they serve and by the `Handler`
//! trait alone; none of them knows of queues, leases or retries. Every handler answers a repeated delivery of the
//! same job as it answered the first, because a queue that never loses a job must sometimes repeat one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kew_runtime::processor::Handler;
use serde::Deserialize;

pub mod ai;
pub mod analytics;
mod clock;
pub mod email;
mod file;
mod http;
mod payload;
pub mod pdf;
mod secret;
pub mod sync;

pub use secret::Secret;

/// How each handler works. Every section may be left out, and so may every key in it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `pdf_generation`: résumés become PDF files in `<data>/pdf/`.
    pub pdf: pdf::Config,
    /// `ai_enhancement`: text is rewritten by an OpenAI-compatible server. It has no default: its jobs fail until
    /// a server is named.
    pub ai: ai::Config,
    /// `email_notification`: mail goes to an SMTP server, or without one to files in `<data>/mail/`.
    pub email: email::Config,
    /// `data_sync`: entities go to an HTTP service, or without one to `<data>/sync.sqlite`.
    pub sync: sync::Config,
    /// `analytics_processing`: data points go to a relay, or without one to `<data>/analytics.sqlite`.
    pub analytics: analytics::Config,
}

/// A handler that cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
#[error("set up {section}: {reason}")]
pub struct Error {
    /// The section as the file of `kew serve` names it, such as `[handlers.ai]`, or what else is at fault.
    pub section: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Error {
    fn new(section: &'static str, reason: impl ToString) -> Self {
        Self { section, reason: reason.to_string() }
    }
}

/// The five handlers by the name of the queue they serve. `data` is the folder that takes what they make; it is
/// created where it is missing.
pub fn handlers(config: &Config, data: &Path) -> Result<BTreeMap<String, Arc<dyn Handler>>, Error> {
    let folder = |e: std::io::Error| Error::new("the folder data", format!("{}: {e}", data.display()));
    std::fs::create_dir_all(data).map_err(folder)?;
    let pdf: Arc<dyn Handler> = Arc::new(pdf::Pdfs::new(&config.pdf, data)?);
    let ai: Arc<dyn Handler> = Arc::new(ai::Rewriter::new(&config.ai)?);
    let email: Arc<dyn Handler> = Arc::new(email::Mailer::new(&config.email, data)?);
    let sync: Arc<dyn Handler> = Arc::new(sync::Entities::new(&config.sync, data)?);
    let analytics: Arc<dyn Handler> = Arc::new(analytics::Events::new(&config.analytics, data)?);
    let named = [
        ("pdf_generation", pdf),
        ("ai_enhancement", ai),
        ("email_notification", email),
        ("data_sync", sync),
        ("analytics_processing", analytics),
    ];
    Ok(named.into_iter().map(|(queue, handler)| (queue.to_owned(), handler)).collect())
}

//! What `kew serve` says when it is up: where it listens, where its data is, and a line to try.

use std::net::SocketAddr;

use super::Role;
use super::setup::Setup;
use crate::report;

/// Prints it, once everything is ready.
pub(super) fn print(setup: &Setup, listens: Option<SocketAddr>) {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = match listens {
        Some(address) => format!("kew {version} listens on http://{address}\n"),
        None => format!("kew {version} processes jobs\n"),
    };
    if let Some((url, _)) = &setup.broker {
        text += &format!("  broker  {url}\n");
    }
    if matches!(setup.role, Role::All | Role::Broker) {
        text += &format!("  data    {}\n", setup.store().display());
    }
    let names: Vec<_> = setup.queues.iter().map(|(name, _)| name).collect();
    text += &format!("  queues  {}\n", names.join(", "));
    if let (Role::All, Some(address)) = (setup.role, listens) {
        text += &format!("  try     {}\n", try_it(setup, address));
    }
    text += "  stop    Ctrl-C drains and stops\n";
    report::print(&text);
}

fn try_it(setup: &Setup, address: SocketAddr) -> String {
    let token = if setup.access.has_tokens() { " -H 'Authorization: Bearer TOKEN'" } else { "" };
    let job = r#"{"type":"pdf_generation","payload":{"resume":{"basics":{"name":"Ada Lovelace"}}}}"#;
    format!("curl{token} http://{address}/v1/jobs --json '{job}'")
}

//! The simulated hosts, one module each: the four roles of the runtime as they are, the users, and the world outside.

pub mod api;
pub mod broker;
mod commit;
pub mod notifier;
pub mod outside;
pub mod processor;
pub mod users;

use std::net::SocketAddr;
use std::sync::Arc;

use kew_runtime::net::Net;

/// The port that every serving host listens on.
pub const PORT: u16 = 80;

/// What a host's software ends with; it ends only when its host dies.
pub type Result = turmoil::Result;

/// Serves `router` on this host's network until the host dies.
pub async fn serve(net: &dyn Net, router: axum::Router) -> Result {
    let listener = net.bind(SocketAddr::from(([0, 0, 0, 0], PORT))).await?;
    Ok(kew_runtime::api::serve(listener, router, std::future::pending()).await?)
}

/// The address of a serving host.
pub fn url(host: &str) -> String {
    format!("http://{host}:{PORT}")
}

/// The network as a value that the runtime takes.
pub type SharedNet = Arc<dyn Net>;

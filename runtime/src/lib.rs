//! The reference job queue: what people run, and what the simulator tries.
//!
//! Four roles talk to each other, by direct call within one process and over HTTP between processes: the [`api`] takes
//! jobs and shows their status, the [`broker`] owns the queues and their [`store`], the [`processor`] pulls and runs
//! handlers, the notifier ([`notify`]) tells users how their jobs ended.
//!
//! Time, ids, randomness and the network come in as arguments ([`clock`], [`ids`], [`net`]). Nothing here knows that it
//! is being tested.

pub mod api;
pub mod broker;
pub mod clock;
pub mod config;
pub mod ids;
pub mod net;
pub mod notify;
pub mod processor;
pub mod store;
pub mod timestamp;

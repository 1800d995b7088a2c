//! The API, the notifier and the far broker against a broker that holds its jobs in memory: what clients get to see,
//! not what the queue promises. `cargo test -p kew-runtime --test api`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod access;
mod cloudflare;
mod events;
mod fake;
mod jobs;
mod operators;
mod remote;
mod serve;
mod world;

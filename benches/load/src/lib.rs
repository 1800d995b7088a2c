//! Puts the reference queue under load in this process, and beside it the least that a durable SQLite queue has to do.
//!
//! - `work` names what is done, `measure` says how a measurement is written.
//! - `kew` does it with the runtime's own roles, `paths` with each of the five queues, `http` over
//!   a socket, `limit` with SQLite and nothing around it.
//! - `latency` is the time from a create to its start on an idle queue, `growth` what a backlog costs, `soak` what hours
//!   of load leave behind, `disk` how fast the disk syncs.
//! - `record` writes a load down, so that the checkers can judge it.

pub mod disk;
pub mod growth;
pub mod http;
pub mod kew;
pub mod latency;
pub mod limit;
pub mod measure;
pub mod paths;
pub mod plot;
pub mod record;
pub mod soak;
pub mod work;

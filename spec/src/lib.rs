//! What must hold of a job queue, and how to tell whether it did.
//!
//! Read in this order: [`queues`] (policies as data), [`lifecycle`] (the four statuses), [`clause`] (the promises),
//! [`scenario`] (what is played), [`history`] (what was seen), [`check`] (the checkers), [`verdict`] (the answer), [`causes`] (why
//! jobs were delivered again), [`coverage`] (what was reached).
//!
//! This crate does no I/O of its own, has no clock, no randomness and no async, and knows no queue's code.

pub mod causes;
pub mod check;
pub mod clause;
pub mod coverage;
pub mod history;
pub mod lifecycle;
pub mod queues;
pub mod scenario;
pub mod verdict;

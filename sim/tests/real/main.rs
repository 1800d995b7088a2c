//! The simulator against the machine it stands for: small programs, each written once, run on the simulated network and
//! disk and on the operating system's own. What the machine does must be among the outcomes that the simulator has, and
//! those must be legal ones. Only this test binary touches the machine: loopback, a folder of temporary files, and itself
//! as a child process that can be killed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod child;
mod disk;
mod disk_arms;
mod network;
mod network_arms;
mod peer;

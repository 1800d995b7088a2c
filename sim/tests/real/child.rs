//! This test binary as a child process of itself: the peers and writers that the machine kills. It knows how to start,
//! to hear and to kill a child, and nothing of what the child does.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::process::{self, ChildStdout, Command, Stdio};
use std::str::FromStr;

use super::{disk_arms, network_arms};

/// Tells a process of this binary what to be, in place of a test run.
const ROLE: &str = "KEW_TEST_ROLE";

/// A running child. It dies with this value.
pub(crate) struct Child {
    process: process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a child in the role `name`, about `subject`.
    pub(crate) fn start(name: &str, subject: &str) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child::a_process_plays_the_role_that_it_is_given", "--nocapture"])
            .env(ROLE, format!("{name} {subject}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Waits for the next line that begins with `word`, and returns what follows; nothing once the child has ended.
    pub(crate) fn hear<T: FromStr>(&mut self, word: &str) -> Option<T> {
        let lines = self.lines.by_ref().map_while(Result::ok);
        lines.filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).next()
    }

    /// Kills the child with SIGKILL and waits until it is gone. What it said before can still be heard.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have been killed before, and then both fail.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_process_plays_the_role_that_it_is_given() {
    // The test harness leaves its line unfinished.
    println!();
    let Ok(role) = env::var(ROLE) else {
        assert_eq!(Child::start("speaker", "17").hear("heard "), Some(17));
        return;
    };
    match role.split_once(' ').unwrap() {
        ("speaker", subject) => println!("heard {subject}"),
        ("peer", subject) => network_arms::play_peer(subject),
        ("writer", subject) => disk_arms::play_writer(subject),
        (name, _) => panic!("there is no role {name:?}"),
    }
}

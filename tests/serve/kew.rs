//! A `kew serve` of its own: started on a free port, told to stop or killed, gone at the latest with its test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// A process that listens.
pub(crate) struct Kew {
    pub(crate) address: SocketAddr,
    child: Child,
    log: PathBuf,
    /// Kept open: a process that prints must find somebody who reads.
    _printed: BufReader<ChildStdout>,
}

impl Kew {
    /// Starts one with the store `data` in `folder`, and returns when it says where it listens.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let log = folder.join("serve.log");
        let said = File::create(&log).expect("the folder takes a file");
        let mut child = command(folder, arguments).stdout(Stdio::piped()).stderr(said).spawn().expect("kew runs");
        let mut printed = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut line = String::new();
        printed.read_line(&mut line).expect("what it prints is text");
        let address = line.trim_end().rsplit_once("http://").and_then(|(_, address)| address.parse().ok());
        let Some(address) = address else {
            panic!("kew serve printed {line:?} and said:\n{}", read(&log));
        };
        Self { address, child, log, _printed: printed }
    }

    /// Presses Ctrl-C and waits for its end: the exit code, and what it said on the way.
    pub(crate) fn interrupt(mut self) -> (Option<i32>, String) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &process]).status().expect("kill runs");
        assert!(sent.success(), "process {process} takes a signal");
        let ended = self.child.wait().expect("it ends");
        (ended.code(), read(&self.log))
    }

    /// Kills it without a warning (SIGKILL), and returns when it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it takes a signal");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Kew {
    fn drop(&mut self) {
        // It may be gone already, as it should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts one that is to refuse at once: its exit code and what it said.
pub(crate) fn refused(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command(folder, arguments).output().expect("kew runs");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "who refuses does not say that it listens");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// A process that only pulls from a broker elsewhere; gone with its test.
pub(crate) struct Puller(Child);

impl Puller {
    /// Starts one with its files in `folder`.
    pub(crate) fn start(folder: &Path, broker: &str) -> Self {
        let mut kew = command(folder, &["--role", "processor", "--broker", broker]);
        Self(kew.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kew runs"))
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the store and the handlers' files are.
pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut kew = Command::new(env!("CARGO_BIN_EXE_kew"));
    kew.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data(folder)).args(arguments).stdin(Stdio::null());
    kew
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).expect("what it says is text")
}

//! A target: a folder that tells how a system's adapter is installed and started. `verify/targets/` holds those that
//! Kew comes with; a folder anywhere else does as well.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

/// The file that makes a folder a target.
pub const FILE: &str = "target.toml";

/// How long a service may take to accept a connection before it counts as not running.
const CONNECT_MS: u64 = 500;

/// One target, as its file states it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    /// The folder.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The system's own name.
    pub title: String,
    /// One line about it.
    pub about: String,
    /// Where its documents are.
    #[serde(default)]
    pub site: Option<String>,
    /// Whether workers are processes of their own.
    pub workers: Workers,
    /// The clock that it goes by.
    #[serde(default)]
    pub clock: Clock,
    /// The backing server's address.
    #[serde(default)]
    pub server: Option<String>,
    /// Which kind of server that is: `redis`, `postgres`, `rabbitmq`, `nats`.
    #[serde(default)]
    pub service: Option<String>,
    /// Starts the adapter, in the folder. `{kew}` is this program.
    pub command: Vec<String>,
    /// What the adapter's environment has beside the harness's own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Commands that install it, run in the folder one after another.
    #[serde(default)]
    pub install: Vec<Vec<String>>,
    /// Files that are there once it is installed.
    #[serde(default)]
    pub installed: Vec<PathBuf>,
}

/// Where the workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workers {
    /// Each in a process of its own, which can be killed and paused.
    Processes,
    /// All in the process that enqueues.
    Inside,
}

/// The clock that a target goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// That of the machine: it is played in real time.
    #[default]
    Machine,
    /// One that stands still until the adapter moves it: it is played in virtual time.
    Virtual,
}

/// Whether a target can be run here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It can.
    Yes,
    /// It is to be installed first.
    NotInstalled,
    /// Its server does not answer.
    NoServer(String),
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {why}", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    why: String,
}

impl Target {
    /// Reads the target in `folder`.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let fault = |what, why: String| Error { what, path: path.clone(), why };
        let text = fs::read_to_string(&path).map_err(|error| fault("read", error.to_string()))?;
        let mut target: Self = toml::from_str(&text).map_err(|error| fault("understand", error.to_string()))?;
        target.folder = fs::canonicalize(folder).map_err(|error| fault("find", error.to_string()))?;
        target.name = target.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if target.command.is_empty() {
            return Err(fault("use", "`command` is empty: state how the adapter is started".into()));
        }
        if target.clock == Clock::Virtual && target.workers != Workers::Inside {
            let why = "a clock that is moved needs `workers = \"inside\"`: it cannot stand still in several processes";
            return Err(fault("use", why.into()));
        }
        Ok(target)
    }

    /// All targets below `root`, by name.
    pub fn all(root: &Path) -> Result<Vec<Self>, Error> {
        let fault = |error: std::io::Error| Error { what: "list", path: root.into(), why: error.to_string() };
        let mut folders = Vec::new();
        for entry in fs::read_dir(root).map_err(fault)? {
            let folder = entry.map_err(fault)?.path();
            if folder.join(FILE).is_file() {
                folders.push(folder);
            }
        }
        folders.sort();
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    /// Whether all that the installation leaves is there.
    pub fn is_installed(&self) -> bool {
        self.installed.iter().all(|file| self.folder.join(file).exists())
    }

    /// Whether it can be run here and now.
    pub fn ready(&self) -> Ready {
        if !self.is_installed() {
            return Ready::NotInstalled;
        }
        match &self.server {
            Some(server) if !answers(server) => Ready::NoServer(server.clone()),
            _ => Ready::Yes,
        }
    }

    /// Installs it. The commands' own output goes where this program's goes.
    pub fn install(&self) -> Result<(), Error> {
        for command in &self.install {
            let fault = |why: String| Error { what: "install", path: self.folder.clone(), why };
            let [program, arguments @ ..] = command.as_slice() else { continue };
            let status = Command::new(program).args(arguments).current_dir(&self.folder).status();
            let status = status.map_err(|error| fault(format!("{program} could not be started: {error}")))?;
            if !status.success() {
                return Err(fault(format!("`{}` ended with {status}", command.join(" "))));
            }
        }
        if self.is_installed() {
            return Ok(());
        }
        let missing = self.installed.iter().find(|file| !self.folder.join(file).exists());
        let why = format!("{} is still missing", missing.map(|file| file.display().to_string()).unwrap_or_default());
        Err(Error { what: "install", path: self.folder.clone(), why })
    }
}

/// Whether something accepts connections at `address`.
pub fn answers(address: &str) -> bool {
    let Ok(addresses) = address.to_socket_addrs() else { return false };
    let timeout = Duration::from_millis(CONNECT_MS);
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, timeout).is_ok())
}

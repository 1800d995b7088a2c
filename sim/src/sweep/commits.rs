//! The commits of a run, numbered: a store between the broker and the recorder. It says which commit was under way when
//! the power went, and in a reference run what each commit made of the database and of the history.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::store::{Answer, Command, Error, Outlook, Store};
use kew_spec::history::Event;
use rusqlite::Connection;
use tokio::sync::Notify;

use super::digest::digest;
use crate::disk::Disk;
use crate::record::Recorder;

/// How far the commits of a run have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// How many were acknowledged.
    pub(super) acknowledged: usize,
    /// Whether one more was begun and answered with an error: it may be there or not.
    pub(super) in_doubt: bool,
}

/// What a commit made.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    /// The database after it.
    pub(super) digest: u64,
    /// What the queue says it did by it.
    pub(super) events: Vec<Event>,
}

/// The commits of a run, as its outside sees them.
#[derive(Clone, Default)]
pub(super) struct Commits {
    inner: Arc<Mutex<Inner>>,
    dark: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    progress: Progress,
    /// A connection of its own to look at the database, and what was seen: in a reference run alone.
    watched: Option<(Connection, Vec<Commit>)>,
}

impl Commits {
    /// Looks at the database through `connection` after each commit from now on.
    pub(super) fn watch(&self, connection: Connection) -> rusqlite::Result<()> {
        let first = Commit { digest: digest(&connection)?, events: Vec::new() };
        self.inner().watched = Some((connection, vec![first]));
        Ok(())
    }

    /// What was seen, the opened database first; the connection is closed.
    pub(super) fn seen(&self) -> Vec<Commit> {
        self.inner().watched.take().map(|(_, commits)| commits).unwrap_or_default()
    }

    pub(super) fn progress(&self) -> Progress {
        self.inner().progress
    }

    /// Waits until the disk has gone down.
    pub(super) async fn dark(&self) {
        self.dark.notified().await;
    }

    /// Between the broker and `inner`, which records.
    pub(super) fn number(&self, inner: Box<dyn Store>, recorder: Recorder, disk: Disk) -> Box<dyn Store> {
        Box::new(Numbered { inner, recorder, disk, commits: self.clone() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store in between.
struct Numbered {
    inner: Box<dyn Store>,
    recorder: Recorder,
    disk: Disk,
    commits: Commits,
}

impl Numbered {
    fn note(&self, acknowledged: bool, before: usize) -> Result<(), Error> {
        let mut inner = self.commits.inner();
        if !acknowledged {
            inner.progress.in_doubt = true;
            return Ok(());
        }
        inner.progress.acknowledged += 1;
        if let Some((connection, commits)) = &mut inner.watched {
            let digest = digest(connection).map_err(|error| Error {
                context: "look at the database after a commit".into(),
                reason: error.to_string(),
            })?;
            commits.push(Commit { digest, events: self.recorder.seen(before).0 });
        }
        Ok(())
    }

    fn look(&self) {
        if self.disk.is_down() {
            self.commits.dark.notify_one();
        }
    }
}

impl Store for Numbered {
    fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
        async move {
            let applied = self.inner.apply(commands).await;
            self.look();
            applied
        }
        .boxed()
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let before = self.recorder.len();
            let committed = self.inner.commit().await;
            self.note(committed.is_ok(), before)?;
            self.look();
            committed
        }
        .boxed()
    }

    fn outlook(&mut self, now_ms: u64) -> BoxFuture<'_, Result<Outlook, Error>> {
        self.inner.outlook(now_ms)
    }

    fn last_ms(&mut self) -> BoxFuture<'_, Result<u64, Error>> {
        self.inner.last_ms()
    }
}

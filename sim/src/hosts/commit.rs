//! The store as a disk and a fate lets it be: a commit takes the disk's time, may be in doubt, or may be the last thing
//! that its process does.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::store::{Answer, Command, Error, Outlook, Store};

use crate::disk::Disk;
use crate::hazards::Hazards;

/// A store whose commits are struck by what hangs over `host`.
pub(super) struct Struck {
    pub(super) inner: Box<dyn Store>,
    pub(super) host: &'static str,
    pub(super) disk: Disk,
    pub(super) hazards: Hazards,
}

impl Store for Struck {
    fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
        async move {
            let applied = self.inner.apply(commands).await;
            if !commands.is_empty() {
                // The next commit that succeeds overwrites the frames of one that failed.
                self.hazards.doubt(applied.is_err());
            }
            let delay = self.disk.take_delay();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if applied.is_ok() && !commands.is_empty() && self.hazards.spring(self.host) {
                self.hazards.crash(self.host);
                return std::future::pending().await;
            }
            applied
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

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

impl Struck {
    async fn disk_delay(&mut self) {
        let delay = self.disk.take_delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}

impl Store for Struck {
    fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
        async move {
            let applied = self.inner.apply(commands).await;
            if applied.is_err() {
                self.hazards.doubt(true);
                self.disk_delay().await;
            }
            applied
        }
        .boxed()
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let committed = self.inner.commit().await;
            // The next commit that succeeds overwrites the frames of one that failed.
            self.hazards.doubt(committed.is_err());
            self.disk_delay().await;
            if committed.is_ok() && self.hazards.spring(self.host) {
                self.hazards.crash(self.host);
                return std::future::pending().await;
            }
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

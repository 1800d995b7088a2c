//! What planted bugs are made of: wrappers that alter what passes a seam, given as small functions, and the bookkeeping
//! that several bugs need. No bug is here.

mod handler;
mod queue;
mod store;
pub(super) mod track;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::store::{Error, Query, Reader, Rows};

pub(super) use handler::{Done, around, deliveries};
pub(super) use queue::{calls, ends, pulls, requests, settlements};
pub(super) use store::{StoreBug, after_restart, answers, commands, enqueues, outlooks, queues, settles, store};

/// Strikes every so often: what is rare is found late, what is constant is found at once.
pub(super) struct Every {
    count: u32,
    of: u32,
}

impl Every {
    /// Strikes at the `of`th call, and at each `of`th after it.
    pub(super) fn nth(of: u32) -> Self {
        Self { count: 0, of }
    }

    pub(super) fn strikes(&mut self) -> bool {
        self.count += 1;
        self.count.is_multiple_of(self.of)
    }
}

/// A reader whose rows pass through a function.
struct AlteredReader<F> {
    inner: Box<dyn Reader>,
    alter: F,
}

/// Lets `alter` change what `inner` answers.
pub(super) fn reader<F>(inner: Box<dyn Reader>, alter: F) -> Box<dyn Reader>
where
    F: FnMut(&mut Rows) + Send + 'static,
{
    Box::new(AlteredReader { inner, alter })
}

impl<F: FnMut(&mut Rows) + Send> Reader for AlteredReader<F> {
    fn read<'a>(&'a mut self, query: &'a Query) -> BoxFuture<'a, Result<Rows, Error>> {
        async move {
            let mut rows = self.inner.read(query).await?;
            (self.alter)(&mut rows);
            Ok(rows)
        }
        .boxed()
    }
}

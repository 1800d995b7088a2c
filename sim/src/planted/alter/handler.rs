//! Wrappers of a handler: it is given something else, or the whole call is in a bug's hands.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::processor::{Delivery, Failure, Handler, Report};

/// What a handler's work comes to.
pub(in super::super) type Done<'a> = BoxFuture<'a, Result<(), Failure>>;

/// A handler that is given something else.
struct Altered<F> {
    inner: Arc<dyn Handler>,
    alter: F,
}

/// Lets `alter` change the delivery before `inner` gets it.
pub(in super::super) fn deliveries(
    inner: Arc<dyn Handler>,
    alter: impl Fn(&mut Delivery) + Send + Sync + 'static,
) -> Arc<dyn Handler> {
    Arc::new(Altered { inner, alter })
}

impl<F: Fn(&mut Delivery) + Send + Sync> Handler for Altered<F> {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> Done<'a> {
        async move {
            let mut altered = delivery.clone();
            (self.alter)(&mut altered);
            self.inner.handle(&altered, report).await
        }
        .boxed()
    }
}

/// How a bug does a handler's work.
type Work = for<'a> fn(&'a Arc<dyn Handler>, &'a Delivery, &'a Report) -> Done<'a>;

/// A handler whose work is done by a function.
struct Around {
    inner: Arc<dyn Handler>,
    work: Work,
}

/// Lets `work` do the work, with `inner` or without.
pub(in super::super) fn around(inner: Arc<dyn Handler>, work: Work) -> Arc<dyn Handler> {
    Arc::new(Around { inner, work })
}

impl Handler for Around {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> Done<'a> {
        (self.work)(&self.inner, delivery, report)
    }
}

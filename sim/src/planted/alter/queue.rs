//! Wrappers of the way to the broker: requests and responses pass through functions, or the whole call is in a bug's
//! hands.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{Pulled, Queue, Refusal, Report, Request, Response};
use kew_runtime::store::{End, Rows};

/// What a call comes to.
pub(in super::super) type Reply = BoxFuture<'static, Result<Response, Refusal>>;

/// A way to the broker on which each call is made by a function.
struct Calls<F> {
    inner: Arc<dyn Queue>,
    call: F,
}

impl<F: Fn(Arc<dyn Queue>, Request) -> Reply + Send + Sync + 'static> Queue for Calls<F> {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Refusal>> {
        (self.call)(self.inner.clone(), request)
    }
}

/// Lets `call` make every call, in its own way.
pub(in super::super) fn calls<F>(inner: Arc<dyn Queue>, call: F) -> Arc<dyn Queue>
where
    F: Fn(Arc<dyn Queue>, Request) -> Reply + Send + Sync + 'static,
{
    Arc::new(Calls { inner, call })
}

/// A way to the broker on which requests and responses pass through functions.
struct Altered<F, G> {
    inner: Arc<dyn Queue>,
    request: Mutex<F>,
    response: Mutex<G>,
}

fn altered<F, G>(inner: Arc<dyn Queue>, request: F, response: G) -> Arc<dyn Queue>
where
    F: FnMut(&mut Request) + Send + 'static,
    G: FnMut(&mut Response) + Send + 'static,
{
    Arc::new(Altered { inner, request: Mutex::new(request), response: Mutex::new(response) })
}

impl<F, G> Queue for Altered<F, G>
where
    F: FnMut(&mut Request) + Send + 'static,
    G: FnMut(&mut Response) + Send + 'static,
{
    fn call(&self, mut request: Request) -> BoxFuture<'_, Result<Response, Refusal>> {
        async move {
            (self.request.lock().unwrap_or_else(PoisonError::into_inner))(&mut request);
            let mut response = self.inner.call(request).await?;
            (self.response.lock().unwrap_or_else(PoisonError::into_inner))(&mut response);
            Ok(response)
        }
        .boxed()
    }
}

/// Lets `alter` change what is asked.
pub(in super::super) fn requests(
    inner: Arc<dyn Queue>,
    alter: impl FnMut(&mut Request) + Send + 'static,
) -> Arc<dyn Queue> {
    altered(inner, alter, |_| {})
}

/// Lets `alter` change the reports of each settle.
pub(in super::super) fn settlements(
    inner: Arc<dyn Queue>,
    mut alter: impl FnMut(&mut Vec<&mut Report>) + Send + 'static,
) -> Arc<dyn Queue> {
    requests(inner, move |request| {
        if let Request::Settle(settlements) = request {
            alter(&mut settlements.iter_mut().map(|it| &mut it.outcome).collect());
        }
    })
}

/// Lets `alter` change what a processor is given.
pub(in super::super) fn pulls(
    inner: Arc<dyn Queue>,
    mut alter: impl FnMut(&mut Pulled) + Send + 'static,
) -> Arc<dyn Queue> {
    let response = move |response: &mut Response| {
        if let Response::Pulled(pulled) = response {
            alter(pulled);
        }
    };
    altered(inner, |_| {}, response)
}

/// Lets `alter` change the ends that the notifier hears of.
pub(in super::super) fn ends(
    inner: Arc<dyn Queue>,
    mut alter: impl FnMut(&mut Vec<End>) + Send + 'static,
) -> Arc<dyn Queue> {
    let response = move |response: &mut Response| {
        if let Response::Rows(Rows::Ends(ends)) = response {
            alter(ends);
        }
    };
    altered(inner, |_| {}, response)
}

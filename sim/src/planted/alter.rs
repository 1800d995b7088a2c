//! What planted bugs are made of: wrappers that alter what passes a seam, given as small functions.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::broker::{Queue, Refusal, Request, Response};
use kew_runtime::processor::{Delivery, Failure, Handler, Report};
use kew_runtime::store::{Answer, Command, Error, Outlook, Query, Reader, Rows, Store};

/// What a store bug may do. Every method passes things on as they are, unless a bug says otherwise.
pub(super) trait StoreBug: Send + 'static {
    /// Alters a command before the store gets it; an answer given here keeps it from the store altogether.
    fn before(&mut self, _command: &mut Command) -> Option<Answer> {
        None
    }

    /// Alters a command's answer. `asked` is the command as the broker gave it.
    fn after(&mut self, _asked: &Command, _answer: &mut Answer) {}

    /// A further command for the store to apply, after everything that was asked.
    fn further(&mut self) -> Option<Command> {
        None
    }

    /// Alters what the store says is waiting and due.
    fn outlook(&mut self, _now_ms: u64, _outlook: &mut Outlook) {}
}

/// A store with a bug in front of it.
pub(super) struct Buggy<B> {
    pub(super) inner: Box<dyn Store>,
    pub(super) bug: B,
}

/// Puts `bug` in front of `inner`.
pub(super) fn store(inner: Box<dyn Store>, bug: impl StoreBug) -> Box<dyn Store> {
    Box::new(Buggy { inner, bug })
}

impl<B: StoreBug> Buggy<B> {
    /// Each command goes alone, so that a bug may look at one answer before the next command.
    async fn one(&mut self, asked: &Command) -> Result<Answer, Error> {
        let mut command = asked.clone();
        let mut answer = match self.bug.before(&mut command) {
            Some(answer) => answer,
            None => self.inner.apply(&[command]).await?.remove(0),
        };
        self.bug.after(asked, &mut answer);
        while let Some(further) = self.bug.further() {
            let further_answer = self.inner.apply(std::slice::from_ref(&further)).await?.remove(0);
            merge(&mut answer, further_answer);
        }
        Ok(answer)
    }
}

/// A further claim adds its jobs to the delivery.
fn merge(answer: &mut Answer, further: Answer) {
    if let (Answer::Claimed(Some(claimed)), Answer::Claimed(Some(more))) = (answer, further) {
        claimed.jobs.extend(more.jobs);
    }
}

impl<B: StoreBug> Store for Buggy<B> {
    fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
        async move {
            let mut answers = Vec::with_capacity(commands.len());
            for command in commands {
                answers.push(self.one(command).await?);
            }
            Ok(answers)
        }
        .boxed()
    }

    fn outlook(&mut self, now_ms: u64) -> BoxFuture<'_, Result<Outlook, Error>> {
        async move {
            let mut outlook = self.inner.outlook(now_ms).await?;
            self.bug.outlook(now_ms, &mut outlook);
            Ok(outlook)
        }
        .boxed()
    }

    fn last_ms(&mut self) -> BoxFuture<'_, Result<u64, Error>> {
        self.inner.last_ms()
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

/// A way to the broker on which requests and responses pass through functions.
struct AlteredQueue<F, G> {
    inner: Arc<dyn Queue>,
    request: Mutex<F>,
    response: Mutex<G>,
}

/// Lets `request` change what is asked, and `response` what is answered.
pub(super) fn queue<F, G>(inner: Arc<dyn Queue>, request: F, response: G) -> Arc<dyn Queue>
where
    F: FnMut(&mut Request) + Send + 'static,
    G: FnMut(&mut Response) + Send + 'static,
{
    Arc::new(AlteredQueue { inner, request: Mutex::new(request), response: Mutex::new(response) })
}

impl<F, G> Queue for AlteredQueue<F, G>
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

/// A handler that is given something else.
struct AlteredHandler {
    inner: Arc<dyn Handler>,
    alter: fn(&mut Delivery),
}

/// Lets `alter` change the delivery before `inner` gets it.
pub(super) fn handler(inner: Arc<dyn Handler>, alter: fn(&mut Delivery)) -> Arc<dyn Handler> {
    Arc::new(AlteredHandler { inner, alter })
}

impl Handler for AlteredHandler {
    fn handle<'a>(&'a self, delivery: &'a Delivery, report: &'a Report) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let mut altered = delivery.clone();
            (self.alter)(&mut altered);
            self.inner.handle(&altered, report).await
        }
        .boxed()
    }
}

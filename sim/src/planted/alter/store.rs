//! Wrappers of a store: what the broker asks and what it is answered passes through functions.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kew_runtime::store::{Answer, Command, Error, NewJob, Outlook, QueueOutlook, Settle, Store};

/// What a store bug may do. Every method passes things on as they are, unless a bug says otherwise.
pub(in super::super) trait StoreBug: Send + 'static {
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

    /// As of when the store is asked what waits.
    fn outlook_at(&mut self, now_ms: u64) -> u64 {
        now_ms
    }

    /// Alters what the store says is waiting and due. What is added to the expired leases must go from there when they
    /// have been settled, or the broker comes to no end.
    fn outlook(&mut self, _now_ms: u64, _outlook: &mut Outlook) {}
}

/// A store with a bug in front of it.
struct Buggy<B> {
    inner: Box<dyn Store>,
    bug: B,
}

/// Puts `bug` in front of `inner`.
pub(in super::super) fn store(inner: Box<dyn Store>, bug: impl StoreBug) -> Box<dyn Store> {
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

    fn commit(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.commit()
    }

    fn outlook(&mut self, now_ms: u64) -> BoxFuture<'_, Result<Outlook, Error>> {
        async move {
            let mut outlook = self.inner.outlook(self.bug.outlook_at(now_ms)).await?;
            self.bug.outlook(now_ms, &mut outlook);
            Ok(outlook)
        }
        .boxed()
    }

    fn last_ms(&mut self) -> BoxFuture<'_, Result<u64, Error>> {
        self.inner.last_ms()
    }
}

/// A bug that is nothing but a change of commands.
struct Commands<F>(F);

impl<F: FnMut(&mut Command) + Send + 'static> StoreBug for Commands<F> {
    fn before(&mut self, command: &mut Command) -> Option<Answer> {
        (self.0)(command);
        None
    }
}

/// Lets `alter` change every command.
pub(in super::super) fn commands(
    inner: Box<dyn Store>,
    alter: impl FnMut(&mut Command) + Send + 'static,
) -> Box<dyn Store> {
    store(inner, Commands(alter))
}

/// Lets `alter` change new jobs.
pub(in super::super) fn enqueues(
    inner: Box<dyn Store>,
    mut alter: impl FnMut(&mut NewJob) + Send + 'static,
) -> Box<dyn Store> {
    commands(inner, move |command| {
        if let Command::Enqueue(it) = command {
            alter(it);
        }
    })
}

/// Lets `alter` change the ends of attempts.
pub(in super::super) fn settles(
    inner: Box<dyn Store>,
    mut alter: impl FnMut(&mut Settle) + Send + 'static,
) -> Box<dyn Store> {
    commands(inner, move |command| {
        if let Command::Settle(it) = command {
            alter(it);
        }
    })
}

/// A bug that is nothing but a change of answers.
struct Answers<F>(F);

impl<F: FnMut(&Command, &mut Answer) + Send + 'static> StoreBug for Answers<F> {
    fn after(&mut self, asked: &Command, answer: &mut Answer) {
        (self.0)(asked, answer);
    }
}

/// Lets `alter` change every answer, given the command.
pub(in super::super) fn answers(
    inner: Box<dyn Store>,
    alter: impl FnMut(&Command, &mut Answer) + Send + 'static,
) -> Box<dyn Store> {
    store(inner, Answers(alter))
}

/// A bug that is nothing but a change of what waits.
struct Outlooks<F>(F);

impl<F: FnMut(u64, &mut Outlook) + Send + 'static> StoreBug for Outlooks<F> {
    fn outlook(&mut self, now_ms: u64, outlook: &mut Outlook) {
        (self.0)(now_ms, outlook);
    }
}

/// Lets `alter` change what waits and falls due.
pub(in super::super) fn outlooks(
    inner: Box<dyn Store>,
    alter: impl FnMut(u64, &mut Outlook) + Send + 'static,
) -> Box<dyn Store> {
    store(inner, Outlooks(alter))
}

/// Lets `alter` change what waits in each queue.
pub(in super::super) fn queues(
    inner: Box<dyn Store>,
    mut alter: impl FnMut(u64, &mut QueueOutlook) + Send + 'static,
) -> Box<dyn Store> {
    outlooks(inner, move |now_ms, outlook| outlook.queues.iter_mut().for_each(|queue| alter(now_ms, queue)))
}

/// A store whose bug shows only after a restart.
struct AfterRestart {
    /// `None` only while the bug is being put in front of it.
    inner: Option<Box<dyn Store>>,
    bug: fn(Box<dyn Store>) -> Box<dyn Store>,
}

/// Puts `bug` in front of `inner` if the store has been used before the broker started.
pub(in super::super) fn after_restart(
    inner: Box<dyn Store>,
    bug: fn(Box<dyn Store>) -> Box<dyn Store>,
) -> Box<dyn Store> {
    Box::new(AfterRestart { inner: Some(inner), bug })
}

impl AfterRestart {
    fn inner(&mut self) -> &mut Box<dyn Store> {
        self.inner.as_mut().expect("it is put back before anybody else is asked")
    }
}

impl Store for AfterRestart {
    fn apply<'a>(&'a mut self, commands: &'a [Command]) -> BoxFuture<'a, Result<Vec<Answer>, Error>> {
        self.inner().apply(commands)
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        self.inner().commit()
    }

    fn outlook(&mut self, now_ms: u64) -> BoxFuture<'_, Result<Outlook, Error>> {
        self.inner().outlook(now_ms)
    }

    /// The broker asks this once, before all else. A new store has seen no time.
    fn last_ms(&mut self) -> BoxFuture<'_, Result<u64, Error>> {
        async move {
            let last_ms = self.inner().last_ms().await?;
            if 0 < last_ms {
                self.inner = self.inner.take().map(self.bug);
            }
            Ok(last_ms)
        }
        .boxed()
    }
}

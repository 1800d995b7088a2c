//! The line to one adapter: requests and their answers, events, and the process behind it, if there is one.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::protocol::{Answer, Ask, Event, LINE_BYTES_MAX, Request, Said};

/// How long an adapter may take to answer. Systems under load are slow; adapters that hang are broken.
const ANSWER: Duration = Duration::from_secs(30);

/// How long an adapter may take to say goodbye before it is killed.
const BYE: Duration = Duration::from_secs(5);

/// How many lines of its log are shown when an adapter fails.
const LOG_LINES_MAX: usize = 20;

/// The adapter itself is at fault: not the system under test.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the adapter {name} {what}")]
pub struct Error {
    name: String,
    what: String,
}

impl Error {
    pub(crate) fn new(name: &str, what: String) -> Self {
        Self { name: name.to_owned(), what }
    }
}

/// The two ends of a line that no process is behind: for systems in this process.
pub(crate) struct Local {
    /// What the harness says.
    pub(crate) requests: UnboundedReceiver<Request>,
    /// Where to say things.
    pub(crate) said: UnboundedSender<Said>,
}

/// The line to one adapter.
pub(crate) struct Link {
    name: String,
    next: AtomicU64,
    out: UnboundedSender<Request>,
    waiting: Arc<Mutex<Waiting>>,
    child: Mutex<Option<Child>>,
    pid: Option<Pid>,
    log: Log,
}

/// A question that was asked.
pub(crate) struct Posted {
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

#[derive(Default)]
struct Waiting {
    answers: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// Set once nothing more will come: what the adapter did wrong, or that it was killed.
    over: Option<String>,
    /// The harness itself has ended it, so its end is no fault.
    expected: bool,
}

/// The last lines of an adapter's standard error.
type Log = Arc<Mutex<Vec<String>>>;

impl Link {
    /// Starts a process that is an adapter. Its events go to `events`.
    pub(crate) fn start(name: &str, mut command: Command, events: UnboundedSender<Event>) -> Result<Self, Error> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A group of its own, so that what it has started is struck with it.
        command.process_group(0);
        let fault = |what: String| Error { name: name.to_owned(), what };
        let mut child = command.spawn().map_err(|error| fault(format!("could not be started: {error}")))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).expect("both are piped");
        let log = Log::default();
        tokio::spawn(keep_log(child.stderr.take().expect("it is piped"), Arc::clone(&log)));
        let (out, requests) = unbounded_channel();
        tokio::spawn(speak(stdin, requests));
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        tokio::spawn(listen(BufReader::new(stdout), Arc::clone(&waiting), events));
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
        Ok(Self { name: name.to_owned(), next: 1.into(), out, waiting, child: Mutex::new(Some(child)), pid, log })
    }

    /// A line to something in this process.
    pub(crate) fn local(name: &str, events: UnboundedSender<Event>) -> (Self, Local) {
        let (out, requests) = unbounded_channel();
        let (said, mut heard) = unbounded_channel();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let inside = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(said) = heard.recv().await {
                take(said, &inside, &events);
            }
        });
        let child = Mutex::new(None);
        let link = Self { name: name.into(), next: 1.into(), out, waiting, child, pid: None, log: Log::default() };
        (link, Local { requests, said })
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        self.answered(self.post(ask)).await
    }

    /// Asks. Questions reach the adapter in the order of these calls.
    pub(crate) fn post(&self, ask: Ask) -> Posted {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock().expect("nobody panics with it");
        if waiting.over.is_none() {
            waiting.answers.insert(id, sender); // Else dropping the sender tells that no answer will come.
        }
        drop(waiting);
        let _ = self.out.send(Request { id: Some(id), ask });
        Posted { id, answer }
    }

    /// Waits for the answer to a question.
    pub(crate) async fn answered(&self, posted: Posted) -> Result<Answer, Error> {
        match tokio::time::timeout(ANSWER, posted.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => {
                let over = self.waiting.lock().expect("nobody panics with it").over.clone();
                self.ended(&over.unwrap_or_else(|| "ended".into()))
            }
            Err(_) => Err(self.fault(format!("did not answer request {} within {} s", posted.id, ANSWER.as_secs()))),
        }
    }

    /// Asks, and reads what the answer holds. A refusal is an error here.
    pub(crate) async fn ask_for<T: DeserializeOwned>(&self, what: &str, ask: Ask) -> Result<T, Error> {
        match self.ask(ask).await? {
            Answer::Ok(value) => {
                let value = if value.is_null() { serde_json::json!({}) } else { value };
                serde_json::from_value(value)
                    .map_err(|error| self.fault(format!("answered {what} with something else: {error}")))
            }
            Answer::Refused(why) => Err(self.fault(format!("refused {what}: {why}"))),
            Answer::Unknown(why) => Err(self.fault(format!("could not tell what became of {what}: {why}"))),
        }
    }

    /// Says something that has no answer.
    pub(crate) fn tell(&self, ask: Ask) {
        let _ = self.out.send(Request { id: None, ask });
    }

    /// What the adapter did wrong, if it has done anything wrong so far.
    pub(crate) fn wrong(&self) -> Option<Error> {
        let waiting = self.waiting.lock().expect("nobody panics with it");
        let over = waiting.over.clone().filter(|_| !waiting.expected);
        drop(waiting);
        over.map(|over| self.fault(over))
    }

    /// Whether something that it was asked is not answered yet.
    pub(crate) fn is_asked(&self) -> bool {
        !self.waiting.lock().expect("nobody panics with it").answers.is_empty()
    }

    /// Nothing more is expected of it: all that it has not answered ends as its fault, which is `what`.
    pub(crate) fn give_up(&self, what: &str) -> Error {
        let mut waiting = self.waiting.lock().expect("nobody panics with it");
        let over = waiting.over.get_or_insert_with(|| what.to_owned()).clone();
        waiting.answers.clear();
        drop(waiting);
        self.fault(over)
    }

    /// Kills the process, as a power cut would.
    pub(crate) fn kill(&self) {
        self.waiting.lock().expect("nobody panics with it").expected = true;
        self.signal(Signal::KILL);
    }

    /// Stops the process where it stands, or lets it go on.
    pub(crate) fn pause(&self, paused: bool) {
        self.signal(if paused { Signal::STOP } else { Signal::CONT });
    }

    /// Sends a signal to the process and all that it has started, unless its end has been waited for: then its number may
    /// be another's.
    fn signal(&self, signal: Signal) {
        let child = self.child.lock().expect("nobody panics with it");
        if let Some(pid) = self.pid.filter(|_| child.as_ref().is_some_and(|child| child.id().is_some())) {
            let _ = kill_process_group(pid, signal); // Nobody may be left in it.
        }
    }

    /// Says goodbye, and waits for the adapter to be gone. Says what it did wrong at that; gone it is in any case.
    pub(crate) async fn end(&self) -> Result<(), Error> {
        self.waiting.lock().expect("nobody panics with it").expected = true;
        let answer = tokio::time::timeout(BYE, self.ask(Ask::Bye)).await;
        let child = self.child.lock().expect("nobody panics with it").take();
        if let Some(mut child) = child
            && tokio::time::timeout(BYE, child.wait()).await.is_err()
        {
            if let Some(pid) = self.pid {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = child.wait().await;
            return Err(self.fault(format!("did not exit within {} s of bye", BYE.as_secs())));
        }
        match answer {
            Ok(Ok(Answer::Ok(_))) => Ok(()),
            Ok(Ok(Answer::Refused(why))) => Err(self.fault(format!("refused bye: {why}"))),
            Ok(Ok(Answer::Unknown(_))) => Err(self.fault("exited without an answer to bye".into())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.fault(format!("did not answer bye within {} s", BYE.as_secs()))),
        }
    }

    /// An answer that will not come: unknown if the harness itself ended the adapter, else the adapter's fault.
    fn ended(&self, over: &str) -> Result<Answer, Error> {
        let expected = self.waiting.lock().expect("nobody panics with it").expected;
        if expected { Ok(Answer::Unknown("the process was ended".into())) } else { Err(self.fault(over.to_owned())) }
    }

    pub(crate) fn fault(&self, what: String) -> Error {
        let log = self.log.lock().expect("nobody panics with it");
        let log = if log.is_empty() { String::new() } else { format!("\n  its log ends:\n    {}", log.join("\n    ")) };
        Error { name: self.name.clone(), what: format!("{what}{log}") }
    }
}

async fn speak(mut stdin: ChildStdin, mut requests: UnboundedReceiver<Request>) {
    while let Some(request) = requests.recv().await {
        let mut line = serde_json::to_vec(&request).expect("a request is JSON");
        line.push(b'\n');
        if stdin.write_all(&line).await.is_err() || stdin.flush().await.is_err() {
            return; // That it is gone shows where its lines are read.
        }
    }
}

async fn listen<R: AsyncBufRead + Unpin>(mut input: R, waiting: Arc<Mutex<Waiting>>, events: UnboundedSender<Event>) {
    let over = loop {
        let mut line = Vec::new();
        let read = (&mut input).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line).await;
        match read {
            Ok(0) => break "ended without being asked to".to_owned(),
            Err(error) => break format!("cannot be heard: {error}"),
            Ok(bytes) if LINE_BYTES_MAX < bytes => break format!("said a line longer than {LINE_BYTES_MAX} bytes"),
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        match Said::parse(text) {
            Ok(said) => {
                if !take(said, &waiting, &events) {
                    break format!("answered a request that nobody waits for: {}", shortened(text));
                }
            }
            Err(why) => break format!("said a line that is not of the protocol ({why}): {}", shortened(text)),
        }
    };
    let mut waiting = waiting.lock().expect("nobody panics with it");
    waiting.over.get_or_insert(over);
    waiting.answers.clear();
}

/// Hands on what was said. False for an answer that nobody waits for.
fn take(said: Said, waiting: &Mutex<Waiting>, events: &UnboundedSender<Event>) -> bool {
    match said {
        Said::Event(event) => {
            let _ = events.send(event);
            true
        }
        Said::Reply { id, answer } => {
            let sender = waiting.lock().expect("nobody panics with it").answers.remove(&id);
            sender.map(|sender| sender.send(answer)).is_some()
        }
    }
}

async fn keep_log<R: tokio::io::AsyncRead + Unpin>(stderr: R, log: Log) {
    let (mut stderr, mut line) = (BufReader::new(stderr), Vec::new());
    // Whatever it writes is read: a pipe that nobody empties would hold the adapter up, and one that is closed would end it.
    while stderr.read_until(b'\n', &mut line).await.is_ok_and(|bytes| 0 < bytes) {
        let text = shortened(String::from_utf8_lossy(&std::mem::take(&mut line)).trim_end());
        let mut log = log.lock().expect("nobody panics with it");
        if log.len() == LOG_LINES_MAX {
            log.remove(0);
        }
        log.push(text);
    }
}

fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    if text.chars().count() <= CHARS_MAX {
        text.to_owned()
    } else {
        text.chars().take(CHARS_MAX).chain(['…']).collect()
    }
}

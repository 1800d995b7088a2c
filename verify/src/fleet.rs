//! The processes of a run: one client, some workers, a server where the target brings one. Events find the play that
//! their queue belongs to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::clock::Clock;
use crate::fit::Reach;
use crate::link::{Error, Link, Local};
use crate::protocol::{About, Ask, Event, Hello, Role, VERSION};
use crate::proxy::{Proxy, Weather};
use crate::run::Options;
use crate::target::{self, Target, Workers};

/// What is verified, and how its adapters are started.
#[derive(Clone)]
pub(crate) enum System {
    /// Adapters that are processes.
    Target(Arc<Target>),
    /// An adapter in this process.
    Local(Arc<dyn Fn(Local) + Send + Sync>),
}

impl System {
    /// What can be done to its processes.
    pub(crate) fn reach(&self, about: &About) -> Reach {
        match self {
            Self::Target(target) => Reach {
                workers: target.workers == Workers::Processes,
                network: target.workers == Workers::Processes && target.server.is_some(),
                server: about.capabilities.server.is_there() && target.clock == target::Clock::Machine,
            },
            Self::Local(_) => Reach { workers: false, network: false, server: about.capabilities.server.is_there() },
        }
    }

    /// Whether its clock is moved by the harness.
    pub(crate) fn is_moved(&self) -> bool {
        matches!(self, Self::Target(target) if target.clock == target::Clock::Virtual)
    }

    /// The clock that it goes by.
    pub(crate) fn clock(&self, options: &Options) -> Clock {
        match self {
            Self::Target(target) if target.clock == target::Clock::Machine => Clock::machine(),
            Self::Local(_) if options.virtual_time => Clock::fixed(),
            _ => Clock::own(),
        }
    }

    /// Whether its adapter is told what time it is, since it cannot look at the machine's clock.
    fn is_told_the_time(&self) -> bool {
        self.is_moved() || matches!(self, Self::Local(_))
    }

    fn workers_apart(&self) -> bool {
        matches!(self, Self::Target(target) if target.workers == Workers::Processes)
    }
}

/// What is heard of a handler, with the delivery's id in the history.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) worker: usize,
    /// Which start of the worker it comes from, from 1.
    pub(crate) starts: u32,
    pub(crate) delivery: String,
    pub(crate) event: Event,
}

/// Which play hears of which queue, and which delivery belongs to which queue.
#[derive(Default)]
struct Routes {
    plays: BTreeMap<String, UnboundedSender<Heard>>,
    deliveries: BTreeMap<String, String>,
    /// A worker, and an invocation that it reported twice.
    repeated: Option<(usize, String)>,
}

/// The processes of a run.
pub(crate) struct Fleet {
    system: System,
    client: Arc<Link>,
    workers: Vec<Worker>,
    routes: Arc<Mutex<Routes>>,
    dir: TempDir,
}

struct Worker {
    proxy: Option<Proxy>,
    now: Mutex<Running>,
}

/// How often a worker is started again before that is held against its adapter: the network may be cut just then.
const RESTARTS_MAX: u32 = 3;

/// How long to wait in between.
const RESTART_AGAIN: Duration = Duration::from_secs(1);

/// A worker as it runs now; it may have been started several times.
struct Running {
    link: Arc<Link>,
    starts: u32,
    /// Why it could not be started again.
    failed: Option<Error>,
    /// What it was configured with, to be told again after a restart.
    told: Vec<Ask>,
}

impl Fleet {
    /// Starts a client and so many workers, behind proxies if asked for.
    pub(crate) async fn start(
        system: &System,
        clock: &Clock,
        workers: usize,
        proxied: bool,
    ) -> Result<(Self, About), Error> {
        let dir = tempfile::Builder::new().prefix("kew-").tempdir().map_err(|error| fault("harness", &error))?;
        let address = address_of(system);
        let routes = Arc::new(Mutex::new(Routes::default()));
        let apart = system.workers_apart();
        let events = hear(&routes, 0, 1);
        let client = Arc::new(launch(system, if apart { "client" } else { "processor-1" }, events)?);
        let role = if apart { Role::Client } else { Role::Both };
        let mut hello = hello(role, "client".into(), address.clone(), dir.path());
        hello.clock_ms = system.is_told_the_time().then(|| clock.both().1);
        let about = client.ask_for("hello", Ask::Hello(hello)).await?;
        let mut fleet = Self { system: system.clone(), client, workers: Vec::new(), routes, dir };
        if apart {
            for worker in 0..workers {
                let proxy = match &address {
                    Some(address) if proxied => Some(Proxy::before(address).await.map_err(|e| fault("proxy", &e))?),
                    _ => None,
                };
                let link = fleet.launch_worker(worker, 1, proxy.as_ref()).await?;
                let now = Mutex::new(Running { link, starts: 1, failed: None, told: Vec::new() });
                fleet.workers.push(Worker { proxy, now });
            }
        }
        Ok((fleet, about))
    }

    pub(crate) fn client(&self) -> &Link {
        &self.client
    }

    /// How many workers a history tells of: one, where they are all in the client's process.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len().max(1)
    }

    /// Whether workers are processes of their own.
    pub(crate) fn is_apart(&self) -> bool {
        !self.workers.is_empty()
    }

    /// What happens in `queue` is told to `play` from now on.
    pub(crate) fn route(&self, queue: &str, play: UnboundedSender<Heard>) {
        self.routes.lock().expect("nobody panics with it").plays.insert(queue.to_owned(), play);
    }

    /// Tells the client and the first `workers` workers of a queue.
    pub(crate) async fn configure(&self, ask: Ask, workers: usize) -> Result<crate::protocol::Configured, Error> {
        let configured = self.client.ask_for("configure", ask.clone()).await?;
        for worker in self.workers.iter().take(workers) {
            let link = {
                let mut now = worker.now.lock().expect("nobody panics with it");
                now.told.push(ask.clone());
                Arc::clone(&now.link)
            };
            link.ask_for::<serde_json::Value>("configure", ask.clone()).await?;
        }
        Ok(configured)
    }

    /// Says how a handler of `worker` ends.
    pub(crate) fn tell(&self, worker: usize, ask: Ask) {
        match self.workers.get(worker) {
            Some(worker) => worker.now.lock().expect("nobody panics with it").link.tell(ask),
            None => self.client.tell(ask),
        }
    }

    /// Kills a worker, and says how often it had been started.
    pub(crate) fn kill(&self, worker: usize) -> u32 {
        let Some(worker) = self.workers.get(worker) else { return 0 };
        let now = worker.now.lock().expect("nobody panics with it");
        now.link.kill();
        now.starts
    }

    /// Starts a worker again and tells it what it was told before. That it could not be is remembered as its fault.
    pub(crate) async fn restart(&self, worker: usize) -> Result<(), Error> {
        let Some(it) = self.workers.get(worker) else { return Ok(()) };
        let mut tries = 1;
        loop {
            match self.start_again(worker, it).await {
                Ok(()) => return Ok(()),
                Err(_) if tries < RESTARTS_MAX => tries += 1,
                Err(error) => {
                    it.now.lock().expect("nobody panics with it").failed = Some(error.clone());
                    return Err(error);
                }
            }
            tokio::time::sleep(RESTART_AGAIN).await;
        }
    }

    async fn start_again(&self, worker: usize, it: &Worker) -> Result<(), Error> {
        let (starts, told) = {
            let mut now = it.now.lock().expect("nobody panics with it");
            now.starts += 1;
            (now.starts, now.told.clone())
        };
        let link = self.launch_worker(worker, starts, it.proxy.as_ref()).await?;
        for ask in told {
            link.ask_for::<serde_json::Value>("configure", ask).await?;
        }
        it.now.lock().expect("nobody panics with it").link = link;
        Ok(())
    }

    /// Stops a worker where it stands, or lets it go on.
    pub(crate) fn pause(&self, worker: usize, paused: bool) {
        if let Some(worker) = self.workers.get(worker) {
            worker.now.lock().expect("nobody panics with it").link.pause(paused);
        }
    }

    /// The network between a worker and the server.
    pub(crate) fn weather(&self, worker: usize, weather: Weather) {
        if let Some(proxy) = self.workers.get(worker).and_then(|worker| worker.proxy.as_ref()) {
            proxy.set(weather);
        }
    }

    /// Kills the system's own server, or starts it again.
    pub(crate) async fn server(&self, kill: bool) -> Result<(), Error> {
        let ask = if kill { Ask::KillServer } else { Ask::StartServer };
        self.client.ask_for::<serde_json::Value>("that", ask).await.map(drop)
    }

    /// What an adapter has done wrong, if one has.
    pub(crate) fn wrong(&self) -> Option<Error> {
        let of = |worker: &Worker| {
            let now = worker.now.lock().expect("nobody panics with it");
            now.failed.clone().or_else(|| now.link.wrong())
        };
        let wrong = self.client.wrong().or_else(|| self.workers.iter().find_map(of));
        wrong.or_else(|| self.repeated())
    }

    /// An invocation that is reported under the name of another would be answered in its place.
    fn repeated(&self) -> Option<Error> {
        let (worker, invocation) = self.routes.lock().expect("nobody panics with it").repeated.clone()?;
        let what =
            format!("reported two calls of handlers as the invocation {invocation}; each needs a name of its own");
        Some(Error::new(&format!("processor-{}", worker + 1), what))
    }

    /// Ends all of it: workers first, so that nothing is left behind in a shared server. The error is the first thing
    /// that one of them did wrong at that.
    pub(crate) async fn end(self) -> Result<(), Error> {
        let mut ended = Ok(());
        for worker in &self.workers {
            let link = Arc::clone(&worker.now.lock().expect("nobody panics with it").link);
            link.pause(false);
            ended = ended.and(link.end().await);
        }
        ended.and(self.client.end().await)
    }

    async fn launch_worker(&self, worker: usize, starts: u32, proxy: Option<&Proxy>) -> Result<Arc<Link>, Error> {
        let name = format!("processor-{}", worker + 1);
        let link = launch(&self.system, &name, hear(&self.routes, worker, starts))?;
        let server = proxy.map(Proxy::address).or_else(|| address_of(&self.system));
        let hello = hello(Role::Worker, format!("{name}-{starts}"), server, self.dir.path());
        link.ask_for::<About>("hello", Ask::Hello(hello)).await?;
        Ok(Arc::new(link))
    }
}

fn address_of(system: &System) -> Option<String> {
    match system {
        System::Target(target) => target.server.clone(),
        System::Local(_) => None,
    }
}

fn fault(name: &str, error: &std::io::Error) -> Error {
    Error::new(name, format!("could not be started: {error}"))
}

fn launch(system: &System, name: &str, events: UnboundedSender<Event>) -> Result<Link, Error> {
    match system {
        System::Local(start) => {
            let (link, local) = Link::local(name, events);
            start(local);
            Ok(link)
        }
        System::Target(target) => Link::start(name, command(target)?, events),
    }
}

/// The adapter's command, to be run in its folder.
fn command(target: &Target) -> Result<Command, Error> {
    let kew = std::env::current_exe().map_err(|error| fault(&target.name, &error))?;
    let mut words = target.command.iter().map(|word| word.replace("{kew}", &kew.to_string_lossy()));
    let program = words.next().unwrap_or_default();
    let inside = target.folder.join(&program);
    let mut command = if inside.is_file() { Command::new(inside) } else { Command::new(program) };
    command.args(words).current_dir(&target.folder).envs(&target.env);
    Ok(command)
}

/// The first line to a process that goes by the machine's clock.
fn hello(role: Role, name: String, server: Option<String>, dir: &Path) -> Hello {
    Hello { protocol: VERSION, role, name, server, dir: dir.display().to_string(), clock_ms: None }
}

/// Where the events of a worker go.
fn hear(routes: &Arc<Mutex<Routes>>, worker: usize, starts: u32) -> UnboundedSender<Event> {
    let (sender, mut events) = unbounded_channel();
    let routes = Arc::clone(routes);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let mut routes = routes.lock().expect("nobody panics with it");
            let invocation = match &event {
                Event::Invoke { invocation, .. }
                | Event::Stopped { invocation, .. }
                | Event::Rejected { invocation, .. } => invocation,
            };
            let delivery = format!("{}.{starts}/{invocation}", worker + 1);
            if let Event::Invoke { queue, .. } = &event {
                let before = routes.deliveries.insert(delivery.clone(), queue.clone());
                if before.is_some() {
                    routes.repeated.get_or_insert((worker, invocation.clone()));
                }
            }
            let play = routes.deliveries.get(&delivery).and_then(|queue| routes.plays.get(queue));
            if let Some(play) = play {
                let _ = play.send(Heard { worker, starts, delivery, event });
            }
        }
    });
    sender
}

#[cfg(test)]
mod tests {
    use serde_json::to_value;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::capability::Capabilities;
    use crate::protocol::{Answer, Delivered, Request, Said};

    /// An adapter whose worker comes up once and never again.
    const ONCE: &str = r#"
        while read -r line; do
            id=$(printf %s "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
            case $line in
                *processor-1-1*) ;;
                *processor-1-*) exit 1 ;;
            esac
            echo "{\"id\":$id,\"ok\":{\"system\":\"once\",\"version\":\"1\",\"capabilities\":{}}}"
            case $line in *'"bye"'*) exit 0 ;; esac
        done"#;

    #[tokio::test]
    async fn a_worker_that_does_not_come_up_again_is_its_adapters_fault() {
        let folder = tempfile::tempdir().expect("a folder for a target");
        let target = "title = 'Once'\nabout = 'sh'\nworkers = 'processes'\ncommand = ['sh', 'adapter.sh']\n";
        std::fs::write(folder.path().join("target.toml"), target).expect("it can be written");
        std::fs::write(folder.path().join("adapter.sh"), ONCE).expect("it can be written");
        let target = Target::read(folder.path()).expect("it is one");
        let started = Fleet::start(&System::Target(Arc::new(target)), &Clock::machine(), 1, false).await;
        let (fleet, _) = started.expect("it comes up");
        fleet.kill(0);
        assert!(fleet.wrong().is_none(), "the harness has killed it");
        assert!(fleet.restart(0).await.is_err());
        let wrong = fleet.wrong().expect("it is remembered").to_string();
        assert!(wrong.starts_with("the adapter processor-1 ended without being asked to"), "{wrong}");
    }

    async fn report_twice(mut line: Local) {
        while let Some(Request { id: Some(id), .. }) = line.requests.recv().await {
            let about = to_value(About::new("twice", "1", Capabilities::default())).expect("it is JSON");
            let _ = line.said.send(Said::Reply { id, answer: Answer::Ok(about) });
            for _ in 0..2 {
                let jobs = vec![Delivered { job: "j".into(), attempt: None, payload: String::new() }];
                let call = Event::Invoke { invocation: "call-1".into(), queue: "q".into(), jobs };
                let _ = line.said.send(Said::Event(call));
            }
        }
    }

    #[tokio::test]
    async fn two_calls_that_are_reported_under_one_name_are_the_adapters_fault() {
        let system = System::Local(Arc::new(|line| drop(tokio::spawn(report_twice(line)))));
        let (fleet, _) = Fleet::start(&system, &Clock::own(), 1, false).await.expect("it answers hello");
        let (play, mut heard) = unbounded_channel();
        fleet.route("q", play);
        fleet.client().ask(Ask::Bye).await.expect("it answers");
        heard.recv().await.expect("it is heard");
        heard.recv().await.expect("it is heard again");
        let wrong = fleet.wrong().expect("it is noticed").to_string();
        assert!(wrong.contains("two calls of handlers as the invocation call-1"), "{wrong}");
    }
}

//! The two networks on which a program runs: the operating system's loopback, with the peer as a child process, and
//! turmoil's, with the peer as a host.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use kew_runtime::net::{Net, Stream, TokioNet};
use kew_sim::network::SimNet;
use kew_sim::record::Recorder;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::child::Child;
use super::network::{End, Outcome};
use super::peer::Peer;

/// The simulated peer's name and port.
const HOST: &str = "peer";
const PORT: u16 = 80;

/// How many seeds a program is played with: latencies from 1 to 20 ms, drawn per segment.
const SEEDS: u64 = 16;

/// A killed process of the simulator is down for so long, and a message to it waits.
const DOWN: Duration = Duration::from_millis(100);

/// After so much simulated time nothing more will come.
const FOR_EVER: Duration = Duration::from_secs(10);

/// A program on the machine that has not ended by then never will. No claim depends on it.
const SAFETY_NET: Duration = Duration::from_secs(120);

/// Whether a killed process of the simulator comes back. On the machine none does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Return {
    /// It does, as in the simulator's runs.
    Soon,
    /// It stays away.
    Never,
}

/// What the simulation's driver is asked: to kill the peer, and to say when it is gone.
type Kill = (Return, oneshot::Sender<()>);

/// What a program has of its arm.
pub(crate) struct Way {
    net: Arc<dyn Net>,
    host: &'static str,
    port: u16,
    kill: Box<dyn Fn(Return) -> LocalBoxFuture<'static, ()>>,
    simulated: bool,
}

impl Way {
    /// Connects to the peer.
    pub(crate) async fn connect(&self) -> std::io::Result<Stream> {
        self.net.connect(self.host, self.port).await
    }

    /// Connects to a port of the peer's machine on which nobody listens.
    pub(crate) async fn connect_to_nobody(&self) -> std::io::Result<Stream> {
        // On the machine: a port below the ephemeral ones, which no service of ours has.
        self.net.connect(self.host, 1).await
    }

    /// Kills the peer's process, and returns when it is gone.
    pub(crate) async fn kill_peer(&self, back: Return) {
        (self.kill)(back).await;
    }

    /// Lets what is under way arrive, or some of it. On the machine it has arrived; only simulated time has to pass.
    pub(crate) async fn let_arrive(&self) {
        match self.simulated {
            true => sleep(Duration::from_millis(10)).await,
            false => tokio::task::yield_now().await,
        }
    }
}

/// Plays a program on the machine.
pub(crate) fn real<F: Future<Output = Outcome>>(peer: Peer, program: impl Fn(Way) -> F) -> Outcome {
    let child = RefCell::new(Child::start("peer", &peer.name()));
    let port = child.borrow_mut().hear("port ").expect("the peer listens");
    let kill = Box::new(move |_| {
        child.borrow_mut().kill();
        async {}.boxed_local()
    });
    let way = Way { net: Arc::new(TokioNet), host: "127.0.0.1", port, kill, simulated: false };
    machine().block_on(async { timeout(SAFETY_NET, program(way)).await.expect("the program ends") })
}

/// Plays a program in the simulator, with many seeds, and returns every outcome that there is.
pub(crate) fn simulated<F>(peer: Peer, program: impl Fn(Way) -> F) -> BTreeSet<Outcome>
where
    F: Future<Output = Outcome> + 'static,
{
    (0..SEEDS).map(|seed| play(seed, peer, &program)).collect()
}

/// The child's part on the machine.
pub(crate) fn play_peer(name: &str) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let served = Peer::named(name).serve(&TokioNet, address, |port| println!("port {port}"));
    // It is killed long before, unless its parent was.
    let _ = machine().block_on(async { timeout(SAFETY_NET, served).await });
}

fn machine() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A network as the simulator's runs have it (`sim/src/world.rs`), with less room in a connection.
fn network(seed: u64) -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::MAX)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .tcp_capacity(1 << 12)
        .build()
}

fn play<F: Future<Output = Outcome> + 'static>(seed: u64, peer: Peer, program: impl Fn(Way) -> F) -> Outcome {
    let net = Arc::new(SimNet::new(Recorder::default()));
    let (ask, asked) = mpsc::unbounded_channel();
    let kill = Box::new(move |back| killed(&ask, back).boxed_local());
    let mut sim = network(seed);
    let serving = net.clone();
    sim.host(HOST, move || {
        let net = serving.clone();
        async move { Ok(peer.serve(&*net, (Ipv4Addr::UNSPECIFIED, PORT).into(), |_| ()).await?) }
    });
    let outcome = Rc::new(Cell::new(None));
    let (found, playing) = (outcome.clone(), program(Way { net, host: HOST, port: PORT, kill, simulated: true }));
    sim.client("client", async move {
        found.set(Some(timeout(FOR_EVER, playing).await.unwrap_or(Outcome::ends(End::Never))));
        Ok(())
    });
    drive(&mut sim, asked);
    drop(sim);
    outcome.take().expect("the client has ended")
}

/// Asks the simulation's driver to kill the peer.
fn killed(ask: &mpsc::UnboundedSender<Kill>, back: Return) -> impl Future<Output = ()> + use<> {
    let (done, gone) = oneshot::channel();
    ask.send((back, done)).expect("the driver outlives the client");
    async { gone.await.expect("the driver answers") }
}

/// Steps until the client has ended. A peer that is to be killed is killed between two steps, and comes back later.
fn drive(sim: &mut turmoil::Sim<'_>, mut asked: mpsc::UnboundedReceiver<Kill>) {
    let mut back_at = None;
    while !sim.step().unwrap() {
        if let Ok((back, done)) = asked.try_recv() {
            sim.crash(HOST);
            back_at = (back == Return::Soon).then(|| sim.elapsed() + DOWN);
            done.send(()).expect("the client waits");
        }
        if back_at.is_some_and(|at| at <= sim.elapsed()) {
            back_at = None;
            sim.bounce(HOST);
        }
    }
}

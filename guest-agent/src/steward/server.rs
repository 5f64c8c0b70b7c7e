//! Root's side: a listener for the agent, and what it asks for done by the parts that an agent with
//! privileges has in its own process.

use std::{
    io,
    os::{fd::OwnedFd, linux::fs::MetadataExt as _},
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use lkc_protocol::{
    codec::RawMessage,
    error::{Refusal, RefusalCode},
    message::{
        ApplyNetwork, Body, ConfigureK3s, NetworkConfirmed, NetworkRolledBack, NetworkStatus,
        Request, RollBackNetwork, SetTime, TryNetwork,
    },
};
use thiserror::Error;
use tokio::{
    net::{UnixListener, UnixStream, unix::ReadHalf},
    signal::unix::{SignalKind, signal},
    sync::{Notify, Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    message::{
        ApiReady, Confirm, Done, EnsureK3s, Ensured, Event, Follow, Listening, Refused, Reread,
        StopK3s,
    },
    rest::{self, Left},
    wire,
};
use crate::{
    clock,
    k3s::{K3s, K3sPaths, Runner, dropin, dropin::Dropin, unit::Unit},
    network::{
        Keeping, Start,
        change::{BootTime, ChangeId, Elsewhere, Prober, Request as NetworkRequest},
    },
    observe::{ConfigureError, KubeconfigState, describe, follow_kubeconfig, look, started_at},
    readiness::{K3sState, NetworkState, Observation},
    service_manager,
};

/// Connections at once; an agent has one for each request that waits, and those of hosts are few.
const MAX_CONNECTIONS: usize = 64;

/// Observations that wait to be kept.
const QUEUE: usize = 64;

/// Arguments of `steward`.
#[derive(Debug, Args)]
pub struct StewardArgs {
    /// The unit of systemd that runs k3s
    #[arg(long, value_name = "NAME", default_value = "k3s.service")]
    pub k3s_unit: Unit,

    /// How long a guest whose network nobody has configured waits for a host before it asks for leases by DHCP
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub wait_for_host: u64,

    /// Whether a host may set this machine's clock where it is wrong, as after the host has slept; needs CAP_SYS_TIME
    #[arg(long, env = "LKC_SET_CLOCK", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub set_clock: bool,

    /// Where what was confirmed is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/lkc-steward")]
    pub state_dir: PathBuf,

    /// Where what is pending is kept
    #[arg(long, value_name = "DIR", default_value = "/run/lkc-steward")]
    pub runtime_dir: PathBuf,
}

/// Why there is no steward.
#[derive(Debug, Error)]
pub enum StewardError {
    /// Its socket.
    #[error("standard input is no socket to listen on: lkc-steward.socket starts this")]
    Socket(#[source] io::Error),
    /// Signals.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A part of it ended that never should.
    #[error("a part of the steward ended: {0}")]
    Defect(String),
}

/// Serves the agent until a signal comes, or nobody needs it any more.
///
/// # Errors
/// See [`StewardError`].
pub async fn serve(args: StewardArgs) -> Result<(), StewardError> {
    let listener = wire::socket_of_stdin().and_then(|socket| {
        socket.set_nonblocking(true)?;
        UnixListener::from_std(OwnedFd::from(socket).into())
    });
    let listener = listener.map_err(StewardError::Socket)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(StewardError::Signals)?;
    let paths = K3sPaths {
        run_dir: args.runtime_dir.clone(),
        state_dir: args.state_dir.clone(),
        ..K3sPaths::usual()
    };
    let runner = Runner::choose(None, args.k3s_unit.clone());
    let cancel = CancellationToken::new();
    let mut tasks = begin(args, runner, paths, listener, &cancel);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "lkc-steward runs");
    let end = tokio::select! {
        biased;
        _ = terminate.recv() => Ok(()),
        () = cancel.cancelled() => Ok(()),
        Some(ended) = tasks.join_next() => {
            let reason = ended.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
            Err(StewardError::Defect(reason))
        }
    };
    service_manager::stopping();
    cancel.cancel();
    while tasks.join_next().await.is_some() {}
    end
}

/// Starts everything; it ends with the token, which it cancels itself when nobody needs it.
pub(super) fn begin(
    args: StewardArgs,
    runner: Runner,
    paths: K3sPaths,
    listener: UnixListener,
    cancel: &CancellationToken,
) -> JoinSet<()> {
    let (observations, observed) = mpsc::channel(QUEUE);
    let (network, network_requests) = mpsc::channel(1);
    // Read before the first agent is told of it: one that knows it would be told that it is gone.
    let (kubeconfig_sender, kubeconfig) = watch::channel(look(&paths.kubeconfig_path()));
    let probes = Arc::new(Elsewhere::default());
    let reread = Arc::new(Notify::new());
    let (k3s, supervise) = K3s::new(runner, paths.clone(), observations.clone(), cancel.clone());
    let start = match Left::take(&args.runtime_dir) {
        Some(Left { network }) => Start::Resumed(network),
        None => Start::Anew,
    };
    let (idle_sender, idle) = watch::channel(false);
    let keeping = Keeping {
        requests: network_requests,
        observations,
        cancel: cancel.clone(),
        state_dir: args.state_dir,
        runtime_dir: args.runtime_dir.clone(),
        wait_for_host: Duration::from_secs(args.wait_for_host),
        start,
        idle: idle_sender,
        prober: Prober::Elsewhere(Arc::clone(&probes)),
        k3s_paths: paths.clone(),
    };
    let (network_sender, network_state) = watch::channel(None);
    let (k3s_sender, k3s_state) = watch::channel(None);
    let follow = follow_kubeconfig(
        paths.kubeconfig_path(),
        kubeconfig_sender,
        Arc::clone(&reread),
        cancel.clone(),
    );
    let desk = Desk {
        runtime_dir: args.runtime_dir,
        idle,
        sets_clock: args.set_clock,
        network,
        k3s,
        paths,
        reread,
        probes,
        network_state,
        k3s_state,
        kubeconfig,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(keeping.run());
    tasks.spawn(supervise);
    tasks.spawn(follow);
    tasks.spawn(keep_last(
        observed,
        network_sender,
        k3s_sender,
        cancel.clone(),
    ));
    tasks.spawn(receive(listener, desk, cancel.clone()));
    tasks.spawn(service_manager::report_alive(cancel.clone()));
    tasks
}

/// Keeps the last observation of each kind for an agent that comes later.
async fn keep_last(
    mut observed: mpsc::Receiver<Observation>,
    network: watch::Sender<Option<NetworkState>>,
    k3s: watch::Sender<Option<K3sState>>,
    cancel: CancellationToken,
) {
    let keep = async {
        while let Some(observation) = observed.recv().await {
            match observation {
                Observation::Network(state) => drop(network.send_replace(Some(state))),
                Observation::K3s(state) => drop(k3s.send_replace(Some(state))),
                // The API is the agent's to observe.
                Observation::Configured(_)
                | Observation::Started(_)
                | Observation::Api(_)
                | Observation::Node(_)
                | Observation::System(_) => {}
            }
        }
        std::future::pending::<()>().await;
    };
    cancel.run_until_cancelled(keep).await;
}

/// Takes the agent's connections, and ends everything when there have been none for long enough and
/// nothing is under way. A connection that comes meanwhile is the next steward's: systemd holds the
/// listener too.
async fn receive(listener: UnixListener, mut desk: Desk, cancel: CancellationToken) {
    // The kernel lets in whoever may write to the socket; who that is stands in the unit.
    let agent = owner_of(&listener);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            let is_needed = !connections.is_empty() || !*desk.idle.borrow_and_update();
            tokio::select! {
                Some(_) = connections.join_next() => {}
                Ok(()) = desk.idle.changed() => {}
                () = sleep(rest::PATIENCE), if !is_needed => return desk.leave(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let uid = stream.peer_cred().map(|peer| peer.uid()).ok();
                        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                            tracing::warn!("turned away: too many requests of the agent at once");
                            continue;
                        };
                        if uid.is_none() || uid != Some(0) && uid != agent {
                            tracing::warn!(?uid, "turned away a process that is not the agent");
                            continue;
                        }
                        let desk = desk.clone();
                        connections.spawn(async move {
                            let _place = place;
                            if let Err(error) = desk.attend(stream).await {
                                tracing::debug!(%error, "a request of the agent ended");
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept the agent");
                        sleep(Duration::from_millis(200)).await;
                    }
                },
            }
        }
    };
    let is_at_rest = cancel.run_until_cancelled(accept).await.is_some();
    connections.shutdown().await;
    if is_at_rest {
        tracing::info!(
            "nobody needs the steward: it ends, and systemd starts it when somebody does"
        );
        cancel.cancel();
    }
}

fn owner_of(listener: &UnixListener) -> Option<u32> {
    let address = listener.local_addr().ok()?;
    let metadata = std::fs::metadata(address.as_pathname()?).ok()?;
    Some(metadata.st_uid())
}

/// What a request can reach.
#[derive(Clone)]
struct Desk {
    runtime_dir: PathBuf,
    /// Whether nothing is under way with the network.
    idle: watch::Receiver<bool>,
    sets_clock: bool,
    network: mpsc::Sender<NetworkRequest>,
    k3s: K3s,
    paths: K3sPaths,
    reread: Arc<Notify>,
    probes: Arc<Elsewhere>,
    network_state: watch::Receiver<Option<NetworkState>>,
    k3s_state: watch::Receiver<Option<K3sState>>,
    kubeconfig: watch::Receiver<KubeconfigState>,
}

impl Desk {
    /// Tells the next steward where this one has ended.
    fn leave(&self) {
        let network = self.network_state.borrow().clone();
        if let Err(error) = (Left { network }).write(&self.runtime_dir) {
            // It looks after everything anew.
            tracing::warn!(%error, "the next steward is not told how the network stands");
        }
    }

    async fn attend(self, mut stream: UnixStream) -> io::Result<()> {
        let Some(message) = wire::read(&mut stream).await? else {
            return Ok(());
        };
        match message.number {
            ApplyNetwork::NUMBER => {
                let done = self.ask_network(&message, NetworkRequest::Apply).await;
                reply::<ApplyNetwork>(&mut stream, done).await
            }
            TryNetwork::NUMBER => {
                let done = self.ask_network(&message, NetworkRequest::Try).await;
                reply::<TryNetwork>(&mut stream, done).await
            }
            Confirm::NUMBER => {
                let asked = |Confirm {
                                 wanted,
                                 link_since_ms,
                             },
                             reply| {
                    let link_since = BootTime(Duration::from_millis(link_since_ms));
                    NetworkRequest::Confirm(wanted, link_since, reply)
                };
                let done = self.ask_network(&message, asked).await;
                reply::<Confirm>(&mut stream, done.map(|()| NetworkConfirmed {})).await
            }
            RollBackNetwork::NUMBER => {
                let asked = |wanted: RollBackNetwork, reply| {
                    NetworkRequest::RollBack(ChangeId(wanted.id), reply)
                };
                let done = self.ask_network(&message, asked).await;
                reply::<RollBackNetwork>(&mut stream, done.map(|()| NetworkRolledBack {})).await
            }
            NetworkStatus::NUMBER => {
                let asked = |_: NetworkStatus, reply| NetworkRequest::Status(reply);
                let done = self.ask_network(&message, asked).await;
                reply::<NetworkStatus>(&mut stream, done).await
            }
            SetTime::NUMBER => {
                let done = decode::<SetTime>(&message)
                    .and_then(|wanted| Ok(clock::set(&wanted, self.sets_clock)?));
                reply::<SetTime>(&mut stream, done).await
            }
            ConfigureK3s::NUMBER => {
                let done = self.configure_k3s(&message).await;
                reply::<ConfigureK3s>(&mut stream, done).await
            }
            EnsureK3s::NUMBER => {
                let done = match decode::<EnsureK3s>(&message) {
                    Ok(EnsureK3s { role }) => self.k3s.ensure_running(role).await.map_err(of_k3s),
                    Err(refusal) => Err(refusal),
                };
                let done = done.map(|started| Ensured { started });
                reply::<EnsureK3s>(&mut stream, done).await
            }
            StopK3s::NUMBER => {
                let done = match decode::<StopK3s>(&message) {
                    Ok(StopK3s { grace_ms }) => {
                        let grace = Duration::from_millis(grace_ms);
                        self.k3s.stop(grace).await.map_err(of_k3s)
                    }
                    Err(refusal) => Err(refusal),
                };
                reply::<StopK3s>(&mut stream, done.map(|()| Done {})).await
            }
            ApiReady::NUMBER => {
                self.k3s.handle_api_ready();
                reply::<ApiReady>(&mut stream, Ok(Done {})).await
            }
            Reread::NUMBER => {
                self.reread.notify_one();
                reply::<Reread>(&mut stream, Ok(Done {})).await
            }
            Listening::NUMBER => {
                let done = decode::<Listening>(&message).map(|listening| {
                    self.probes.listens(listening.secret, listening.addresses);
                    Done {}
                });
                reply::<Listening>(&mut stream, done).await
            }
            Follow::NUMBER => {
                reply::<Follow>(&mut stream, Ok(Done {})).await?;
                self.tell(stream).await
            }
            number => {
                let text = format!("the steward does nothing of number {number}");
                let refused = Refused::from(Refusal::new(RefusalCode::Unsupported, text));
                wire::send(&mut stream, &refused).await
            }
        }
    }

    async fn ask_network<M: Body, T>(
        &self,
        message: &RawMessage,
        request: impl FnOnce(M, oneshot::Sender<Result<T, Refusal>>) -> NetworkRequest,
    ) -> Result<T, Refusal> {
        let ending = || Refusal::new(RefusalCode::Busy, "the steward is ending");
        let (reply, result) = oneshot::channel();
        let asked = request(decode(message)?, reply);
        self.network.send(asked).await.map_err(|_| ending())?;
        result.await.map_err(|_| ending())?
    }

    async fn configure_k3s(
        &self,
        message: &RawMessage,
    ) -> Result<<ConfigureK3s as Request>::Answer, Refusal> {
        let wanted: ConfigureK3s = decode(message)?;
        let dropin = Dropin::new(&wanted).map_err(ConfigureError::from)?;
        let configured = self.k3s.configure(dropin).await;
        configured.map_err(|error| ConfigureError::from(error).into())
    }

    /// Tells what stands and what happens until the agent has gone.
    async fn tell(mut self, mut stream: UnixStream) -> io::Result<()> {
        let mut probes = self.probes.wanted();
        let (mut reader, mut writer) = stream.split();
        let mut told_node = None;
        self.network_state.mark_changed();
        self.k3s_state.mark_changed();
        self.kubeconfig.mark_changed();
        self.idle.mark_changed();
        probes.mark_changed();
        loop {
            let event = tokio::select! {
                () = gone(&mut reader) => return Ok(()),
                changed = self.network_state.changed() => match changed {
                    Ok(()) => self.network_state.borrow_and_update().clone().map(Event::Network),
                    Err(_) => return Ok(()),
                },
                changed = self.k3s_state.changed() => match changed {
                    Ok(()) => self.k3s_state.borrow_and_update().clone().map(of_k3s_run),
                    Err(_) => return Ok(()),
                },
                changed = self.kubeconfig.changed() => match changed {
                    Ok(()) => Some(Event::Kubeconfig(self.kubeconfig.borrow_and_update().clone())),
                    Err(_) => return Ok(()),
                },
                changed = probes.changed() => match changed {
                    Ok(()) => Some(Event::Probes(probes.borrow_and_update().clone())),
                    Err(_) => return Ok(()),
                },
                changed = self.idle.changed() => match changed {
                    Ok(()) => Some(Event::Idle(*self.idle.borrow_and_update())),
                    Err(_) => return Ok(()),
                },
            };
            // At a boot k3s' configuration may come back when the agent has long been there.
            if let Some(written) = dropin::written(&self.paths).map(of_node)
                && told_node.as_ref() != Some(&written)
            {
                wire::send(&mut writer, &written).await?;
                told_node = Some(written);
            }
            if let Some(event) = event {
                wire::send(&mut writer, &event).await?;
            }
        }
    }
}

fn of_node(written: dropin::Written) -> Event {
    Event::Node {
        role: written.role,
        name: written.node_name,
    }
}

fn of_k3s_run(state: K3sState) -> Event {
    let started = match &state {
        K3sState::Running { pid, .. } => started_at(*pid),
        _ => None,
    };
    let since = started.and_then(|started| started.duration_since(UNIX_EPOCH).ok());
    let started_ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    Event::K3s { state, started_ms }
}

/// The agent says nothing more on a connection on which it is told things.
async fn gone(reader: &mut ReadHalf<'_>) {
    while let Ok(Some(_)) = wire::read(reader).await {}
}

fn decode<M: Body>(message: &RawMessage) -> Result<M, Refusal> {
    message
        .decode()
        .map_err(|error| Refusal::new(RefusalCode::Invalid, describe(&error)))
}

fn of_k3s(error: crate::k3s::K3sError) -> Refusal {
    ConfigureError::from(error).into()
}

async fn reply<R: Request>(
    stream: &mut UnixStream,
    done: Result<R::Answer, Refusal>,
) -> io::Result<()> {
    match done {
        Ok(answer) => wire::send(stream, &answer).await,
        Err(refusal) => wire::send(stream, &Refused::from(refusal)).await,
    }
}

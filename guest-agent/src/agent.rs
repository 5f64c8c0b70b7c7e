//! The agent: owns every task, from the first listener to the last goodbye.

use std::{
    fs,
    io::{self, Write},
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use lkc_protocol::{
    identity::PublicKey,
    link::{self, Encrypt, LinkOptions, Locality},
    relay::{self, RelayTarget, StdioError},
    session::Limits,
};
use serde_json::json;
use thiserror::Error;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Cli, Command, ConfigError, Keys, NetworkCommand, OutputFormat, RunArgs, StateArgs},
    enrolment::{self, Enrolment},
    exec::{self, ExecuteError},
    host_link::{self, Guest},
    k3s::{K3sPaths, Runner},
    listen::{Accepted, ListenError, Listener},
    network::{
        Keeping, NetworkError, Start,
        change::{self, Prober},
    },
    observe::{Observer, ObserverTasks, describe},
    service_manager,
    steward::{self, Steward, StewardError, keep_network},
};

/// Carriers whose other end is not authenticated yet, at once. An honest host has one.
const MAX_UNAUTHENTICATED: usize = 16;

/// Time that k3s gets to stop when nobody says how long.
const K3S_GRACE: Duration = Duration::from_secs(10);

/// Time that the links and tasks get to end afterwards.
const END_GRACE: Duration = Duration::from_secs(2);

/// Pause after accept(2) failed, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the agent cannot run.
#[derive(Debug, Error)]
pub enum AgentError {
    /// Its keys or arguments.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operating system.
    #[error("cannot {what}")]
    System {
        /// Doing what.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The network.
    #[error(transparent)]
    Network(NetworkError),
    /// Standard input and output are joined with nothing any more.
    #[error(transparent)]
    Relay(#[from] StdioError),
    /// The steward.
    #[error(transparent)]
    Steward(#[from] StewardError),
    /// A program of a host's.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// A task of ours ended that never should.
    #[error("a part of the agent ended: {0}")]
    Defect(String),
}

/// Does what the command line says.
///
/// # Errors
/// See [`AgentError`].
pub fn run(cli: Cli) -> Result<ExitCode, AgentError> {
    match cli.command {
        Command::Run(args) => {
            let runtime = runtime()?;
            runtime.block_on(serve(args)).map(|()| ExitCode::SUCCESS)
        }
        Command::Network(command) => change_network(command).map(|()| ExitCode::SUCCESS),
        Command::Steward(args) => {
            let runtime = runtime()?;
            runtime.block_on(steward::serve(args))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Execute => {
            let runtime = runtime()?;
            runtime.block_on(exec::serve_one())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Stdio(args) => {
            relay::stdio(&RelayTarget::Unix(args.socket))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Relay(args) => {
            relay::stdio(&args.target)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Identity(args) => {
            let keys = args.keys.load()?;
            let enrolled = Enrolment::new(&args.keys.enrolment).hosts();
            let describe = match args.output {
                OutputFormat::Text => describe_keys,
                OutputFormat::Json => describe_keys_for_programs,
            };
            describe(&keys, &enrolled, &mut io::stdout()).map_err(printing)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Token(args) => {
            let lifetime = Duration::from_secs(60 * u64::from(args.minutes));
            let token = Enrolment::new(&args.enrolment)
                .offer(lifetime)
                .map_err(|source| AgentError::System {
                    what: "make a token",
                    source,
                })?;
            writeln!(io::stdout(), "{token}").map_err(printing)?;
            let minutes = args.minutes;
            writeln!(
                io::stderr(),
                "good for one host, once, for {minutes} min: type it where `lkc-host adopt CLUSTER` asks for it"
            )
            .map_err(printing)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> Result<Runtime, AgentError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| AgentError::System {
            what: "start the runtime",
            source,
        })
}

fn change_network(command: NetworkCommand) -> Result<(), AgentError> {
    let runtime = runtime()?;
    let done = match command {
        NetworkCommand::Restore(at) => {
            runtime.block_on(change::restore(&at.state_dir, &at.runtime_dir))
        }
        NetworkCommand::Rollback(args) => {
            let StateArgs {
                state_dir,
                runtime_dir,
            } = args.state;
            runtime.block_on(change::roll_back(args.id, &state_dir, &runtime_dir))
        }
    };
    // A thread may still wait for a lock that an agent which hangs does not let go.
    runtime.shutdown_background();
    done.map_err(AgentError::Network)
}

const fn printing(source: io::Error) -> AgentError {
    AgentError::System {
        what: "print",
        source,
    }
}

fn describe_keys(keys: &Keys, enrolled: &[PublicKey], out: &mut io::Stdout) -> io::Result<()> {
    let ours = keys.identity.public_key();
    writeln!(out, "this guest  {ours}  {}", ours.fingerprint())?;
    for host in &keys.authorized_hosts {
        writeln!(out, "lets in     {host}  {}", host.fingerprint())?;
    }
    for host in enrolled {
        writeln!(out, "enrolled    {host}  {}", host.fingerprint())?;
    }
    Ok(())
}

fn describe_keys_for_programs(
    keys: &Keys,
    enrolled: &[PublicKey],
    out: &mut io::Stdout,
) -> io::Result<()> {
    let described =
        |key: &PublicKey| json!({ "key": key.to_string(), "fingerprint": key.fingerprint() });
    let hosts = keys.authorized_hosts.iter().chain(enrolled).map(described);
    let hosts: Vec<_> = hosts.collect();
    let guest = described(&keys.identity.public_key());
    writeln!(out, "{:#}", json!({ "guest": guest, "hosts": hosts }))
}

async fn serve(args: RunArgs) -> Result<(), AgentError> {
    let keys = args.keys.load()?;
    let listeners = args
        .listen
        .iter()
        .map(Listener::bind)
        .collect::<Result<Vec<_>, _>>()?;
    let cancel = CancellationToken::new();
    let steward = args.steward.as_deref().map(Steward::at);
    let runner = match &steward {
        Some(steward) => Runner::Steward {
            steward: steward.clone(),
            unit: args.k3s_unit.clone(),
        },
        None => Runner::choose(args.k3s.clone(), args.k3s_unit.clone()),
    };
    tracing::debug!(?runner, "who runs k3s");
    let (observer, observer_tasks) = Observer::start(runner, K3sPaths::usual(), &cancel);
    let (stop, stop_requests) = mpsc::channel(1);
    let (network, network_changes) = mpsc::channel(1);
    let guest = Guest::new(
        observer.clone(),
        network,
        stop,
        args.log_path(),
        steward.clone(),
    )
    .whose_clock_is_set(args.set_clock);
    let options = link_options(&keys);
    let enrolment = Enrolment::new(&args.keys.enrolment);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        key = %keys.identity.public_key().fingerprint(),
        hosts = keys.authorized_hosts.len() + enrolment.hosts().len(),
        listen = ?args.listen,
        "lkc-guest runs"
    );
    let mut agent = Agent {
        tasks: JoinSet::new(),
        cancel: cancel.clone(),
        keys: Arc::new(keys),
        enrolment,
        options,
        guest,
        observer: observer.clone(),
    };
    let waits_for_network = steward.is_none();
    match steward {
        Some(steward) => {
            let keeping = keep_network(steward, network_changes, cancel.clone());
            agent.tasks.spawn(keeping);
        }
        None => {
            let keeping = Keeping {
                requests: network_changes,
                observations: observer.observations(),
                cancel: cancel.clone(),
                state_dir: args.keys.enrolment.state_dir.clone(),
                runtime_dir: args.keys.enrolment.runtime_dir.clone(),
                wait_for_host: Duration::from_secs(args.wait_for_host),
                start: Start::Anew,
                idle: watch::Sender::new(false),
                prober: Prober::Here,
                k3s_paths: K3sPaths::usual(),
            };
            agent.tasks.spawn(keeping.run());
        }
    }
    agent.tasks.spawn(service_manager::report_alive(cancel));
    for listener in listeners {
        agent.listen(listener);
    }
    if !waits_for_network {
        service_manager::ready();
    }
    let end = agent.until_stopped(stop_requests, observer_tasks).await;
    tracing::info!("lkc-guest ends");
    end
}

struct Agent {
    tasks: JoinSet<()>,
    cancel: CancellationToken,
    keys: Arc<Keys>,
    enrolment: Enrolment,
    options: LinkOptions,
    guest: Guest,
    observer: Observer,
}

impl Agent {
    fn listen(&mut self, listener: Listener) {
        let gate = Gate {
            unauthenticated: Arc::new(Semaphore::new(MAX_UNAUTHENTICATED)),
            keys: Arc::clone(&self.keys),
            enrolment: self.enrolment.clone(),
            options: self.options.clone(),
            guest: self.guest.clone(),
            cancel: self.cancel.clone(),
        };
        self.tasks.spawn(gate.run(listener));
    }

    async fn until_stopped(
        mut self,
        mut stop_requests: mpsc::Receiver<Duration>,
        mut observer_tasks: ObserverTasks,
    ) -> Result<(), AgentError> {
        let failed = |source| AgentError::System {
            what: "listen for signals",
            source,
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        // A signal ends the agent, and k3s with it where k3s is the agent's own. A host's wish ends
        // k3s whoever runs it. After a defect k3s goes on: the next agent finds it.
        let own_grace = self.observer.owns_k3s().then_some(K3S_GRACE);
        let (k3s_grace, end) = tokio::select! {
            _ = terminate.recv() => (own_grace, Ok(())),
            _ = interrupt.recv() => (own_grace, Ok(())),
            Some(grace) = stop_requests.recv() => (Some(grace), Ok(())),
            reason = observer_tasks.failed() => (None, Err(AgentError::Defect(reason))),
            Some(ended) = self.tasks.join_next() => {
                let reason = ended.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
                (None, Err(AgentError::Defect(reason)))
            }
        };
        service_manager::stopping();
        if let Some(grace) = k3s_grace
            && let Err(error) = self.observer.stop_k3s(grace).await
        {
            tracing::error!(error = %describe(&error), "k3s did not stop");
        }
        self.cancel.cancel();
        let rest = async {
            while self.tasks.join_next().await.is_some() {}
            observer_tasks.join().await
        };
        if timeout(END_GRACE, rest).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        end
    }
}

/// Lets hosts in.
struct Gate {
    unauthenticated: Arc<Semaphore>,
    keys: Arc<Keys>,
    enrolment: Enrolment,
    options: LinkOptions,
    guest: Guest,
    cancel: CancellationToken,
}

impl Gate {
    async fn run(self, listener: Listener) {
        let mut links = JoinSet::new();
        let mut accepting = pin!(listener.accept());
        loop {
            let accepted = tokio::select! {
                () = self.cancel.cancelled() => break,
                Some(_) = links.join_next() => continue,
                accepted = &mut accepting => accepted,
            };
            match accepted {
                Ok(accepted) => self.admit(accepted, &mut links),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a carrier");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            accepting.set(listener.accept());
        }
        while links.join_next().await.is_some() {}
    }

    fn admit(&self, accepted: Accepted, links: &mut JoinSet<()>) {
        let Ok(permit) = Arc::clone(&self.unauthenticated).try_acquire_owned() else {
            tracing::warn!(
                peer = accepted.peer,
                "turned away: too many carriers wait to be authenticated"
            );
            return;
        };
        let (enrolment, guest, cancel) = (
            self.enrolment.clone(),
            self.guest.clone(),
            self.cancel.clone(),
        );
        let mut authorized = self.keys.authorized_hosts.clone();
        authorized.extend(enrolment.hosts());
        let token = enrolment.waiting();
        let of_token = token.as_ref().and_then(|token| token.identity().ok());
        let of_token = of_token.map(|identity| identity.public_key());
        authorized.extend(of_token);
        let options = LinkOptions {
            locality: accepted.locality,
            ..self.options.clone()
        };
        links.spawn(async move {
            let handshake = link::accept(accepted.carrier, &authorized, &options);
            let link = tokio::select! {
                () = cancel.cancelled() => return,
                link = handshake => link,
            };
            drop(permit);
            match link {
                Ok((link, incoming, driver)) => {
                    if let Some(token) = token.filter(|_| of_token == Some(link.peer_key())) {
                        let serving =
                            enrolment::serve(link, incoming, driver, &enrolment, &token, cancel);
                        let end = serving.await;
                        tracing::info!(%end, "a host that came by a token is done");
                        return;
                    }
                    tracing::info!(
                        host = link.peer().node,
                        version = link.peer().version,
                        key = %link.peer_key().fingerprint(),
                        encrypted = link.is_encrypted(),
                        "link up"
                    );
                    let giver = accepted.offered.and_then(|offered| offered.bind(&link));
                    let guest = guest.of_link(giver);
                    let end = host_link::serve(link, incoming, driver, guest, cancel).await;
                    tracing::info!(%end, "link down");
                }
                Err(error) => tracing::warn!(%error, peer = accepted.peer, "no link"),
            }
        });
    }
}

fn link_options(keys: &Keys) -> LinkOptions {
    LinkOptions {
        identity: Arc::clone(&keys.identity),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: host_link::hostname(),
        boot_id: boot_id(),
        encrypt: Encrypt::Auto,
        locality: Locality::Remote,
        limits: Limits::default(),
    }
}

/// The kernel's id of this boot; zeros where it has none, which is then never told apart.
fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16)
        .unwrap_or_default()
        .to_be_bytes()
}

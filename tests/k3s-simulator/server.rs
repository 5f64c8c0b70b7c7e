//! One run of the server, from its first log line to its exit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::api::World;
use crate::certificates::{CertificateError, Pki};
use crate::http::tls::{self, TlsError};
use crate::http::{self, Shared};
use crate::ids::Ids;
use crate::lifecycle::Lifecycle;
use crate::machine::{self, MachineError};
use crate::options::Options;
use crate::persistence;
use crate::{files, kubeconfig, log, notify, token};

/// More connections than any test or user opens; beyond them new ones are closed.
const CONNECTIONS_LIMIT: usize = 512;
/// How long open requests may take to finish after a signal to stop.
const STOP_GRACE: Duration = Duration::from_millis(400);
/// How long changes may stay unsaved.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The failure that the script asked for, word for word.
    #[error("{0}")]
    Scripted(String),
    #[error("the script ends this run after {0:?}")]
    ScriptedCrash(Duration),
    #[error("cannot prepare certificates")]
    Certificates(#[from] CertificateError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("listen tcp {address}: bind")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

/// Runs until a signal ends it.
///
/// # Errors
/// What k3s would log as fatal.
pub(crate) fn run(options: &Options) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(async {
        // Before anything that others can see, so that a signal never finds us without handlers.
        let mut signals = Signals::new().map_err(RunError::Runtime)?;
        start(options, &mut signals).await
    })
}

async fn start(options: &Options, signals: &mut Signals) -> Result<(), RunError> {
    log::warning(
        "This is the k3s SIMULATOR of lkc, not k3s: it answers the Kubernetes API and runs no containers",
    );
    log::info(&format!(
        "Starting k3s-simulator {}",
        crate::version::KUBERNETES
    ));
    if let Some(server) = &options.join {
        log::warning(&format!(
            "Joining {server} is not simulated: this server is a cluster of its own"
        ));
    }
    scripted_failure(options)?;
    let machine = machine::inspect(options)?;
    machine::check_etcd_member(options, &machine)?;
    let names = machine.certificate_names(options);
    let mut pki = Pki::prepare(&options.data_dir, &names, SystemTime::now())?;
    token::write(options, &pki).map_err(|source| RunError::Write {
        path: options.data_dir.join("server/token"),
        source,
    })?;
    let (tls_config, clients) = tls::configure(&pki)?;
    write_kubeconfig(options, &pki)?;
    tokio::select! {
        () = tokio::time::sleep(options.script.api_delay) => {}
        _ = signals.terminate.recv() => return Ok(()),
        _ = signals.interrupt.recv() => return Ok(()),
    }
    let listener = listen(options).await?;
    let lifecycle = Lifecycle::new(
        machine.node_facts(options),
        options.script.clone(),
        options.disabled.clone(),
        options.has_cni,
        pki.server_ca_pem.clone(),
    );
    let world = World {
        store: persistence::load(&options.data_dir),
        ids: Ids::new(seed()),
        is_ready: false,
        service_prefix: machine::service_prefix(&options.service_cidr),
    };
    let shared = Arc::new(Shared::new(
        world,
        Instant::now(),
        pki.server_ca_pem.clone(),
    ));
    let acceptor = TlsAcceptor::from(tls_config);
    let running = Running {
        options,
        pki: &mut pki,
        shared,
        lifecycle,
        acceptor,
        clients,
    };
    running.until_stopped(listener, signals).await
}

struct Running<'a> {
    options: &'a Options,
    pki: &'a mut Pki,
    shared: Arc<Shared>,
    lifecycle: Lifecycle,
    acceptor: TlsAcceptor,
    clients: Arc<tls::Clients>,
}

impl Running<'_> {
    async fn until_stopped(
        mut self,
        listener: TcpListener,
        signals: &mut Signals,
    ) -> Result<(), RunError> {
        let mut connections = JoinSet::new();
        let result = self.serve(&listener, &mut connections, signals).await;
        drop(listener);
        self.shared.is_stopping.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_GRACE, drained).await;
        connections.shutdown().await;
        self.save();
        result
    }

    /// Accepts connections and lives the cluster's life until told to stop.
    async fn serve(
        &mut self,
        listener: &TcpListener,
        connections: &mut JoinSet<()>,
        signals: &mut Signals,
    ) -> Result<(), RunError> {
        let script = &self.options.script;
        let mut changes = self.shared.changes();
        let mut announced = false;
        let mut rotate_at = script.rotate_after;
        let mut saved_version = 0;
        let mut save_at: Option<Duration> = None;
        loop {
            changes.borrow_and_update();
            let lifecycle = &mut self.lifecycle;
            let (wake_at, is_ready, version) = self.shared.with_world(|world, now| {
                let wake_at = lifecycle.step(world, now);
                (wake_at, world.is_ready, world.store.version())
            });
            changes.borrow_and_update();
            if is_ready && !std::mem::replace(&mut announced, true) {
                announce();
            }
            let uptime = self.shared.now().uptime;
            if script.crash_after.is_some_and(|after| uptime >= after) {
                return Err(RunError::ScriptedCrash(
                    script.crash_after.unwrap_or_default(),
                ));
            }
            if rotate_at.is_some_and(|at| uptime >= at) {
                rotate_at = None;
                self.rotate()?;
            }
            if save_at.is_some_and(|at| uptime >= at) {
                save_at = None;
                saved_version = version;
                self.save();
            }
            if version != saved_version {
                save_at.get_or_insert(uptime + SAVE_INTERVAL);
            }
            let next = [wake_at, script.crash_after, rotate_at, save_at]
                .into_iter()
                .flatten()
                .min();
            let sleep = next.map(|at| at.saturating_sub(uptime));
            tokio::select! {
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.hangup.recv() => self.rotate()?,
                accepted = listener.accept() => {
                    while connections.try_join_next().is_some() {}
                    match accepted {
                        Ok((stream, _)) if connections.len() < CONNECTIONS_LIMIT => {
                            let _ = stream.set_nodelay(true);
                            connections.spawn(http::serve(self.shared.clone(), self.acceptor.clone(), self.clients.clone(), stream));
                        }
                        Ok(_) => log::warning("too many connections: closing a new one"),
                        Err(error) => log::warning(&format!("cannot accept a connection: {error}")),
                    }
                }
                _ = changes.changed() => {}
                () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
            }
        }
    }

    fn rotate(&mut self) -> Result<(), RunError> {
        self.pki.rotate_admin(SystemTime::now())?;
        write_kubeconfig(self.options, self.pki)?;
        log::info("Renewed the client certificate of the admin");
        Ok(())
    }

    fn save(&self) {
        let dump = self.shared.with_world(|world, _| world.store.dump());
        if let Err(error) = persistence::save(&self.options.data_dir, &dump) {
            log::warning(&format!("cannot save the state of the cluster: {error}"));
        }
    }
}

fn announce() {
    log::info("k3s is up and running");
    if let Ok(socket) = std::env::var("NOTIFY_SOCKET")
        && let Err(error) = notify::ready(&socket)
    {
        log::warning(&format!("cannot tell {socket} that we are ready: {error}"));
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

async fn listen(options: &Options) -> Result<TcpListener, RunError> {
    let any = |address: IpAddr| SocketAddr::new(address, options.port);
    let listen_error = |address| move |source| RunError::Listen { address, source };
    if let Some(address) = options.bind_address {
        return TcpListener::bind(any(address))
            .await
            .map_err(listen_error(any(address)));
    }
    let (v4, v6) = (
        any(Ipv4Addr::UNSPECIFIED.into()),
        any(Ipv6Addr::UNSPECIFIED.into()),
    );
    match TcpListener::bind(v6).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(v4).await.map_err(listen_error(v4))
        }
        other => other.map_err(listen_error(v6)),
    }
}

fn write_kubeconfig(options: &Options, pki: &Pki) -> Result<(), RunError> {
    let host = match options.bind_address {
        Some(IpAddr::V6(address)) if !address.is_unspecified() => format!("[{address}]"),
        Some(IpAddr::V4(address)) if !address.is_unspecified() => address.to_string(),
        _ => "127.0.0.1".to_owned(),
    };
    let text = kubeconfig::render(
        pki,
        &format!("https://{host}:{}", options.port),
        options.script.hostile,
    );
    let path = &options.kubeconfig_path;
    files::write_atomically(path, text.as_bytes(), options.kubeconfig_mode).map_err(|source| {
        RunError::Write {
            path: path.clone(),
            source,
        }
    })?;
    log::info(&format!("Wrote kubeconfig {}", path.display()));
    Ok(())
}

/// Fails this start if the script says so; a count of starts is kept in the data directory.
fn scripted_failure(options: &Options) -> Result<(), RunError> {
    let script = &options.script;
    if script.fail.is_none() && script.fail_times.is_none() {
        return Ok(());
    }
    if let Some(times) = script.fail_times {
        let path = options.data_dir.join("simulated-starts");
        let starts: u32 = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        let write_error = |source| RunError::Write {
            path: path.clone(),
            source,
        };
        files::write_atomically(
            &path,
            starts.saturating_add(1).to_string().as_bytes(),
            0o600,
        )
        .map_err(write_error)?;
        if starts >= times {
            return Ok(());
        }
    }
    Err(RunError::Scripted(script.fail.clone().unwrap_or_else(
        || "starting kubernetes: simulated failure".to_owned(),
    )))
}

fn seed() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_secs().rotate_left(32)
        ^ u64::from(since.subsec_nanos())
        ^ u64::from(std::process::id()) << 20
}

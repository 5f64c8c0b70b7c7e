//! The background daemon: one per user, started when it is needed, gone when there is nothing to
//! look after.
//!
//! [`state`] decides, as a pure function; the shell does what it decides and owns every task:
//! the link of each cluster, the listener of each forward, the machine being started or stopped.
//! Clients see a [`Handle`]: a way to ask, and what is shown. Machines outlive the daemon; the next
//! one finds them and listens again before it says that it is ready.
//!
//! Deliberately absent: the command line, the terminal, and anything that prints.

mod adopt;
mod examine;
mod forwarder;
mod guest_clock;
mod guest_link;
mod guest_network;
mod guest_tasks;
mod handle;
mod holder;
mod kubeconfig_task;
mod lock;
mod log;
mod machine_tasks;
mod node_info;
mod probe;
mod provision;
mod reporter;
mod reverse;
mod shell;
pub mod state;
mod threads;
mod visit;

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::FileTypeExt},
};

use lkc_protocol::identity::PublicKey;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use adopt::adopt;
pub use examine::{CarrierCheck, Stage, examine};
pub use guest_link::{ActiveLink, LinkSlot};
pub use handle::{Handle, Views};
pub use visit::Visit;

use crate::{
    config::ClusterName,
    control::{Failure, server::Server},
    error::{CommandError, Kind},
    paths::{Paths, private},
};
use shell::Shell;

/// What the daemon writes to a pipe on its standard output once it takes requests and every
/// listener of a cluster that runs is bound.
pub const READY: u8 = b'\n';

/// The public keys of a cluster: this host's, made now if there is none yet, and its guest's, once
/// known.
///
/// # Errors
/// The files of the cluster cannot be read or made.
pub fn public_keys(
    paths: &Paths,
    cluster: &ClusterName,
) -> Result<(PublicKey, Option<PublicKey>), Failure> {
    provision::public_keys(paths, cluster).map_err(|error| error.to_failure())
}

/// Forgets a cluster that has keys and was never up.
///
/// # Errors
/// Its files cannot be removed; calling again continues.
pub fn forget(paths: &Paths, cluster: &ClusterName) -> Result<(), Failure> {
    provision::remove(paths, cluster).map_err(|error| error.to_failure())
}

/// Runs the daemon in this process until it is told to stop or has been idle for long.
///
/// When standard output is a pipe, somebody started us in the background: we leave their session,
/// write [`READY`] to the pipe and then let go of it.
///
/// # Errors
/// `Conflict` when a daemon of this user runs already, `HostIo` when its files, its socket or its
/// runtime cannot be had.
pub fn run(paths: &Paths) -> Result<(), CommandError> {
    let in_background = is_pipe(io::stdout());
    if in_background {
        // Fails for the leader of a process group, who then is one of a session of its own too.
        let _ = nix::unistd::setsid();
    }
    private::private_dir(paths.state_dir(), paths.uid())?;
    private::private_dir(paths.runtime_dir(), paths.uid())?;
    let _lock = lock::take(paths)?;
    log::init(&paths.daemon_log())?;
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| host_io("cannot start the runtime", &source))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "daemon started"
    );
    let result = runtime.block_on(serve(paths, in_background));
    tracing::info!("daemon ended");
    result
}

async fn serve(paths: &Paths, in_background: bool) -> Result<(), CommandError> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|source| host_io("cannot listen for signals", &source))?;
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|source| host_io("cannot listen for signals", &source))?;
    let server = Server::bind(paths)?;
    let (mut shell, handle) = Shell::new(paths.clone(), stop.clone());
    shell.restore().await;
    if in_background {
        say_ready().map_err(|source| host_io("cannot say that the daemon is ready", &source))?;
    }
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stop.cancelled() => {}
        }
        stop.cancel();
    };
    tokio::join!(
        shell.run(shell::IDLE),
        server.serve(handle, &stop),
        signalled
    );
    Ok(())
}

/// Writes the ready byte and closes the pipe, so that nobody waits for more from us.
fn say_ready() -> io::Result<()> {
    let mut pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    pipe.write_all(&[READY])?;
    let null = File::options().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(null)?;
    Ok(())
}

fn is_pipe(descriptor: impl AsFd) -> bool {
    let Ok(owned) = descriptor.as_fd().try_clone_to_owned() else {
        return false;
    };
    File::from(owned)
        .metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Each forwarded connection is a descriptor, and shells allow a thousand by habit.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard.min(DESCRIPTORS), hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of descriptors");
    }
}

/// Descriptors that we want at most; more would be a leak.
const DESCRIPTORS: u64 = 65_536;

fn host_io(what: &str, source: &io::Error) -> CommandError {
    CommandError::new(Kind::HostIo, format!("{what}: {source}"))
}

/// A daemon that looks after nothing, for tests of what is in front of it: what runs it, and the
/// way to it.
#[cfg(test)]
pub(crate) fn for_tests(
    paths: &Paths,
    stop: &CancellationToken,
) -> (impl Future<Output = ()> + Send + use<>, Handle) {
    let (shell, handle) = Shell::new(paths.clone(), stop.clone());
    (shell.run(shell::IDLE), handle)
}

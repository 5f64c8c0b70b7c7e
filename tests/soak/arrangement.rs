//! A cluster of its own, made by the real programs, with a forward to a server in it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lkc_tests::{Programs, TestEnv, process::Process, within};
use nix::unistd::geteuid;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    Failure,
    options::{EveryOptions, Way},
    usage::Usage,
};

const CLUSTER: &str = "k3s-dev";

/// Port of the server in the machine.
const PORT: u16 = 7000;

/// Longest time until the descriptors and threads of before are all there is again.
const SETTLING: Duration = Duration::from_secs(60);

/// Time without a change after which nothing is under way: longer than a runtime keeps a thread
/// that it has no use for.
const QUIET: Duration = Duration::from_secs(11);

/// Everything that runs. On drop it is ended, and it is an error if anything is left.
pub(crate) struct Arrangement {
    env: TestEnv,
    daemon: Process,
    interrupted: Arc<AtomicBool>,
    /// Where clients connect to.
    pub(crate) entry: SocketAddr,
}

/// The counters of the forward that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) open: u64,
    pub(crate) total: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) parked: u64,
}

impl Arrangement {
    /// Brings it up, and listens for the forwarded connections.
    ///
    /// # Errors
    /// When the programs are not there, or this is not root.
    pub(crate) fn make(
        runtime: &Runtime,
        options: &EveryOptions,
        way: Way,
    ) -> Result<(Self, TcpListener), Failure> {
        if !geteuid().is_root() {
            let why = "only root may listen in the machine's network: run it as root";
            return Err(Failure::Here(why.to_owned()));
        }
        let env = TestEnv::new(programs(options.programs.as_deref())?);
        let encrypt = match way {
            Way::Sockets => "encrypt = \"auto\"",
            Way::Streams => "encrypt = \"always\"",
        };
        env.configure(&env.cluster(CLUSTER, 0, &[], encrypt));
        let up = env.lkc(["up"]).run();
        if up.exit_code() != 0 {
            return Err(Failure::Here(format!("no cluster: {up}")));
        }
        let listener = env.listen_in(CLUSTER, &format!("127.0.0.1:{PORT}"));
        let port = env.spare_port(0);
        env.run(&["forward", &format!("soak={port}:{PORT}")])
            .succeeds();
        let _inside = runtime.enter();
        let what = |error| Failure::Here(format!("cannot listen: {error}"));
        listener.set_nonblocking(true).map_err(what)?;
        let listener = TcpListener::from_std(listener).map_err(what)?;
        let arrangement = Self {
            daemon: env.daemon(),
            env,
            interrupted: watch_for_signals(runtime)?,
            entry: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        Ok((arrangement, listener))
    }

    /// # Errors
    /// `Interrupted` once a signal came.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        Ok(())
    }

    /// The guest agent's process.
    pub(crate) fn guest(&self) -> Option<Process> {
        self.env.process_in(CLUSTER, "lkc-guest")
    }

    /// What both programs use now.
    ///
    /// # Errors
    /// When one of them is not there.
    pub(crate) fn usage(&self) -> Result<[Usage; 2], Failure> {
        let guest = self.guest();
        let guest = guest.ok_or_else(|| Failure::Here("the guest agent is gone".to_owned()))?;
        Ok([Usage::of(self.daemon.pid), Usage::of(guest.pid)])
    }

    /// What both programs use when nothing changes any more; as they are, after a while.
    ///
    /// # Errors
    /// As [`Self::usage`].
    pub(crate) fn quiet(&self) -> Result<[Usage; 2], Failure> {
        let (mut last, mut since) = (self.usage()?, Instant::now());
        within(SETTLING, || {
            let now = self.usage().ok()?;
            let same = now.iter().zip(&last).all(|(now, last)| now.holds_as(last));
            if !same {
                (last, since) = (now, Instant::now());
            }
            (since.elapsed() > QUIET).then_some(())
        });
        self.usage()
    }

    /// What both programs use once they hold as much as before; as they are, after a while.
    ///
    /// # Errors
    /// As [`Self::usage`].
    pub(crate) fn settled(&self, before: &[Usage; 2]) -> Result<[Usage; 2], Failure> {
        let mut last = self.usage()?;
        // What is left over is in the figures.
        within(SETTLING, || {
            last = self.usage().ok()?;
            let same = |(now, then): (&Usage, &Usage)| now.holds_as(then);
            last.iter().zip(before).all(same).then_some(())
        });
        Ok(last)
    }

    /// The forward's counters.
    pub(crate) fn forward(&self) -> Forward {
        let status = self.env.status(CLUSTER);
        let forwards = status["forwards"].as_array();
        let ours = forwards.and_then(|all| all.iter().find(|one| one["name"] == "soak"));
        let count = |name: &str| {
            let value = ours.and_then(|forward| forward[name].as_u64());
            value.unwrap_or_default()
        };
        Forward {
            open: count("open"),
            total: count("total"),
            refused: count("refused"),
            failed: count("failed"),
            parked: count("parked"),
        }
    }

    /// How often the link was made, and whether it is up.
    pub(crate) fn link(&self) -> (u64, bool) {
        let link = self.env.status(CLUSTER)["link"].take();
        let connects = link["connects"].as_u64().unwrap_or_default();
        (connects, link["state"] == "up")
    }
}

fn watch_for_signals(runtime: &Runtime) -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut arrival =
            signal(kind).map_err(|error| Failure::Here(format!("no signals: {error}")))?;
        let interrupted = Arc::clone(&interrupted);
        // Ends with the runtime.
        runtime.spawn(async move {
            while arrival.recv().await.is_some() {
                interrupted.store(true, Ordering::Relaxed);
            }
        });
    }
    Ok(interrupted)
}

/// The programs in a directory, by default that of this one.
fn programs(directory: Option<&Path>) -> Result<Programs, Failure> {
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent).map(PathBuf::from);
    let directory = directory.map(PathBuf::from).or(beside).unwrap_or_default();
    let program = |name: &str| {
        let path = directory.join(name);
        if !path.is_file() {
            let text = format!("{} is missing: `cargo build` first", path.display());
            return Err(Failure::Here(text));
        }
        // Until the process ends, as the constants of a test are.
        Ok(&*path.display().to_string().leak())
    };
    Ok(Programs {
        host: program("lkc-host")?,
        guest: program("lkc-guest")?,
        simulator: program("k3s-simulator")?,
    })
}

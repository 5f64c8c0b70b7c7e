//! What is measured: ways from a client to a backend, each started afresh when it is needed.

mod haproxy;
mod ours;
mod relays;
mod socat;
mod ssh;

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Failure,
    children::{Child, find_tool},
    interrupt::Interrupt,
    load::{Backend, Target, probe},
};

/// Longest time until another program takes connections.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// One way from a client to a backend.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Whether the quick form has it.
    pub(crate) quick: bool,
    kind: Kind,
    /// Another build of this program, whose tunnel it is.
    build: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Direct,
    Ours(ours::Form),
    Socat { hops: u32, tuned: bool },
    Ssh,
    Haproxy,
    Relay { hops: u32 },
    Splice,
}

/// All of them, ours after the reference.
pub(crate) const CANDIDATES: &[Candidate] = &[
    candidate(
        "direct",
        "no tunnel: one loopback connection",
        true,
        Kind::Direct,
    ),
    candidate(
        "lkc-unix",
        "our tunnel over a unix socket, connections handed over",
        true,
        Kind::Ours(ours::Form::Unix),
    ),
    candidate(
        "lkc-unix-streams",
        "our tunnel over a unix socket, authenticated, then plain, every byte on the link",
        true,
        Kind::Ours(ours::Form::UnixStreams),
    ),
    candidate(
        "lkc-unix-encrypted",
        "our tunnel over a unix socket, encrypted",
        true,
        Kind::Ours(ours::Form::UnixEncrypted),
    ),
    candidate(
        "lkc-tcp",
        "our tunnel over a TCP connection, encrypted as always there",
        false,
        Kind::Ours(ours::Form::Tcp),
    ),
    candidate("socat-1", "one socat hop", false, socat(1, false)),
    candidate(
        "socat-2",
        "two socat hops, as most people run them",
        true,
        socat(2, false),
    ),
    candidate(
        "socat-1-tuned",
        "one socat hop, nodelay and -b65536",
        false,
        socat(1, true),
    ),
    candidate(
        "socat-2-tuned",
        "two socat hops, nodelay and -b65536",
        true,
        socat(2, true),
    ),
    candidate("ssh", "ssh -L through a loopback sshd", false, Kind::Ssh),
    candidate("haproxy", "one haproxy hop, mode tcp", false, Kind::Haproxy),
    candidate(
        "relay-1",
        "one hop of copy_bidirectional, 256 KiB buffers",
        false,
        Kind::Relay { hops: 1 },
    ),
    candidate(
        "relay-2",
        "two hops of copy_bidirectional, 256 KiB buffers",
        true,
        Kind::Relay { hops: 2 },
    ),
    candidate(
        "splice-2",
        "two hops of splice(2), a unix socket per connection between them",
        false,
        Kind::Splice,
    ),
];

const fn candidate(name: &'static str, what: &'static str, quick: bool, kind: Kind) -> Candidate {
    Candidate {
        name,
        what,
        quick,
        kind,
        build: None,
    }
}

const fn socat(hops: u32, tuned: bool) -> Kind {
    Kind::Socat { hops, tuned }
}

impl Candidate {
    /// The one with this name.
    ///
    /// # Errors
    /// `Candidate` with what there is.
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let found = CANDIDATES.iter().find(|candidate| candidate.name == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = CANDIDATES.iter().map(|candidate| candidate.name).collect();
            Failure::Candidate(format!(
                "no candidate {name}; there are {}",
                names.join(", ")
            ))
        })
    }

    /// `lkc-unix` as another build of this program has it, to see what a change did.
    pub(crate) fn before(build: PathBuf) -> Self {
        Self {
            build: Some(build),
            ..candidate(
                "lkc-unix-before",
                "our tunnel over a unix socket, of the build that is compared",
                true,
                Kind::Ours(ours::Form::Unix),
            )
        }
    }

    /// Whether it is a form of our tunnel.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours(_))
    }

    /// Whether its programs are installed.
    ///
    /// # Errors
    /// `Missing` names the first that is not.
    pub(crate) fn available(&self) -> Result<(), Failure> {
        let tools: &[_] = match self.kind {
            Kind::Direct | Kind::Ours(_) | Kind::Relay { .. } | Kind::Splice => &[],
            Kind::Socat { .. } => &["socat"],
            Kind::Ssh => &["ssh", "sshd", "ssh-keygen"],
            Kind::Haproxy => &["haproxy"],
        };
        match tools.iter().find(|tool| find_tool(tool).is_none()) {
            Some(missing) => Err(Failure::Missing(missing)),
            None => Ok(()),
        }
    }

    /// Starts it in front of a backend of its own, and waits until it works.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn start(&self, place: Place, interrupt: &Interrupt) -> Result<Running, Failure> {
        self.available()?;
        let backend = Backend::start()?;
        let (target, apart) = match place {
            Place::Here => (backend.address(), None),
            Place::Apart => {
                let (child, listening) = Child::ours("backend", &())?;
                (ours::address(&listening)?, Some(child))
            }
        };
        let directory = tempfile::Builder::new()
            .prefix("lkc-bench-")
            .tempdir()
            .map_err(Failure::to("make a temporary directory"))?;
        let path = directory.path();
        let (entry, children) = match self.kind {
            Kind::Direct => (target, Vec::new()),
            Kind::Ours(form) => ours::start(form, self.build.as_deref(), target, path)?,
            Kind::Socat { hops, tuned } => socat::start(hops, tuned, target, path)?,
            Kind::Ssh => ssh::start(target, path)?,
            Kind::Haproxy => haproxy::start(target, path)?,
            Kind::Relay { hops } => relays::start(hops, target)?,
            Kind::Splice => relays::start_splicing(target, path)?,
        };
        let mut running = Running {
            entry,
            children,
            backend,
            _apart: apart,
            _directory: directory,
        };
        running.wait_until_it_works(interrupt)?;
        Ok(running)
    }
}

/// Where the backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this process, which can see what arrives.
    Here,
    /// In another, so that each has descriptors for its half of the connections.
    Apart,
}

/// A candidate that is running; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    entry: SocketAddr,
    children: Vec<Child>,
    backend: Backend,
    _apart: Option<Child>,
    _directory: TempDir,
}

impl Running {
    pub(crate) const fn target(&self) -> Target<'_> {
        Target {
            entry: self.entry,
            backend: &self.backend,
        }
    }

    /// The processes of the tunnel; what they start belongs to them.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    fn wait_until_it_works(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        let target = Target {
            entry: self.entry,
            backend: &self.backend,
        };
        let children = &mut self.children;
        interrupt.until("a connection works", START_DEADLINE, || {
            if let Some(said) = children.iter_mut().find_map(Child::last_words) {
                return Some(Err(Failure::Candidate(format!("it ended: {said}"))));
            }
            probe(target).then_some(Ok(()))
        })?
    }
}

/// A port of 127.0.0.1 that is free now, for programs that cannot choose one themselves.
fn free_address() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(Failure::to("find a free port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_known() {
        for candidate in CANDIDATES {
            let named = Candidate::named(candidate.name).expect("is there");
            assert_eq!(named.what, candidate.what);
        }
        let error = Candidate::named("carrier-pigeon").expect_err("is not there");
        assert!(error.to_string().contains("socat-2-tuned"), "{error}");
    }
}

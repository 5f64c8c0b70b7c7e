//! How the bytes of a link travel: one reliable ordered byte stream to the guest.
//!
//! A [`Carrier`] says where its other end is, a [`Route`] puts hops in front of it. Connecting gives
//! bytes and nothing more: who is behind them, the handshake decides.

mod error;
mod exec;
mod hop;
mod hybrid;
mod parse;
mod route;
mod serial;
pub mod ssh;
mod tcp;
mod unix;
#[cfg(target_os = "linux")]
mod vsock;
#[cfg(not(target_os = "linux"))]
#[path = "carrier/vsock_elsewhere.rs"]
mod vsock;
mod words;

use std::path::PathBuf;

use lkc_protocol::{
    handover::Expected,
    link::{AnyCarrier, Duplex, Locality},
};
use serde::{Deserialize, Serialize};

pub use error::{CarrierError, ConnectFailure};
pub(crate) use hop::check as check_hops;
pub use hop::{Hop, HopParseError};
pub use parse::CarrierParseError;
pub use route::Route;

/// Where the other end of a carrier is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Carrier {
    /// AF_VSOCK to a guest of this host. Linux only.
    Vsock {
        /// The guest's context id.
        cid: u32,
        /// The port that its agent listens on.
        port: u32,
    },
    /// A unix socket of a virtual machine monitor that leads to the guest's AF_VSOCK ports after
    /// `CONNECT port`: Firecracker, cloud-hypervisor, vhost-device-vsock.
    Hybrid {
        /// The monitor's socket.
        path: PathBuf,
        /// The port that the guest's agent listens on.
        port: u32,
    },
    /// A unix socket of this host: the agent's own, one that leads to it, or a monitor's socket for
    /// one port (vfkit, krunkit).
    Unix(PathBuf),
    /// TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Standard input and output of a command, which leads to `lkc-guest stdio`. Never a shell: the
    /// program and its arguments.
    Exec(Vec<String>),
    /// The unix socket of a virtio-serial port. One user at a time.
    Serial(PathBuf),
    /// SSH, to the agent's socket there or to a command that speaks for it.
    Ssh(ssh::Target),
}

/// The bytes of a connected carrier.
pub type CarrierStream = AnyCarrier;

/// A connected carrier.
#[derive(Debug)]
pub struct ConnectedCarrier {
    /// Its bytes.
    pub stream: CarrierStream,
    /// Where a guest under the same kernel puts what it hands connections over with.
    pub expected: Option<Expected>,
    /// Whether only the kernel and the hypervisor stand between its ends, so that an authenticated
    /// link may go on unencrypted.
    pub locality: Locality,
    /// What SSH servers on the way say to everybody before they log somebody in, harmless to print.
    pub banners: Vec<String>,
}

impl ConnectedCarrier {
    /// Bytes that others may see on their way.
    fn remote(stream: impl Duplex + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            expected: None,
            locality: Locality::Remote,
            banners: Vec::new(),
        }
    }

    /// Bytes inside SSH.
    fn of_ssh(stream: ssh::SshStream) -> Self {
        Self {
            banners: stream.banners().to_vec(),
            ..Self::remote(stream)
        }
    }

    /// Bytes that pass the kernel and a hypervisor.
    fn local(stream: impl Duplex + 'static) -> Self {
        Self {
            locality: Locality::Local,
            ..Self::remote(stream)
        }
    }
}

impl Carrier {
    /// Connects from this host, over SSH with `options`. Where more than the kernel stands between
    /// the ends the caller's deadline bounds it.
    async fn connect(&self, options: &ssh::Options) -> Result<ConnectedCarrier, ConnectFailure> {
        match self {
            Self::Vsock { cid, port } => vsock::connect(*cid, *port).await,
            Self::Hybrid { path, port } => hybrid::connect(path, *port).await,
            Self::Unix(path) => unix::connect(path).await,
            Self::Tcp { host, port } => tcp::connect(host, *port).await,
            Self::Exec(command) => exec::connect(command),
            Self::Serial(path) => serial::connect(path).await,
            Self::Ssh(target) => ssh::carrier(target, options).await,
        }
    }
}

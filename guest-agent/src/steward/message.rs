//! What the agent and the steward say to each other. Both are the same program; a message that the
//! other does not know, as while one of them is of yesterday, is refused like any that makes no sense.

use std::net::SocketAddr;

use bincode::{Decode, Encode};
use lkc_protocol::{
    error::{Refusal, RefusalCode},
    message::{Body, ConfirmNetwork, K3sRole, NetworkConfirmed, Request},
};

use crate::{
    network::change::ProbesWanted,
    observe::KubeconfigState,
    readiness::{K3sState, NetworkState},
};

/// Numbers above those of the wire, where the requests of hosts are.
macro_rules! messages {
    ($($number:literal $message:ident $(-> $answer:ident)?;)*) => {
        $(
            impl Body for $message {
                const NUMBER: u16 = $number;
                const NAME: &'static str = stringify!($message);
            }
            $(impl Request for $message { type Answer = $answer; })?
        )*
    };
}

messages! {
    0xf000 Refused;
    0xf001 Done;
    0xf002 Confirm -> NetworkConfirmed;
    0xf003 EnsureK3s -> Ensured;
    0xf004 Ensured;
    0xf005 StopK3s -> Done;
    0xf006 ApiReady -> Done;
    0xf007 Reread -> Done;
    0xf008 Listening -> Done;
    0xf009 Follow -> Done;
    0xf00a Event;
    0xf00b Started;
    0xf00c Signalled;
    0xf00d Over;
}

/// It is not done.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Refused {
    code: u16,
    text: String,
}

/// It is done.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Done {}

/// A host confirms a change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Confirm {
    pub(crate) wanted: ConfirmNetwork,
    /// Since when its link is up, milliseconds since the boot.
    pub(crate) link_since_ms: u64,
}

/// k3s is to run as it was configured last.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct EnsureK3s {
    pub(crate) role: K3sRole,
}

/// It runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Ensured {
    pub(crate) started: bool,
}

/// k3s is to end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct StopK3s {
    pub(crate) grace_ms: u64,
}

/// The API was ready.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ApiReady {}

/// The kubeconfig is worth another look.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Reread {}

/// The agent listens for the probes of a change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Listening {
    /// Which the listeners give away.
    pub(crate) secret: [u8; 16],
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Whatever happens is to be told from now on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Follow {}

/// Something has happened, or stands so.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Event {
    /// The node that k3s was configured as last.
    Node {
        role: K3sRole,
        name: String,
    },
    Network(NetworkState),
    K3s {
        state: K3sState,
        /// When it was started, milliseconds of the wall clock.
        started_ms: Option<u64>,
    },
    Kubeconfig(KubeconfigState),
    Probes(Option<ProbesWanted>),
    /// Whether nothing is under way with the network.
    Idle(bool),
}

/// A program runs; its descriptors have come already.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Started {
    /// Exit status for a program that could not be started, and why, for people.
    pub(crate) failed: Option<(u8, String)>,
}

/// The program is sent a signal.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Signalled {
    pub(crate) number: u8,
}

/// The program is over.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Over {
    pub(crate) killed: bool,
    /// The exit status, or the signal.
    pub(crate) number: u8,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code.number(),
            text: refusal.text,
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::new(RefusalCode::from_number(refused.code), refused.text)
    }
}

//! What the two agents say to each other: requests, their answers, and the messages of a stream.
//!
//! Each message has an explicit number in the registry at the end of this file, never reused and
//! never derived from the order of a Rust enum. A released body is frozen: an addition goes into
//! the extension of the envelope (see [`codec`](crate::codec)), a changed meaning gets a new number.
//! Text from a peer is untrusted: receivers sanitise before they print and parse before they act.

mod condition;
mod control;
mod enrolment;
mod exec;
mod kubernetes;
mod network;
mod readiness;
mod reverse;
mod wire_enum;

pub use condition::{DiskUsage, SetTime, TimeSet, Usage, UsageAnswer};
pub use control::{
    Dial, DialNetwork, Dialled, FollowLog, FollowingLog, HandOver, HandedOver, Info, InfoAnswer,
    InterfaceInfo, LogEntry, LogLine, LogSource, Logs, LogsAnswer, Shutdown, ShutdownAnswer,
};
pub use enrolment::{Enrol, Enrolled};
pub use exec::{Exec, Executing, TerminalSize};
pub use kubernetes::{
    Cni, ConfigureK3s, K3sConfigured, K3sRole, Kubeconfig, KubeconfigAnswer, KubeconfigValues,
    ObjectStatus, WatchObject, WatchObjectAnswer,
};
pub use network::{
    ApplyNetwork, ConfirmNetwork, InterfaceConfig, NetworkApplied, NetworkConfirmed, NetworkMeans,
    NetworkPhase, NetworkRolledBack, NetworkStatus, NetworkStatusAnswer, NetworkTried,
    RollBackNetwork, RouteConfig, TryNetwork,
};
pub use readiness::{
    Change, K3sSummary, Rung, RungState, RungStatus, Snapshot, Watch, WatchAnswer,
};
pub use reverse::{Arrive, Arrived, K3S_PORTS, Listen, Listening, k3s_use_of};

/// A message: a number, a name and a bincode body.
pub trait Body: bincode::Encode + bincode::Decode<()> + std::fmt::Debug {
    /// Number in the registry.
    const NUMBER: u16;
    /// Name in the registry, for errors and `PROTOCOL.md`.
    const NAME: &'static str;
}

/// The first message of a stream.
pub trait Request: Body {
    /// What the accepting end says before the stream's own bytes or messages.
    type Answer: Body;
}

macro_rules! registry {
    (
        requests { $($request_number:literal $request:ident -> $answer_number:literal $answer:ident;)* }
        stream_messages { $($number:literal $message:ident;)* }
    ) => {
        $(
            impl Body for $request {
                const NUMBER: u16 = $request_number;
                const NAME: &'static str = stringify!($request);
            }
            impl Request for $request { type Answer = $answer; }
            impl Body for $answer {
                const NUMBER: u16 = $answer_number;
                const NAME: &'static str = stringify!($answer);
            }
        )*
        $(
            impl Body for $message {
                const NUMBER: u16 = $number;
                const NAME: &'static str = stringify!($message);
            }
        )*

        /// Every message of this version: number and name, in the order of `PROTOCOL.md §7`.
        pub const REGISTRY: &[(u16, &str)] = &[
            $(($request_number, stringify!($request)), ($answer_number, stringify!($answer)),)*
            $(($number, stringify!($message)),)*
        ];

        /// A request of any kind, as the accepting end meets it.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum AnyRequest {
            $(
                #[doc = concat!("A [`", stringify!($request), "`].")]
                $request($request),
            )*
        }

        impl AnyRequest {
            /// Decodes the request of an Open frame.
            ///
            /// # Errors
            /// `Unknown` for a number that is no request of this version, else as the codec.
            pub fn decode(raw: &crate::codec::RawMessage) -> Result<Self, crate::codec::DecodeError> {
                match raw.number {
                    $($request_number => raw.decode().map(Self::$request),)*
                    unknown => Err(crate::codec::DecodeError::Unknown(unknown)),
                }
            }
        }
    };
}

registry! {
    requests {
        1  Info         -> 2  InfoAnswer;
        3  Watch        -> 4  WatchAnswer;
        5  ApplyNetwork -> 6  NetworkApplied;
        7  ConfigureK3s -> 8  K3sConfigured;
        9  Kubeconfig   -> 10 KubeconfigAnswer;
        11 Dial         -> 12 Dialled;
        13 Logs         -> 14 LogsAnswer;
        15 Shutdown     -> 16 ShutdownAnswer;
        17 WatchObject  -> 18 WatchObjectAnswer;
        19 ConfirmNetwork -> 20 NetworkConfirmed;
        21 Listen       -> 22 Listening;
        23 Arrive       -> 24 Arrived;
        25 HandOver     -> 26 HandedOver;
        27 Enrol        -> 28 Enrolled;
        29 Exec         -> 30 Executing;
        31 TryNetwork   -> 32 NetworkTried;
        33 RollBackNetwork -> 34 NetworkRolledBack;
        35 NetworkStatus -> 36 NetworkStatusAnswer;
        37 SetTime      -> 38 TimeSet;
        39 Usage        -> 40 UsageAnswer;
        41 FollowLog    -> 42 FollowingLog;
    }
    stream_messages {
        128 Snapshot;
        129 Change;
        130 KubeconfigValues;
        131 LogLine;
        132 ObjectStatus;
        133 LogEntry;
    }
}

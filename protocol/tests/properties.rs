//! Whatever comes in, nothing panics; whatever goes out, the same comes back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{sync::OnceLock, time::Instant};

use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    codec::{self, RawMessage},
    frame::{HEADER_LENGTH, Header},
    handshake::Handshake,
    hello::{Hello, Role},
    identity::Identity,
    message::{
        AnyRequest, ApplyNetwork, Arrive, Arrived, Change, Cni, ConfigureK3s, ConfirmNetwork, Dial,
        DialNetwork, Dialled, DiskUsage, Enrol, Enrolled, Exec, Executing, FollowLog, FollowingLog,
        HandOver, HandedOver, Info, InfoAnswer, InterfaceConfig, InterfaceInfo, K3sConfigured,
        K3sRole, K3sSummary, Kubeconfig, KubeconfigAnswer, KubeconfigValues, Listen, Listening,
        LogEntry, LogLine, LogSource, Logs, LogsAnswer, NetworkApplied, NetworkConfirmed,
        NetworkMeans, NetworkPhase, NetworkRolledBack, NetworkStatus, NetworkStatusAnswer,
        NetworkTried, ObjectStatus, REGISTRY, RollBackNetwork, RouteConfig, Rung, RungState,
        RungStatus, SetTime, Shutdown, ShutdownAnswer, Snapshot, TerminalSize, TimeSet, TryNetwork,
        Usage, UsageAnswer, Watch, WatchAnswer, WatchObject, WatchObjectAnswer,
    },
    preface::{self, PrefaceFinder},
    session::{Event, Limits, Session, Transmit},
};
use proptest::{collection::vec, prelude::*};

/// Entropy that values are made from; zeros when it is used up, so that shrinking makes values small.
struct Entropy<'a>(&'a [u8]);

trait Made {
    fn made(from: &mut Entropy<'_>) -> Self;
}

macro_rules! made_numbers {
    ($($number:ty),*) => { $(
        impl Made for $number {
            /// Every width that a variable-length number has comes up.
            fn made(from: &mut Entropy<'_>) -> Self {
                let mut bytes = [0; size_of::<Self>()];
                let width = from.below(bytes.len() + 1);
                bytes[..width].fill_with(|| from.byte());
                Self::from_le_bytes(bytes)
            }
        }
    )* };
}

macro_rules! made_enums {
    ($($enum:ty),*) => { $(
        impl Made for $enum {
            fn made(from: &mut Entropy<'_>) -> Self {
                Self::ALL[from.below(Self::ALL.len())]
            }
        }
    )* };
}

macro_rules! made_structs {
    ($($name:ident { $($field:ident),* })*) => { $(
        impl Made for $name {
            fn made(_from: &mut Entropy<'_>) -> Self {
                Self { $($field: Made::made(_from)),* }
            }
        }
    )* };
}

macro_rules! for_every_message {
    ($with:ident) => {
        $with! {
            Info {}
            InfoAnswer { hostname, os, kernel, clock_unix_ms, uptime_ms, interfaces }
            Watch {}
            WatchAnswer {}
            ApplyNetwork { hostname, interfaces }
            NetworkApplied { changed, summary }
            ConfigureK3s {
                role, node_name, node_ip, flannel_interface, cni, tls_san, disable, settings,
                server_url, token
            }
            K3sConfigured { changed, started }
            Kubeconfig {}
            KubeconfigAnswer {}
            Dial { network, host, port }
            Dialled { address }
            Logs { source, tail, follow }
            LogsAnswer {}
            Shutdown { grace_ms }
            ShutdownAnswer {}
            WatchObject { resource, namespace, name, selector, condition }
            WatchObjectAnswer {}
            Listen { id, address, port }
            Listening { address }
            Arrive { listen }
            Arrived {}
            HandOver { target }
            HandedOver { number, address }
            Enrol { key, name }
            Enrolled { proof }
            Exec { arguments, environment, directory, terminal }
            Executing {}
            TryNetwork { id, deadline_ms, probe, plan_only, network }
            NetworkTried { pending, left_ms, summary, steps, probes }
            ConfirmNetwork { id, proof }
            NetworkConfirmed {}
            RollBackNetwork { id }
            NetworkRolledBack {}
            NetworkStatus {}
            NetworkStatusAnswer { means, phase, id, left_ms, detail, probes, confirmed }
            SetTime { clock_unix_ms, bound_ms }
            TimeSet { before_unix_ms, changed }
            Usage {}
            UsageAnswer { memory_kib, memory_available_kib, processors, load_percent, disks }
            FollowLog { source, tail, after }
            FollowingLog { after, complete }
            Snapshot { sequence, rungs, k3s }
            Change { sequence, rungs, k3s }
            KubeconfigValues {
                api_port, certificate_authority, client_certificate, client_key, token, username,
                password
            }
            LogLine { text }
            ObjectStatus { satisfied, detail }
            LogEntry { place, text }
        }
    };
}

macro_rules! functions_over_messages {
    ($($name:ident { $($field:ident),* })*) => {
        const MESSAGES: usize = [$(stringify!($name)),*].len();

        /// Sends one message of every kind, made from `entropy`, through the codec.
        fn round_trip_all(entropy: &[u8]) {
            $(
                let message = $name::made(&mut Entropy(entropy));
                let bytes = codec::encode(&message);
                let decoded: $name = codec::decode(&bytes).unwrap();
                assert_eq!(decoded, message);
                assert_eq!(codec::encode(&decoded), bytes);
            )*
        }

        /// Reads `bytes` as a message of every kind. What is accepted has one canonical form.
        fn decode_all(bytes: &Bytes) {
            $(
                if let Ok(message) = codec::decode::<$name>(bytes) {
                    let canonical = codec::encode(&message);
                    assert_eq!(codec::decode::<$name>(&canonical).unwrap(), message);
                }
            )*
            if let Ok(raw) = RawMessage::parse(bytes) {
                let _ = AnyRequest::decode(&raw);
            }
        }
    };
}

for_every_message!(made_structs);
for_every_message!(functions_over_messages);
made_numbers!(u8, u16, u32, u64);
made_enums!(
    Rung,
    RungState,
    K3sRole,
    Cni,
    DialNetwork,
    LogSource,
    NetworkMeans,
    NetworkPhase
);
made_structs! {
    InterfaceInfo { name, mac, up, mtu, addresses }
    InterfaceConfig {
        id, match_mac, match_name, match_driver, set_name, dhcp4, dhcp6, dhcp_use_routes,
        dhcp_use_dns, addresses, routes, nameservers, search, mtu
    }
    RouteConfig { to, via, metric }
    TerminalSize { columns, rows }
    DiskUsage { path, size_kib, available_kib }
    RungStatus { rung, state, detail, tail }
    K3sSummary { version, simulated, restarts }
}

#[test]
fn no_message_is_left_out_here() {
    assert_eq!(MESSAGES, REGISTRY.len());
}

proptest! {
    #[test]
    fn every_message_comes_back(entropy in vec(any::<u8>(), 0..600)) {
        round_trip_all(&entropy);
    }

    #[test]
    fn no_body_panics_the_codec(
        number in 0..140_u16,
        extension in 0..4_u16,
        body in vec(any::<u8>(), 0..120),
        lie in any::<bool>(),
    ) {
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&extension.to_be_bytes());
        let length = body.len() + usize::from(lie);
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes.resize(bytes.len() + usize::from(extension), 0xee);
        decode_all(&bytes.freeze());
    }

    #[test]
    fn no_bytes_panic_the_codec(bytes in vec(any::<u8>(), 0..64)) {
        decode_all(&Bytes::from(bytes));
    }

    #[test]
    fn a_header_that_is_read_is_written_the_same(
        bytes in any::<[u8; HEADER_LENGTH]>(),
        kind in 0..12_u8,
        likely in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if likely {
            bytes[..3].fill(0);
            bytes[4..7].fill(0);
            bytes[8..].copy_from_slice(&[kind, 0, 0, 0]);
        }
        if let Ok(header) = Header::decode(&bytes, 65536) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }

    #[test]
    fn a_session_takes_the_same_from_any_pieces(
        frames in vec((0..5_u32, 0..20_u8, 0..12_u8), 0..20),
        noise in vec(any::<u8>(), 0..40),
        pieces in vec(1..30_usize, 1..20),
    ) {
        let mut bytes = Vec::new();
        for (stream, length, kind) in frames {
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&u32::from(length).to_be_bytes());
            bytes.extend_from_slice(&[kind, 0, 0, 0]);
            bytes.resize(bytes.len() + usize::from(length), 0);
        }
        bytes.extend_from_slice(&noise);
        let whole = take_in(&bytes, &[bytes.len().max(1)]);
        let split = take_in(&bytes, &pieces);
        prop_assert_eq!(whole, split);
    }

    #[test]
    fn a_preface_is_found_behind_any_noise(
        noise in vec(any::<u8>(), 0..300),
        nonce in any::<preface::Nonce>(),
        piece in 1..50_usize,
    ) {
        let bytes = [&noise[..], &preface::from_guest(nonce), b"behind"].concat();
        let mut finder = PrefaceFinder::for_host(nonce);
        let mut input = BytesMut::new();
        let mut found = None;
        for piece in bytes.chunks(piece) {
            input.extend_from_slice(piece);
            if found.is_none() {
                found = finder.find(&mut input).unwrap();
            }
        }
        prop_assert_eq!(found, Some((nonce, 1)));
        prop_assert_eq!(&input[..], b"behind");
    }

    #[test]
    fn a_hello_that_is_read_has_one_form(bytes in vec(any::<u8>(), 0..120), role in 1..3_u8) {
        let mut bytes = bytes;
        let length = u16::try_from(bytes.len().saturating_sub(2)).unwrap();
        if bytes.len() > 12 {
            bytes[..2].copy_from_slice(&length.to_be_bytes());
            bytes[10] = role;
        }
        let mut input = BytesMut::from(&bytes[..]);
        if let Ok(Some(hello)) = Hello::decode(&mut input) {
            let mut again = BytesMut::from(&hello.encode()[..]);
            prop_assert_eq!(Hello::decode(&mut again), Ok(Some(hello)));
        }
    }

    #[test]
    fn nothing_establishes_a_handshake_but_a_handshake(
        bytes in vec(any::<u8>(), 0..300),
        record in 18..26_u8,
        greeted in any::<bool>(),
    ) {
        let (mut host, mut guest) = handshakes();
        let sent = host.take_outbound();
        if greeted {
            let mut nonce = preface::Nonce::default();
            nonce.copy_from_slice(&sent[16..]);
            prop_assert!(!host.handle_bytes(&preface::from_guest(nonce)).unwrap());
            prop_assert!(!guest.handle_bytes(&preface::from_host(nonce)).unwrap());
        }
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        let framed = [&[record, 3, 3], &length[..], &bytes].concat();
        for handshake in [&mut host, &mut guest] {
            let result = handshake.handle_bytes(&framed);
            prop_assert!(!matches!(result, Ok(true)));
        }
    }
}

/// Everything that a guest's session makes of bytes that come in pieces.
fn take_in(bytes: &[u8], pieces: &[usize]) -> (Vec<Event>, Option<String>, Vec<u8>) {
    let now = Instant::now();
    let mut session = Session::new(Role::Guest, Limits::default(), &hello(Role::Host), now);
    let (mut input, mut rest, mut error) = (BytesMut::new(), bytes, None);
    for piece in pieces.iter().cycle() {
        let (next, behind) = rest.split_at(rest.len().min(*piece));
        rest = behind;
        input.extend_from_slice(next);
        if let Err(broken) = session.handle_bytes(&mut input, now) {
            error = Some(broken.to_string());
            break;
        }
        if rest.is_empty() {
            break;
        }
    }
    let events = std::iter::from_fn(|| session.poll_event())
        .filter(|event| !matches!(event, Event::Readable(_)))
        .collect();
    let mut transmit = Transmit::default();
    session.poll_transmit(&mut transmit);
    let sent = transmit.take_chunks().collect::<Vec<_>>().concat();
    (events, error, sent)
}

fn handshakes() -> (Handshake, Handshake) {
    static IDENTITIES: OnceLock<[Identity; 2]> = OnceLock::new();
    let [host, guest] = IDENTITIES.get_or_init(|| [(); 2].map(|()| Identity::generate().unwrap()));
    (
        Handshake::host(host, guest.public_key(), hello(Role::Host)).unwrap(),
        Handshake::guest(guest, &[host.public_key()], hello(Role::Guest)).unwrap(),
    )
}

fn hello(role: Role) -> Hello {
    Hello {
        capability: 1,
        oldest_capability: 1,
        role,
        plain: true,
        max_frame: 65536,
        max_streams: 100,
        boot_id: [7; 16],
        version: "0.1.0".to_owned(),
        node: "k3s-dev".to_owned(),
    }
}

impl Entropy<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }
}

impl<const N: usize> Made for [u8; N] {
    fn made(from: &mut Entropy<'_>) -> Self {
        std::array::from_fn(|_| from.byte())
    }
}

impl Made for bool {
    fn made(from: &mut Entropy<'_>) -> Self {
        from.byte() % 2 == 1
    }
}

impl Made for String {
    fn made(from: &mut Entropy<'_>) -> Self {
        const CHARACTERS: [char; 6] = ['a', '\0', '\n', 'ß', '猫', '🦀'];
        let length = from.below(12);
        (0..length)
            .map(|_| CHARACTERS[from.below(CHARACTERS.len())])
            .collect()
    }
}

impl<T: Made> Made for Option<T> {
    fn made(from: &mut Entropy<'_>) -> Self {
        bool::made(from).then(|| T::made(from))
    }
}

impl<T: Made> Made for Vec<T> {
    fn made(from: &mut Entropy<'_>) -> Self {
        let length = from.below(5);
        (0..length).map(|_| T::made(from)).collect()
    }
}

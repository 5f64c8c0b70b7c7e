//! Messages: whatever bytes claim to be one are refused or read, and what was read survives being
//! written and read again.

use arbitrary::{Arbitrary, Unstructured};
use bytes::{BufMut, Bytes, BytesMut};
use lkc_protocol::{
    codec::{self, DecodeError, ENVELOPE_LENGTH, Envelope, MAX_BODY, RawMessage},
    message::{
        AnyRequest, ApplyNetwork, Arrive, Arrived, Body, Change, Cni, ConfigureK3s, ConfirmNetwork,
        Dial, DialNetwork, Dialled, DiskUsage, Enrol, Enrolled, Exec, Executing, FollowLog,
        FollowingLog, HandOver, HandedOver, Info, InfoAnswer, InterfaceConfig, InterfaceInfo,
        K3sConfigured, K3sRole, K3sSummary, Kubeconfig, KubeconfigAnswer, KubeconfigValues, Listen,
        Listening, LogEntry, LogLine, LogSource, Logs, LogsAnswer, NetworkApplied,
        NetworkConfirmed, NetworkMeans, NetworkPhase, NetworkRolledBack, NetworkStatus,
        NetworkStatusAnswer, NetworkTried, ObjectStatus, REGISTRY, RollBackNetwork, RouteConfig,
        Rung, RungState, RungStatus, SetTime, Shutdown, ShutdownAnswer, Snapshot, TerminalSize,
        TimeSet, TryNetwork, Usage, UsageAnswer, Watch, WatchAnswer, WatchObject,
        WatchObjectAnswer,
    },
};

/// A message's number as one byte, then its body; and all of it as a message with its envelope.
pub fn check_bytes(input: &[u8]) {
    check_envelope(&Bytes::copy_from_slice(input));
    if let Some((&number, body)) = input.split_first() {
        let number = u16::from(number);
        if is_known(number) {
            check_body(number, &enveloped(number, body));
        }
    }
}

fn is_known(number: u16) -> bool {
    REGISTRY.iter().any(|&(known, _)| known == number)
}

/// A message's number as one byte, then what its values are made of.
pub fn check_values(input: &[u8]) {
    if let Some((&number, values)) = input.split_first()
        && is_known(u16::from(number))
    {
        check_value(u16::from(number), &mut Unstructured::new(values));
    }
}

fn check_envelope(bytes: &Bytes) {
    match RawMessage::parse(bytes) {
        Ok(raw) => {
            let envelope = Envelope::parse(bytes).expect("an envelope that was parsed");
            assert_eq!(envelope.message_length(), bytes.len());
            if let Err(DecodeError::Unknown(number)) = AnyRequest::decode(&raw) {
                assert_eq!(number, raw.number);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn enveloped(number: u16, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(ENVELOPE_LENGTH + body.len());
    bytes.put_u16(number);
    bytes.put_u16(0);
    bytes.put_u32(u32::try_from(body.len()).expect("a short body"));
    bytes.extend_from_slice(body);
    bytes.freeze()
}

fn survives<M: Body + PartialEq>(message: &M) {
    let written = codec::encode(message);
    let length = written.len() - ENVELOPE_LENGTH;
    match codec::decode::<M>(&written) {
        Ok(read) => {
            assert!(read == *message, "{message:?} became {read:?}");
            assert_eq!(codec::encode(&read), written, "{message:?}");
        }
        Err(error) => assert!(length > MAX_BODY, "{message:?}: {error}"),
    }
    // With an extension of a later version, and cut.
    let mut longer = BytesMut::from(&written[..]);
    longer[2..4].copy_from_slice(&3_u16.to_be_bytes());
    longer.extend_from_slice(b"new");
    let extended = codec::decode::<M>(&longer.freeze());
    assert_eq!(extended.is_ok(), length <= MAX_BODY);
    let cut = written.slice(..written.len() - 1);
    assert!(codec::decode::<M>(&cut).is_err());
}

/// Builds a value out of bytes.
trait Build: Sized {
    fn build(input: &mut Unstructured<'_>) -> arbitrary::Result<Self>;
}

macro_rules! as_arbitrary {
    ($($type:ty),*) => { $(
        impl Build for $type {
            fn build(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
                Self::arbitrary(input)
            }
        }
    )* };
}

as_arbitrary!(bool, u8, u16, u32, u64, String, [u8; 16], [u8; 32]);

macro_rules! one_of_all {
    ($($type:ty),*) => { $(
        impl Build for $type {
            fn build(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
                input.choose(Self::ALL).copied()
            }
        }
    )* };
}

one_of_all!(
    Cni,
    DialNetwork,
    K3sRole,
    LogSource,
    NetworkMeans,
    NetworkPhase,
    Rung,
    RungState
);

impl<T: Build> Build for Option<T> {
    fn build(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        bool::arbitrary(input)?.then(|| T::build(input)).transpose()
    }
}

impl<T: Build> Build for Vec<T> {
    fn build(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let mut items = Self::new();
        while !input.is_empty() && bool::arbitrary(input)? {
            items.push(T::build(input)?);
        }
        Ok(items)
    }
}

macro_rules! structs {
    ($($type:ident { $($field:ident),* })*) => { $(
        impl Build for $type {
            fn build(input: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
                let _ = &input;
                Ok(Self { $($field: Build::build(input)?),* })
            }
        }
    )* };
}

/// Every message, each with its fields.
macro_rules! messages {
    ($($message:ident { $($field:ident),* })*) => {
        structs! { $($message { $($field),* })* }

        fn check_body(number: u16, bytes: &Bytes) {
            match number {
                $($message::NUMBER => match codec::decode::<$message>(bytes) {
                    Ok(message) => survives(&message),
                    Err(error) => assert!(error.to_string().len() < 300, "{error}"),
                },)*
                _ => panic!("message {number} is not decoded here: add it to `messages!`"),
            }
        }

        fn check_value(number: u16, input: &mut Unstructured<'_>) {
            match number {
                $($message::NUMBER => {
                    if let Ok(message) = $message::build(input) {
                        survives(&message);
                    }
                })*
                _ => panic!("message {number} is not built here: add it to `messages!`"),
            }
        }
    };
}

structs! {
    InterfaceConfig {
        id, match_mac, match_name, match_driver, set_name, dhcp4, dhcp6, dhcp_use_routes,
        dhcp_use_dns, addresses, routes, nameservers, search, mtu
    }
    InterfaceInfo { name, mac, up, mtu, addresses }
    K3sSummary { version, simulated, restarts }
    RouteConfig { to, via, metric }
    TerminalSize { columns, rows }
    DiskUsage { path, size_kib, available_kib }
    RungStatus { rung, state, detail, tail }
}

messages! {
    Info {}
    InfoAnswer { hostname, os, kernel, clock_unix_ms, uptime_ms, interfaces }
    Watch {}
    WatchAnswer {}
    ApplyNetwork { hostname, interfaces }
    NetworkApplied { changed, summary }
    ConfigureK3s {
        role, node_name, node_ip, flannel_interface, cni, tls_san, disable, settings, server_url,
        token
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
        api_port, certificate_authority, client_certificate, client_key, token, username, password
    }
    LogLine { text }
    ObjectStatus { satisfied, detail }
    LogEntry { place, text }
}

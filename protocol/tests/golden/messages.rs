//! Every message of the registry: as committed, read back, written again.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    codec::{self, DecodeError, ENVELOPE_LENGTH, Envelope, RawMessage},
    message::{AnyRequest, Body, InfoAnswer, REGISTRY, Snapshot},
};

use crate::{
    samples::{self, Take},
    vector::{self, Vector},
};

pub(crate) fn vectors() -> Vec<Vector> {
    struct Collect(Vec<Vector>);
    impl Take for Collect {
        fn take<M: Body + PartialEq + 'static>(&mut self, name: &str, about: &str, message: M) {
            let name = format!("message-{name}");
            self.0
                .push(Vector::new(&name, about, codec::encode(&message)));
        }
    }
    let mut vectors = Collect(Vec::new());
    samples::each(&mut vectors);
    vectors.0
}

#[test]
fn committed_messages_are_read_as_the_values_they_were_made_from() {
    struct Compare;
    impl Take for Compare {
        fn take<M: Body + PartialEq + 'static>(&mut self, name: &str, _: &str, message: M) {
            let bytes = vector::read(&format!("message-{name}"));
            let decoded: M = codec::decode(&bytes).unwrap();
            assert_eq!(decoded, message, "{name}");
            assert_eq!(codec::encode(&decoded), bytes, "{name}");
        }
    }
    samples::each(&mut Compare);
}

#[test]
fn every_message_of_the_registry_has_a_vector() {
    let sampled: BTreeSet<u16> = vectors()
        .iter()
        .map(|vector| Envelope::parse(&vector.bytes).unwrap().number)
        .collect();
    for &(number, name) in REGISTRY {
        assert!(sampled.contains(&number), "{name} ({number}) has no vector");
    }
    assert_eq!(sampled.len(), REGISTRY.len());
}

#[test]
fn registry_numbers_are_unique_and_stay_in_their_ranges() {
    let numbers: BTreeSet<u16> = REGISTRY.iter().map(|&(number, _)| number).collect();
    assert_eq!(numbers.len(), REGISTRY.len());
    let first: Vec<String> = REGISTRY
        .iter()
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    insta::assert_snapshot!(first.join("\n"), @r#"
    1 Info
    2 InfoAnswer
    3 Watch
    4 WatchAnswer
    5 ApplyNetwork
    6 NetworkApplied
    7 ConfigureK3s
    8 K3sConfigured
    9 Kubeconfig
    10 KubeconfigAnswer
    11 Dial
    12 Dialled
    13 Logs
    14 LogsAnswer
    15 Shutdown
    16 ShutdownAnswer
    17 WatchObject
    18 WatchObjectAnswer
    19 ConfirmNetwork
    20 NetworkConfirmed
    21 Listen
    22 Listening
    23 Arrive
    24 Arrived
    25 HandOver
    26 HandedOver
    27 Enrol
    28 Enrolled
    29 Exec
    30 Executing
    31 TryNetwork
    32 NetworkTried
    33 RollBackNetwork
    34 NetworkRolledBack
    35 NetworkStatus
    36 NetworkStatusAnswer
    37 SetTime
    38 TimeSet
    39 Usage
    40 UsageAnswer
    41 FollowLog
    42 FollowingLog
    128 Snapshot
    129 Change
    130 KubeconfigValues
    131 LogLine
    132 ObjectStatus
    133 LogEntry
    "#);
}

#[test]
fn a_request_is_known_by_its_number_alone() {
    for vector in vectors() {
        let raw = RawMessage::parse(&vector.bytes).unwrap();
        let request = AnyRequest::decode(&raw);
        // Requests are odd and below 128.
        if raw.number % 2 == 1 && raw.number < 128 {
            let name = format!("{:?}", request.unwrap());
            let registered = REGISTRY.iter().find(|(number, _)| *number == raw.number);
            assert!(
                name.starts_with(registered.unwrap().1),
                "{}: {name}",
                vector.name
            );
        } else {
            assert_eq!(request, Err(DecodeError::Unknown(raw.number)));
        }
    }
}

#[test]
fn a_message_cut_anywhere_is_truncated_and_one_byte_more_is_stray() {
    struct Cut;
    impl Take for Cut {
        fn take<M: Body + PartialEq + 'static>(&mut self, name: &str, _: &str, message: M) {
            let whole = codec::encode(&message);
            for end in 0..whole.len() {
                assert!(
                    matches!(
                        codec::decode::<M>(&whole.slice(..end)),
                        Err(DecodeError::Truncated { have, .. }) if have == end
                    ),
                    "{name} cut at {end}"
                );
                cut_body::<M>(&whole, end, name);
            }
            let mut longer = BytesMut::from(&whole[..]);
            longer.extend_from_slice(&[0]);
            let stray = codec::decode::<M>(&longer.freeze()).unwrap_err();
            assert!(matches!(stray, DecodeError::Trailing { count: 1, .. }));
            let mut longer_body = BytesMut::from(&whole[..]);
            longer_body.extend_from_slice(&[0]);
            set_body_length(&mut longer_body, whole.len() + 1 - ENVELOPE_LENGTH);
            let stray = codec::decode::<M>(&longer_body.freeze()).unwrap_err();
            assert!(
                matches!(stray, DecodeError::Trailing { count: 1, name } if name == M::NAME),
                "{name}: {stray}"
            );
        }
    }

    /// The envelope agrees that the body is shorter than the message's shape.
    fn cut_body<M: Body>(whole: &Bytes, end: usize, name: &str) {
        if end < ENVELOPE_LENGTH {
            return;
        }
        let mut short = BytesMut::from(&whole[..end]);
        set_body_length(&mut short, end - ENVELOPE_LENGTH);
        let error = codec::decode::<M>(&short.freeze()).unwrap_err();
        assert!(
            matches!(error, DecodeError::Malformed { .. }),
            "{name} with {} bytes of body: {error}",
            end - ENVELOPE_LENGTH
        );
    }

    fn set_body_length(bytes: &mut BytesMut, length: usize) {
        bytes[4..8].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    }
    samples::each(&mut Cut);
}

#[test]
fn an_extension_of_a_later_version_is_skipped_and_not_sent_back() {
    struct Extend;
    impl Take for Extend {
        fn take<M: Body + PartialEq + 'static>(&mut self, name: &str, _: &str, message: M) {
            let plain = codec::encode(&message);
            let mut extended = BytesMut::from(&plain[..]);
            extended[2..4].copy_from_slice(&5_u16.to_be_bytes());
            extended.extend_from_slice(b"later");
            let extended = extended.freeze();
            let decoded: M = codec::decode(&extended).unwrap();
            assert_eq!(decoded, message, "{name}");
            assert_eq!(codec::encode(&decoded), plain, "{name}");
            for cut in 1..=5 {
                let error =
                    codec::decode::<M>(&extended.slice(..extended.len() - cut)).unwrap_err();
                assert!(matches!(error, DecodeError::Truncated { .. }), "{name}");
            }
        }
    }
    samples::each(&mut Extend);
}

#[test]
fn two_vectors_read_by_people() {
    let info: InfoAnswer = codec::decode(&vector::read("message-info-answer-full")).unwrap();
    insta::assert_debug_snapshot!(info, @r#"
    InfoAnswer {
        hostname: "k3s-dev",
        os: "NixOS 26.05 (Yarara)",
        kernel: "6.18.2",
        clock_unix_ms: 1795255822123,
        uptime_ms: 61250,
        interfaces: [
            InterfaceInfo {
                name: "eth0",
                mac: "52:54:00:c8:32:0a",
                up: true,
                mtu: 1500,
                addresses: [
                    "192.100.0.10/24",
                    "fe80::5054:ff:fec8:320a/64",
                ],
            },
            InterfaceInfo {
                name: "wg0",
                mac: "",
                up: false,
                mtu: 0,
                addresses: [],
            },
        ],
    }
    "#);
    let snapshot: Snapshot = codec::decode(&vector::read("message-snapshot-full")).unwrap();
    let lines: Vec<String> = snapshot
        .rungs
        .iter()
        .map(|rung| {
            format!(
                "{} {} {:?} {:?}",
                rung.rung, rung.state, rung.detail, rung.tail
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    agent ready "agent is ready" []
    network ready "network is ready" []
    k3s failed "k3s is failed" ["level=fatal msg=\"starting\"", ""]
    api progressing "api is progressing" []
    registered pending "" []
    node unknown "node is unknown" []
    system pending "" []
    "#);
}

//! Bytes that are wrong in one way each, with the sentence that the receiver has for it.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use lkc_protocol::{
    codec::{self, MAX_BODY, RawMessage},
    frame::MAX_CONTROL_PAYLOAD,
    hello::{Hello, Role},
    message::{AnyRequest, Dial, InfoAnswer, K3sConfigured, LogLine, Shutdown, Snapshot},
    preface::PrefaceFinder,
    session::{Limits, Session},
};

use crate::{
    frames::hello,
    vector::{self, Vector},
};

pub(crate) fn vectors() -> Vec<Vector> {
    let all = messages().into_iter().chain(frames()).chain(greetings());
    all.map(|case| {
        let name = format!("malformed-{}", case.name);
        Vector::new(&name, case.about, case.bytes)
    })
    .collect()
}

#[test]
fn each_is_refused_with_its_sentence() {
    let all = messages().into_iter().chain(frames()).chain(greetings());
    let lines: Vec<String> = all
        .map(|case| {
            let bytes = vector::read(&format!("malformed-{}", case.name));
            format!("{}: {}", case.name, (case.refuse)(&bytes))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    message-nothing: message cut short: 0 of 8 bytes
    message-half-an-envelope: message cut short: 4 of 8 bytes
    message-body-cut: message cut short: 10 of 11 bytes
    message-body-short: malformed Dial message: it is cut short
    message-stray-behind: 1 stray bytes behind a complete message
    message-stray-in-body: 1 stray bytes behind a LogLine message
    message-extension-cut: message cut short: 11 of 12 bytes
    message-another: message number 3 where 11 (Dial) belongs
    request-unknown: unknown message number 9999
    request-zero: unknown message number 0
    request-that-is-an-answer: unknown message number 2
    request-that-is-a-stream-message: unknown message number 128
    message-over-the-limit: message body of 262145 bytes is over the limit of 262144
    message-longest-length: message body of 4294967295 bytes is over the limit of 262144
    enum-zero: malformed Dial message: unknown DialNetwork number 0
    enum-255: malformed Dial message: unknown DialNetwork number 255
    enum-rung-8: malformed Snapshot message: unknown Rung number 8
    bool-2: malformed K3sConfigured message: 2 is no truth value
    option-2: malformed WatchObject message: 2 says neither some nor none
    text-not-utf-8: malformed LogLine message: a text is not UTF-8
    text-surrogate: malformed LogLine message: a text is not UTF-8
    text-claims-an-exbibyte: malformed LogLine message: it claims more than 262144 bytes
    list-claims-an-exbibyte: malformed InfoAnswer message: it claims more than 262144 bytes
    list-claims-the-largest-number: malformed Snapshot message: it claims more than 262144 bytes
    list-claims-what-the-limit-allows: malformed Snapshot message: it is cut short
    number-too-wide: malformed Shutdown message: a number is too wide for its field
    number-marker-255: malformed Shutdown message: a number is too wide for its field
    frame-kind-0: UnknownFrame, a frame of an unknown kind (kind 0 of 0 bytes on stream 1)
    frame-kind-11: UnknownFrame, a frame of an unknown kind (kind 11 of 0 bytes on stream 1)
    frame-flags: MalformedFrame, a frame is malformed (Finish with flags [01, 00, 00])
    frame-reserved: MalformedFrame, a frame is malformed (Finish with flags [00, 00, 01])
    frame-open-too-short: MalformedFrame, a frame is malformed (Open of 3 bytes)
    frame-open-too-long: FrameTooLong, a frame is longer than the receiver allows (Open of 327692 bytes)
    frame-data-longest-length: FrameTooLong, a frame is longer than the receiver allows (Data of 4294967295 bytes)
    frame-credit-of-five: MalformedFrame, a frame is malformed (Credit of 5 bytes)
    frame-finish-with-payload: MalformedFrame, a frame is malformed (Finish of 1 bytes)
    frame-reset-without-code: MalformedFrame, a frame is malformed (Reset of 0 bytes)
    frame-ping-of-seven: MalformedFrame, a frame is malformed (Ping of 7 bytes)
    frame-goaway-too-long: FrameTooLong, a frame is longer than the receiver allows (GoAway of 1027 bytes)
    frame-data-on-the-link: BadStreamId, a stream id is of the wrong parity, out of order or was never opened (Data on stream 0)
    frame-ping-on-a-stream: BadStreamId, a stream id is of the wrong parity, out of order or was never opened (Ping on stream 1)
    frame-data-never-opened: BadStreamId, a stream id is of the wrong parity, out of order or was never opened (stream 7)
    frame-open-wrong-parity: BadStreamId, a stream id is of the wrong parity, out of order or was never opened (stream 2)
    frame-open-window-too-large: CreditOverflow, more credit than a stream can hold (stream 1)
    preface-later-versions-only: the other end speaks handshake versions 2 to 9, this one 1 to 1: upgrade this end
    preface-empty-window: the other end speaks handshake versions 3 to 1, this one 1 to 1: upgrade this end
    hello-empty: malformed hello: it is cut short
    hello-cut: malformed hello: it is cut short
    hello-over-the-limit: malformed hello: it is too long
    hello-role-3: malformed hello: its role is neither host nor guest
    hello-no-frames: malformed hello: a limit of zero
    hello-no-streams: malformed hello: a limit of zero
    hello-text-not-utf-8: malformed hello: a text is not UTF-8
    hello-text-past-the-end: malformed hello: it is cut short
    hello-same-role: both ends claim to be the host
    hello-too-old: the other end is 0.1.0 (capability 0), this one needs capability 1 or later: upgrade the other end
    hello-too-new: the other end is 0.1.0 and needs capability 900 or later, this one has 7: upgrade this end
    "#);
}

struct Case {
    name: &'static str,
    about: &'static str,
    bytes: Bytes,
    /// Decodes it as what it claims to be and gives the error's sentence.
    refuse: fn(&Bytes) -> String,
}

fn case(
    name: &'static str,
    about: &'static str,
    bytes: impl Into<Bytes>,
    refuse: fn(&Bytes) -> String,
) -> Case {
    Case {
        name,
        about,
        bytes: bytes.into(),
        refuse,
    }
}

fn messages() -> Vec<Case> {
    vec![
        case(
            "message-nothing",
            "No bytes at all",
            vec![],
            as_message::<Dial>,
        ),
        case(
            "message-half-an-envelope",
            "The first four bytes of a Dial",
            vec![0, 11, 0, 0],
            as_message::<Dial>,
        ),
        case(
            "message-body-cut",
            "A Dial whose envelope says three bytes of body, with two",
            vec![0, 11, 0, 0, 0, 0, 0, 3, 1, 0],
            as_message::<Dial>,
        ),
        case(
            "message-body-short",
            "A Dial whose whole body ends before its port",
            envelope(11, &[1, 1, b'h']),
            as_message::<Dial>,
        ),
        case(
            "message-stray-behind",
            "A LogLine and one byte more",
            [&envelope(131, &[1, b'x'])[..], &[0]].concat(),
            as_message::<LogLine>,
        ),
        case(
            "message-stray-in-body",
            "A LogLine with one byte more inside its body",
            envelope(131, &[1, b'x', 0]),
            as_message::<LogLine>,
        ),
        case(
            "message-extension-cut",
            "A LogLine that promises two bytes of extension and has one",
            vec![0, 131, 0, 2, 0, 0, 0, 2, 1, b'x', 7],
            as_message::<LogLine>,
        ),
        case(
            "message-another",
            "A Watch where a Dial belongs",
            envelope(3, &[]),
            as_message::<Dial>,
        ),
        case(
            "request-unknown",
            "A request with number 9999",
            envelope(9999, &[]),
            as_request,
        ),
        case(
            "request-zero",
            "A request with number 0",
            envelope(0, &[]),
            as_request,
        ),
        case(
            "request-that-is-an-answer",
            "An InfoAnswer where a request belongs",
            envelope(2, &[]),
            as_request,
        ),
        case(
            "request-that-is-a-stream-message",
            "A Snapshot where a request belongs",
            envelope(128, &[]),
            as_request,
        ),
        case(
            "message-over-the-limit",
            "An envelope that promises a body of 262145 bytes",
            head(131, u32::try_from(MAX_BODY).unwrap() + 1),
            as_message::<LogLine>,
        ),
        case(
            "message-longest-length",
            "An envelope that promises a body of 4294967295 bytes",
            head(131, u32::MAX),
            as_message::<LogLine>,
        ),
        case(
            "enum-zero",
            "A Dial over transport 0",
            envelope(11, &[0, 0, 0]),
            as_message::<Dial>,
        ),
        case(
            "enum-255",
            "A Dial over transport 255",
            envelope(11, &[255, 0, 0]),
            as_message::<Dial>,
        ),
        case(
            "enum-rung-8",
            "A Snapshot with the rung 8",
            envelope(128, &[0, 1, 8, 1, 0, 0, 0, 0, 0]),
            as_message::<Snapshot>,
        ),
        case(
            "bool-2",
            "A K3sConfigured whose first truth value is 2",
            envelope(8, &[2, 0]),
            as_message::<K3sConfigured>,
        ),
        case(
            "option-2",
            "A WatchObject whose namespace is neither there nor not",
            envelope(17, &[0, 2, 0, 0, 0]),
            as_request,
        ),
        case(
            "text-not-utf-8",
            "A LogLine whose text is the byte ff",
            envelope(131, &[1, 0xff]),
            as_message::<LogLine>,
        ),
        case(
            "text-surrogate",
            "A LogLine with a lone surrogate",
            envelope(131, &[3, 0xed, 0xa0, 0x80]),
            as_message::<LogLine>,
        ),
        case(
            "text-claims-an-exbibyte",
            "A LogLine that claims 2^60 bytes of text",
            envelope(131, &claim(1 << 60)),
            as_message::<LogLine>,
        ),
        case(
            "list-claims-an-exbibyte",
            "An InfoAnswer that claims 2^60 interfaces",
            envelope(2, &[&[0, 0, 0, 0, 0][..], &claim(1 << 60)].concat()),
            as_message::<InfoAnswer>,
        ),
        case(
            "list-claims-the-largest-number",
            "A Snapshot that claims 2^64-1 rungs",
            envelope(128, &[&[0][..], &claim(u64::MAX)].concat()),
            as_message::<Snapshot>,
        ),
        case(
            "list-claims-what-the-limit-allows",
            "A Snapshot that claims 1000 rungs and has none",
            envelope(128, &[0, 251, 0xe8, 3]),
            as_message::<Snapshot>,
        ),
        case(
            "number-too-wide",
            "A Shutdown whose 32-bit grace comes as a 64-bit number",
            envelope(15, &claim(1)),
            as_message::<Shutdown>,
        ),
        case(
            "number-marker-255",
            "A Shutdown whose grace begins with the unused marker 255",
            envelope(15, &[255, 0, 0, 0, 0]),
            as_message::<Shutdown>,
        ),
    ]
}

fn frames() -> Vec<Case> {
    let too_long = u32::try_from(MAX_CONTROL_PAYLOAD + 1).unwrap();
    vec![
        case(
            "frame-kind-0",
            "A frame of kind 0",
            frame(1, 0, 0, [0; 3]),
            as_frame,
        ),
        case(
            "frame-kind-11",
            "A frame of kind 11",
            frame(1, 0, 11, [0; 3]),
            as_frame,
        ),
        case(
            "frame-flags",
            "A Finish with a flag",
            frame(1, 0, 6, [1, 0, 0]),
            as_frame,
        ),
        case(
            "frame-reserved",
            "A Finish with a reserved byte set",
            frame(1, 0, 6, [0, 0, 1]),
            as_frame,
        ),
        case(
            "frame-open-too-short",
            "An Open of three bytes",
            frame(1, 3, 1, [0; 3]),
            as_frame,
        ),
        case(
            "frame-open-too-long",
            "An Open of one byte more than allowed",
            frame(1, too_long, 1, [0; 3]),
            as_frame,
        ),
        case(
            "frame-data-longest-length",
            "A Data of 4294967295 bytes",
            frame(1, u32::MAX, 4, [0; 3]),
            as_frame,
        ),
        case(
            "frame-credit-of-five",
            "A Credit of five bytes",
            frame(1, 5, 5, [0; 3]),
            as_frame,
        ),
        case(
            "frame-finish-with-payload",
            "A Finish with a byte",
            frame(1, 1, 6, [0; 3]),
            as_frame,
        ),
        case(
            "frame-reset-without-code",
            "A Reset without its code",
            frame(1, 0, 7, [0; 3]),
            as_frame,
        ),
        case(
            "frame-ping-of-seven",
            "A Ping of seven bytes",
            frame(0, 7, 8, [0; 3]),
            as_frame,
        ),
        case(
            "frame-goaway-too-long",
            "A GoAway with 1025 bytes of text",
            frame(0, 1027, 10, [0; 3]),
            as_frame,
        ),
        case(
            "frame-data-on-the-link",
            "A Data on stream 0",
            frame(0, 1, 4, [0; 3]),
            as_frame,
        ),
        case(
            "frame-ping-on-a-stream",
            "A Ping on stream 1",
            frame(1, 8, 8, [0; 3]),
            as_frame,
        ),
        case(
            "frame-data-never-opened",
            "A Data on stream 7, which was never opened",
            frame(7, 1, 4, [0; 3]),
            as_frame,
        ),
        case(
            "frame-open-wrong-parity",
            "An Open of stream 2 by the host",
            [&frame(2, 12, 1, [0; 3])[..], &[0; 4], &envelope(3, &[])].concat(),
            as_frame,
        ),
        case(
            "frame-open-window-too-large",
            "An Open with a window of 4294967295 bytes",
            [&frame(1, 12, 1, [0; 3])[..], &[0xff; 4], &envelope(3, &[])].concat(),
            as_frame,
        ),
    ]
}

fn greetings() -> Vec<Case> {
    let good = hello(Role::Guest).encode();
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = BytesMut::from(&good[..]);
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let mut later_only = BytesMut::from(&lkc_protocol::preface::from_host([7; 16])[..]);
    later_only[10..14].copy_from_slice(&[0, 2, 0, 9]);
    let mut none = later_only.clone();
    none[10..14].copy_from_slice(&[0, 3, 0, 1]);
    vec![
        case(
            "preface-later-versions-only",
            "Preface of a host that speaks handshake versions 2 to 9",
            later_only,
            as_preface,
        ),
        case(
            "preface-empty-window",
            "Preface of a host that speaks handshake versions 3 to 1",
            none,
            as_preface,
        ),
        case("hello-empty", "A hello of no bytes", vec![0, 0], as_hello),
        case(
            "hello-cut",
            "A hello that ends within its boot id",
            [&[0, 24][..], &good[2..26]].concat(),
            as_hello,
        ),
        case(
            "hello-over-the-limit",
            "A hello of 1025 bytes",
            [&[4, 1][..], &good[2..], &vec![0; 1025 + 2 - good.len()]].concat(),
            as_hello,
        ),
        case(
            "hello-role-3",
            "A hello of role 3",
            changed(10, &[3]),
            as_hello,
        ),
        case(
            "hello-no-frames",
            "A hello that takes frames of no bytes",
            changed(14, &[0; 4]),
            as_hello,
        ),
        case(
            "hello-no-streams",
            "A hello that allows no streams",
            changed(18, &[0; 4]),
            as_hello,
        ),
        case(
            "hello-text-not-utf-8",
            "A hello whose version is no UTF-8",
            changed(39, &[0xff]),
            as_hello,
        ),
        case(
            "hello-text-past-the-end",
            "A hello whose version is longer than the hello",
            changed(38, &[255]),
            as_hello,
        ),
        case(
            "hello-same-role",
            "A hello of a host, to a host",
            hello(Role::Host).encode(),
            as_hello,
        ),
        case(
            "hello-too-old",
            "A hello with capability 0",
            changed(2, &[0; 4]),
            as_hello,
        ),
        case(
            "hello-too-new",
            "A hello that needs capability 900",
            changed(6, &900_u32.to_be_bytes()),
            as_hello,
        ),
    ]
}

fn as_message<M: lkc_protocol::message::Body>(bytes: &Bytes) -> String {
    codec::decode::<M>(bytes).unwrap_err().to_string()
}

fn as_request(bytes: &Bytes) -> String {
    let raw = RawMessage::parse(bytes).unwrap();
    AnyRequest::decode(&raw).unwrap_err().to_string()
}

/// A guest's session meets it first of all; it sends a GoAway with the same sentence.
fn as_frame(bytes: &Bytes) -> String {
    let now = Instant::now();
    let mut session = Session::new(Role::Guest, Limits::default(), &hello(Role::Host), now);
    let error = session
        .handle_bytes(&mut BytesMut::from(&bytes[..]), now)
        .unwrap_err();
    assert!(session.is_ended());
    format!("{:?}, {error}", error.code)
}

fn as_preface(bytes: &Bytes) -> String {
    PrefaceFinder::for_guest()
        .find(&mut BytesMut::from(&bytes[..]))
        .unwrap_err()
        .to_string()
}

fn as_hello(bytes: &Bytes) -> String {
    let mut input = BytesMut::from(&bytes[..]);
    match Hello::decode(&mut input) {
        Ok(Some(hello)) => hello.check(Role::Host).unwrap_err().to_string(),
        Ok(None) => panic!("it waits for more bytes"),
        Err(error) => error.to_string(),
    }
}

fn envelope(number: u16, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(&head(number, u32::try_from(body.len()).unwrap())[..]);
    bytes.extend_from_slice(body);
    bytes.freeze()
}

fn head(number: u16, body_length: u32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u16(number);
    bytes.put_u16(0);
    bytes.put_u32(body_length);
    bytes.freeze()
}

fn frame(stream: u32, length: u32, kind: u8, rest: [u8; 3]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u32(stream);
    bytes.put_u32(length);
    bytes.put_u8(kind);
    bytes.put_slice(&rest);
    bytes.freeze()
}

/// A 64-bit number as the codec writes large ones.
fn claim(number: u64) -> Vec<u8> {
    [&[253][..], &number.to_le_bytes()].concat()
}

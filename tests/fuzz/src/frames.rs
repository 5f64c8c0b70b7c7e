//! Frames from a peer that may say anything: headers, and whole sessions fed with them.

use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use bytes::{Buf, Bytes, BytesMut};
use lkc_protocol::{
    error::{Refusal, RefusalCode, ResetCode},
    frame::{HEADER_LENGTH, Header, Kind, StreamId},
    hello::{Hello, Role},
    session::{Event, Limits, Read, Session, Transmit},
    version::{CAPABILITY, OLDEST_CAPABILITY},
};

use super::pieces::pieces;

/// Streams that we open before the peer says anything.
const OURS: usize = 3;

/// A byte that says which end we are and what we do, one that says how the stream is cut, then what
/// the peer sends.
pub fn check_bytes(input: &[u8]) {
    let [flags, cut, stream @ ..] = input else {
        return;
    };
    if let Some(header) = stream.first_chunk() {
        check_header(header);
    }
    check_stream(*flags, *cut, stream);
}

/// Frames that are mostly well formed.
pub fn check_sequence(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok([flags, cut]) = <[u8; 2]>::arbitrary(&mut input) else {
        return;
    };
    let Ok(frames) = Vec::<Frame>::arbitrary_take_rest(input) else {
        return;
    };
    let mut stream = Vec::new();
    frames.iter().for_each(|frame| frame.append_to(&mut stream));
    check_stream(flags, cut, &stream);
}

#[derive(Debug, Arbitrary)]
struct Frame {
    kind: u8,
    stream: u8,
    payload: Payload,
}

#[derive(Debug, Arbitrary)]
enum Payload {
    Empty,
    Code(u16),
    Window(u16, u8),
    Number(u32),
    PingId([u8; 8]),
    Bytes(Vec<u8>),
    Zeros(u16),
    /// Another length than what follows.
    Wrong(u32, Vec<u8>),
}

impl Frame {
    fn append_to(&self, stream: &mut Vec<u8>) {
        let (length, payload) = match &self.payload {
            Payload::Empty => (None, Vec::new()),
            Payload::Code(code) => (None, code.to_be_bytes().to_vec()),
            Payload::Window(window, more) => {
                let mut bytes = u32::from(*window).to_be_bytes().to_vec();
                bytes.resize(4 + usize::from(*more), b'r');
                (None, bytes)
            }
            Payload::Number(number) => (None, number.to_be_bytes().to_vec()),
            Payload::PingId(id) => (None, id.to_vec()),
            Payload::Bytes(bytes) => (None, bytes.clone()),
            Payload::Zeros(count) => (None, vec![0; usize::from(*count)]),
            Payload::Wrong(length, bytes) => (Some(*length), bytes.clone()),
        };
        let length = length.unwrap_or(u32::try_from(payload.len()).expect("a short payload"));
        stream.extend_from_slice(&u32::from(self.stream).to_be_bytes());
        stream.extend_from_slice(&length.to_be_bytes());
        stream.extend_from_slice(&[self.kind, 0, 0, 0]);
        stream.extend_from_slice(&payload);
    }
}

fn check_header(bytes: &[u8; HEADER_LENGTH]) {
    for max_data in [0, 1024, 1024 * 1024] {
        match Header::decode(bytes, max_data) {
            Ok(header) => {
                assert_eq!(header.encode(), *bytes);
                assert!(header.kind != Kind::Data || header.length <= max_data);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// Small, so that an input of some hundred bytes trips them.
fn limits() -> Limits {
    Limits {
        max_streams: 6,
        max_unanswered: 3,
        max_frame: 40_000,
        window: 20_000,
        window_budget: 100_000,
        max_pending_control: 2000,
        opens_per_second: 30,
        resets_per_second: 20,
        pings_per_second: 5,
        ..Limits::default()
    }
}

fn check_stream(flags: u8, cut: u8, stream: &[u8]) {
    let whole = Watched::new(flags).hear_all(std::iter::once(stream));
    let in_pieces = Watched::new(flags).hear_all(pieces(stream, cut));
    assert_eq!(in_pieces, whole, "in pieces");
    Answering::new(flags).hear_all(pieces(stream, cut));
}

/// A session that only listens.
struct Watched {
    session: Session,
    now: Instant,
}

/// What a session that only listened has heard: its events, the rule that was broken, and what each
/// stream holds.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    events: Vec<Event>,
    broken: Option<String>,
    streams: Vec<(StreamId, Vec<u8>, Read)>,
}

impl Watched {
    fn new(flags: u8) -> Self {
        let now = Instant::now();
        Self {
            session: session(flags, now),
            now,
        }
    }

    fn hear_all<'a>(mut self, stream: impl Iterator<Item = &'a [u8]>) -> Heard {
        let mut input = BytesMut::new();
        let mut broken = None;
        for piece in stream {
            input.extend_from_slice(piece);
            if let Err(error) = self.session.handle_bytes(&mut input, self.now) {
                broken = Some(error.to_string());
                break;
            }
        }
        assert!(self.session.stream_count() <= OURS + limits().max_streams);
        if broken.is_some() {
            assert!(self.session.is_ended());
            let sent = frames(&mut self.session);
            let kinds: Vec<_> = sent.iter().map(|(header, _)| header.kind).collect();
            assert_eq!(kinds, [Kind::GoAway], "an end says why, once");
        }
        let events: Vec<_> = std::iter::from_fn(|| self.session.poll_event()).collect();
        let streams = (0..64).map(StreamId).map(|id| self.drain(id)).collect();
        Heard {
            events,
            broken,
            streams,
        }
    }

    /// Everything that a stream holds.
    fn drain(&mut self, id: StreamId) -> (StreamId, Vec<u8>, Read) {
        let mut bytes = Vec::new();
        loop {
            match self.session.read(id) {
                Read::Data(data) => bytes.extend_from_slice(&data),
                end => return (id, bytes, end),
            }
        }
    }
}

/// A session that does what an agent would: answers, reads, writes, lets go.
struct Answering {
    session: Session,
    now: Instant,
    /// Decides what is done; each use takes a bit.
    choices: u64,
}

impl Answering {
    fn new(flags: u8) -> Self {
        let now = Instant::now();
        Self {
            session: session(flags, now),
            now,
            choices: u64::from(flags).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn choose(&mut self, among: u64) -> u64 {
        self.choices = self
            .choices
            .rotate_left(7)
            .wrapping_mul(0x2545_f491_4f6c_dd1d)
            ^ among;
        (self.choices >> 20) % among
    }

    fn hear_all<'a>(&mut self, stream: impl Iterator<Item = &'a [u8]>) {
        let mut input = BytesMut::new();
        for piece in stream {
            input.extend_from_slice(piece);
            let heard = self.session.handle_bytes(&mut input, self.now);
            while let Some(event) = self.session.poll_event() {
                self.answer(&event);
            }
            if self.choose(4) == 0 || heard.is_err() {
                frames(&mut self.session);
            }
            if heard.is_err() {
                return;
            }
            if self.choose(16) == 0 {
                let seconds = self.choose(12);
                self.now += Duration::from_secs(seconds);
                let _ = self.session.handle_timeout(self.now);
            }
        }
    }

    fn answer(&mut self, event: &Event) {
        match *event {
            Event::Opened { stream, .. } => match self.choose(4) {
                0 => {}
                1 => {
                    let refusal = Refusal::new(RefusalCode::Denied, "no");
                    self.session.refuse(stream, &refusal);
                }
                _ => {
                    self.session.accept(stream, b"answer");
                    self.go_on(stream);
                }
            },
            Event::Accepted { stream, .. } => self.go_on(stream),
            Event::Readable(stream) | Event::Writable(stream) => {
                while let Read::Data(bytes) = self.session.read(stream) {
                    assert!(bytes.len() <= limits().window.max(16 * 1024));
                    if self.choose(3) == 0 {
                        break;
                    }
                }
                self.go_on(stream);
            }
            Event::Refused { .. } | Event::GoAway { .. } => {}
        }
    }

    fn go_on(&mut self, stream: StreamId) {
        match self.choose(8) {
            0 => self.session.finish(stream),
            1 => self.session.reset(stream, ResetCode::Failed),
            2 => self.session.release(stream),
            3 => self.session.drain(stream),
            4 => {}
            _ => {
                let bytes = Bytes::from(vec![b'w'; 30_000]);
                let _ = self.session.write(stream, bytes);
            }
        }
    }
}

/// A session with some streams of ours open.
fn session(flags: u8, now: Instant) -> Session {
    let (ours, theirs) = if flags & 1 == 0 {
        (Role::Host, Role::Guest)
    } else {
        (Role::Guest, Role::Host)
    };
    let peer = Hello {
        capability: CAPABILITY,
        oldest_capability: OLDEST_CAPABILITY,
        role: theirs,
        plain: false,
        max_frame: 1 + u32::from(flags >> 1) * 100,
        max_streams: 10,
        boot_id: [0; 16],
        version: String::new(),
        node: String::new(),
    };
    let mut session = Session::new(ours, limits(), &peer, now);
    for _ in 0..OURS {
        session.open(b"request").expect("room for a stream");
    }
    frames(&mut session);
    session
}

/// What a session has to send, taken apart; every frame must be one that a peer may send.
fn frames(session: &mut Session) -> Vec<(Header, Bytes)> {
    let mut bytes = BytesMut::new();
    loop {
        let mut transmit = Transmit::default();
        session.poll_transmit(&mut transmit);
        if transmit.is_empty() {
            break;
        }
        transmit
            .take_chunks()
            .for_each(|chunk| bytes.extend_from_slice(&chunk));
    }
    let mut frames = Vec::new();
    let mut bytes = bytes.freeze();
    while let Some(header) = bytes.first_chunk() {
        let header = Header::decode(header, 1024 * 1024).expect("a frame of ours");
        bytes.advance(HEADER_LENGTH);
        assert!(
            header.kind != Kind::Data || header.length > 0,
            "an empty frame"
        );
        frames.push((header, bytes.split_to(header.length)));
    }
    assert!(bytes.is_empty(), "a frame of ours is cut short");
    frames
}

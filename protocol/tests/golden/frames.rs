//! Every kind of frame, as two sessions that talk to each other send it, and a few at the edge.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    codec,
    error::{GoAwayCode, Refusal, RefusalCode, ResetCode},
    frame::{HEADER_LENGTH, Header, Kind, StreamId},
    hello::{Hello, Role},
    message::{Dial, DialNetwork, Dialled, Watch},
    session::{Event, Limits, Read, Session, Transmit, Write},
};

use crate::vector::{self, Vector};

const WINDOW: usize = 16 * 1024;

/// One conversation, each frame read by the other end before the next one is sent.
pub(crate) fn vectors() -> Vec<Vector> {
    let mut talk = Talk::new();
    talk.opens_and_answers();
    talk.carries_bytes();
    talk.ends_streams();
    talk.keeps_alive_and_closes();
    talk.vectors
}

#[test]
fn every_kind_of_frame_has_a_vector() {
    let vectors = vectors();
    for &(number, name) in Kind::TABLE {
        assert!(
            vectors.iter().any(|vector| vector.bytes[8] == number),
            "{name} ({number}) has no vector"
        );
    }
}

#[test]
fn headers_of_committed_frames_are_read_and_written_the_same() {
    for Vector { name, .. } in vectors() {
        let bytes = vector::read(&name);
        let head = bytes.first_chunk::<HEADER_LENGTH>().unwrap();
        let header = Header::decode(head, WINDOW).unwrap();
        assert_eq!(header.length, bytes.len() - HEADER_LENGTH, "{name}");
        assert_eq!(header.encode(), *head, "{name}");
    }
}

#[test]
fn a_frame_on_the_wire_as_people_read_it() {
    let names = ["frame-open", "frame-refuse", "frame-credit", "frame-goaway"];
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("{name}: {}", vector::read(name).escape_ascii()))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    frame-open: \x00\x00\x00\x01\x00\x00\x00\x1a\x01\x00\x00\x00\x00\x00@\x00\x00\x0b\x00\x00\x00\x00\x00\x0e\x01\tlocalhost\xfb+\x19
    frame-refuse: \x00\x00\x00\x03\x00\x00\x00\x19\x03\x00\x00\x00\x00\x0210.0.0.1 is not allowed
    frame-credit: \x00\x00\x00\x01\x00\x00\x00\x04\x05\x00\x00\x00\x00\x00 \x12
    frame-goaway: \x00\x00\x00\x00\x00\x00\x00\x02\n\x00\x00\x00\x00\x00
    "#);
}

struct Talk {
    host: Session,
    guest: Session,
    start: Instant,
    vectors: Vec<Vector>,
}

impl Talk {
    fn new() -> Self {
        let limits = Limits {
            window: WINDOW,
            ..Limits::default()
        };
        let start = Instant::now();
        Self {
            host: Session::new(Role::Host, limits, &hello(Role::Guest), start),
            guest: Session::new(Role::Guest, limits, &hello(Role::Host), start),
            start,
            vectors: Vec::new(),
        }
    }

    fn opens_and_answers(&mut self) {
        let dial = codec::encode(&Dial {
            network: DialNetwork::Tcp,
            host: "localhost".to_owned(),
            port: 6443,
        });
        let dialled = codec::encode(&Dialled {
            address: "127.0.0.1:6443".to_owned(),
        });
        let stream = self.host.open(&dial).unwrap();
        let request = self.host_sends("open", "Open: stream 1, window 16384, a Dial");
        let opened = Event::Opened {
            stream,
            request: dial,
        };
        assert_eq!(request, [opened]);
        self.guest.accept(stream, &dialled);
        let answer = self.guest_sends("accept", "Accept: stream 1, window 16384, a Dialled");
        let accepted = Event::Accepted {
            stream,
            answer: dialled,
        };
        assert_eq!(answer, [accepted]);

        for (name, refusal) in [
            (
                "refuse",
                Refusal::new(RefusalCode::Denied, "10.0.0.1 is not allowed"),
            ),
            (
                "refuse-without-text",
                Refusal::new(RefusalCode::Unsupported, ""),
            ),
        ] {
            let stream = self.host.open(&codec::encode(&Watch {})).unwrap();
            let name_of_open = format!("open-before-{name}");
            self.host_sends(
                &name_of_open,
                &format!("Open: stream {stream}, window 16384, a Watch"),
            );
            self.guest.refuse(stream, &refusal);
            let about = format!(
                "Refuse: stream {stream}, code {}, `{}`",
                refusal.code.number(),
                refusal.text
            );
            let refused = self.guest_sends(name, &about);
            assert_eq!(refused, [Event::Refused { stream, refusal }]);
        }

        let watch = codec::encode(&Watch {});
        let stream = self.guest.open(&watch).unwrap();
        let opened = Event::Opened {
            stream,
            request: watch,
        };
        let event = self.guest_sends("open-by-guest", "Open: stream 2, window 16384, a Watch");
        assert_eq!(event, [opened]);
    }

    fn carries_bytes(&mut self) {
        let stream = StreamId(1);
        let request = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(self.host.write(stream, request.clone()), Write::Queued);
        let events = self.host_sends("data", "Data: stream 1, 18 bytes");
        assert_eq!(events, [Event::Readable(stream)]);
        assert_eq!(self.guest.read(stream), Read::Data(request));
        // Room is given back once half of the window is consumed.
        let bulk = Bytes::from(vec![0x5a; WINDOW / 2]);
        assert_eq!(self.host.write(stream, bulk.clone()), Write::Queued);
        let bytes = sent(&mut self.host);
        self.guest
            .handle_bytes(&mut BytesMut::from(&bytes[..]), self.start)
            .unwrap();
        assert_eq!(events_of(&mut self.guest), [Event::Readable(stream)]);
        assert_eq!(self.guest.read(stream), Read::Data(bulk));
        let events = self.guest_sends("credit", "Credit: stream 1, 8210 bytes");
        assert_eq!(events, []);
    }

    fn ends_streams(&mut self) {
        self.host.finish(StreamId(1));
        let events = self.host_sends("finish", "Finish: stream 1");
        assert_eq!(events, [Event::Readable(StreamId(1))]);
        assert_eq!(self.guest.read(StreamId(1)), Read::End);
        self.guest.reset(StreamId(1), ResetCode::ConnectionReset);
        let both = [Event::Readable(StreamId(1)), Event::Writable(StreamId(1))];
        let events = self.guest_sends("reset", "Reset: stream 1, code 1");
        assert_eq!(events, both);
        let read = self.host.read(StreamId(1));
        assert_eq!(read, Read::Reset(ResetCode::ConnectionReset));
    }

    fn keeps_alive_and_closes(&mut self) {
        self.start += Duration::from_secs(4);
        self.host.handle_timeout(self.start).unwrap();
        assert_eq!(self.host_sends("ping", "Ping: eight bytes of zero"), []);
        assert_eq!(self.guest_sends("pong", "Pong: the bytes of the Ping"), []);
        let sentence = "kind 77 of 0 bytes on stream 1";
        self.guest.close(GoAwayCode::UnknownFrame, sentence);
        let about = "GoAway: code 3 with a sentence";
        let goaway = Event::GoAway {
            code: GoAwayCode::UnknownFrame,
            text: sentence.to_owned(),
        };
        let events = self.guest_sends("goaway-with-text", about);
        assert_eq!(events.last(), Some(&goaway));
        let mut other = Self::new();
        other.guest.close(GoAwayCode::Closing, "");
        let goaway = Event::GoAway {
            code: GoAwayCode::Closing,
            text: String::new(),
        };
        let events = other.guest_sends("goaway", "GoAway: code 0 without text");
        assert_eq!(events, [goaway]);
        self.vectors.append(&mut other.vectors);
    }

    /// What the host sends becomes a vector; the guest's events.
    fn host_sends(&mut self, name: &str, about: &str) -> Vec<Event> {
        let bytes = sent(&mut self.host);
        self.deliver(name, about, bytes, Role::Guest)
    }

    fn guest_sends(&mut self, name: &str, about: &str) -> Vec<Event> {
        let bytes = sent(&mut self.guest);
        self.deliver(name, about, bytes, Role::Host)
    }

    fn deliver(&mut self, name: &str, about: &str, bytes: Bytes, to: Role) -> Vec<Event> {
        let receiver = match to {
            Role::Host => &mut self.host,
            Role::Guest => &mut self.guest,
        };
        let mut input = BytesMut::from(&bytes[..]);
        receiver.handle_bytes(&mut input, self.start).unwrap();
        assert!(input.is_empty(), "{name} is one whole frame");
        self.vectors
            .push(Vector::new(&format!("frame-{name}"), about, bytes));
        events_of(receiver)
    }
}

fn sent(session: &mut Session) -> Bytes {
    let mut transmit = Transmit::default();
    session.poll_transmit(&mut transmit);
    Bytes::from(transmit.take_chunks().collect::<Vec<_>>().concat())
}

fn events_of(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

pub(crate) fn hello(role: Role) -> Hello {
    Hello {
        capability: 1,
        oldest_capability: 1,
        role,
        plain: true,
        max_frame: 1024 * 1024,
        max_streams: 16_384,
        boot_id: *b"a boot of a node",
        version: "0.1.0".to_owned(),
        node: "k3s-dev".to_owned(),
    }
}

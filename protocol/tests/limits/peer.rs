//! A guest's session and a host that says to it whatever it likes.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use lkc_protocol::{
    error::{GoAwayCode, Refusal},
    frame::{HEADER_LENGTH, Header, Kind, StreamId},
    hello::{Hello, Role},
    session::{Event, Limits, Read, Session, Transmit},
};

/// What the carrier hands over at once.
const READ_SIZE: usize = 64 * 1024;

/// One frame, well-formed or not.
pub(crate) fn frame(kind: Kind, stream: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        stream: StreamId(stream),
        length: payload.len(),
        kind,
    };
    [&header.encode()[..], payload].concat()
}

/// An Open with a request of `length` bytes.
pub(crate) fn open(stream: u32, length: usize) -> Vec<u8> {
    let window = 65_536_u32.to_be_bytes();
    frame(
        Kind::Open,
        stream,
        &[&window[..], &vec![7; length]].concat(),
    )
}

pub(crate) fn credit(stream: u32, count: u32) -> Vec<u8> {
    frame(Kind::Credit, stream, &count.to_be_bytes())
}

pub(crate) fn data(stream: u32, length: usize) -> Vec<u8> {
    frame(Kind::Data, stream, &vec![7; length])
}

pub(crate) fn reset(stream: u32) -> Vec<u8> {
    frame(Kind::Reset, stream, &[0, 0])
}

pub(crate) fn ping() -> Vec<u8> {
    frame(Kind::Ping, 0, &[0; 8])
}

/// The session that is spoken to.
pub(crate) struct Guest {
    pub(crate) session: Session,
    pub(crate) now: Instant,
    input: BytesMut,
    /// Streams whose request waits.
    pub(crate) waiting: Vec<StreamId>,
    /// Events so far.
    pub(crate) events: usize,
}

impl Guest {
    pub(crate) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let hello = Hello {
            capability: 1,
            oldest_capability: 1,
            role: Role::Host,
            plain: true,
            max_frame: 65_536,
            max_streams: 16_384,
            boot_id: [0; 16],
            version: "0.1.0".to_owned(),
            node: "hostile".to_owned(),
        };
        Self {
            session: Session::new(Role::Guest, limits, &hello, now),
            now,
            input: BytesMut::new(),
            waiting: Vec::new(),
            events: 0,
        }
    }

    /// Takes in bytes as a carrier gives them: from buffers that it uses again.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Result<(), GoAwayCode> {
        for piece in bytes.chunks(READ_SIZE) {
            self.input.reserve(READ_SIZE);
            self.input.extend_from_slice(piece);
            let heard = self.session.handle_bytes(&mut self.input, self.now);
            while let Some(event) = self.session.poll_event() {
                self.events += 1;
                if let Event::Opened { stream, .. } = event {
                    self.waiting.push(stream);
                }
            }
            heard.map_err(|error| error.code)?;
        }
        Ok(())
    }

    /// Hears `bytes` and accepts what they open.
    pub(crate) fn hear_and_accept(&mut self, bytes: &[u8]) -> Result<(), GoAwayCode> {
        self.hear(bytes)?;
        for stream in self.waiting.drain(..) {
            self.session.accept(stream, b"");
        }
        Ok(())
    }

    pub(crate) fn refuse_all(&mut self, refusal: &Refusal) {
        for stream in self.waiting.drain(..) {
            self.session.refuse(stream, refusal);
        }
    }

    pub(crate) fn read(&mut self, stream: u32) -> Read {
        self.session.read(StreamId(stream))
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// What it answers: kind, stream and code or number.
    pub(crate) fn says(&mut self) -> Vec<(Kind, u32, u16)> {
        let mut said = Vec::new();
        let mut transmit = Transmit::default();
        loop {
            self.session.poll_transmit(&mut transmit);
            if transmit.is_empty() {
                return said;
            }
            let bytes = transmit.take_chunks().collect::<Vec<_>>().concat();
            let mut rest = &bytes[..];
            while let Some(header) = rest.first_chunk::<HEADER_LENGTH>() {
                let header = Header::decode(header, 1 << 20).unwrap();
                let payload = &rest[HEADER_LENGTH..][..header.length];
                let code = payload
                    .first_chunk()
                    .map_or(0, |it| u16::from_be_bytes(*it));
                said.push((header.kind, header.stream.0, code));
                rest = &rest[HEADER_LENGTH + header.length..];
            }
        }
    }
}

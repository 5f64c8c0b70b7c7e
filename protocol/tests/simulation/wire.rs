//! Reads frames off a direction of the carrier, without the code under test.

use lkc_protocol::frame::{Kind, StreamId};

const HEADER: usize = 12;

/// What a direction says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A whole frame that is not data.
    Control(Kind, StreamId, Vec<u8>),
    /// A data frame begins.
    Data(StreamId, usize),
    /// Bytes of it, as far as they have come.
    Payload(StreamId, Vec<u8>),
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    input: Vec<u8>,
    /// The data frame that is not over yet, and the bytes that it lacks.
    within: Option<(StreamId, usize)>,
}

impl Reader {
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.input.extend_from_slice(bytes);
        let (mut seen, mut at) = (Vec::new(), 0);
        while let Some((next, length)) = self.next(at) {
            at += length;
            seen.push(next);
        }
        self.input.drain(..at);
        seen
    }

    fn next(&mut self, at: usize) -> Option<(Seen, usize)> {
        let input = &self.input[at..];
        if let Some((stream, left)) = self.within {
            let count = left.min(input.len());
            self.within = (left > count).then_some((stream, left - count));
            return (count > 0).then(|| (Seen::Payload(stream, input[..count].to_vec()), count));
        }
        let header = input.first_chunk::<HEADER>()?;
        let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|byte| header[at + byte]));
        let (stream, length) = (StreamId(number(0)), number(4) as usize);
        let kind = KINDS[usize::from(header[8])];
        if kind == Kind::Data {
            self.within = (length > 0).then_some((stream, length));
            return Some((Seen::Data(stream, length), HEADER));
        }
        let payload = input.get(HEADER..HEADER + length)?.to_vec();
        Some((Seen::Control(kind, stream, payload), HEADER + length))
    }
}

/// By their number; zero is none.
const KINDS: [Kind; 11] = [
    Kind::GoAway,
    Kind::Open,
    Kind::Accept,
    Kind::Refuse,
    Kind::Data,
    Kind::Credit,
    Kind::Finish,
    Kind::Reset,
    Kind::Ping,
    Kind::Pong,
    Kind::GoAway,
];

/// The number that a payload begins with.
pub(crate) fn number(payload: &[u8]) -> usize {
    payload
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes) as usize)
}

/// The code that a payload begins with.
pub(crate) fn code(payload: &[u8]) -> u16 {
    payload
        .first_chunk()
        .map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

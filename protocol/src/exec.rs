//! A program's input, output and end on a stream: what follows the answer to an `Exec`.
//! `PROTOCOL.md §11`.
//!
//! `kind: u8 | length: u16, big-endian | so many bytes`, one piece after the other, in each direction
//! pieces of its own.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::message::TerminalSize;

/// Largest piece in bytes.
pub const MAX_PIECE: usize = u16::MAX as usize;

/// Bytes in front of a piece.
const HEADER: usize = 3;

/// What the host sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToProgram {
    /// Bytes for its standard input.
    Input(Bytes),
    /// Nothing more comes on its standard input.
    InputEnd,
    /// Its terminal has another size now.
    Resize(TerminalSize),
    /// A signal for it and what it has started.
    Signal(Signal),
}

/// What the guest sends; nothing follows [`Ended`](Self::Ended).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromProgram {
    /// Bytes of its standard output, or of its terminal.
    Output(Bytes),
    /// Bytes of its standard error.
    Errors(Bytes),
    /// It is over, and all of its output was sent.
    Ended(ProgramEnd),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramEnd {
    /// With an exit status.
    Exited(u8),
    /// By a signal, numbered as Linux does.
    Killed(u8),
}

impl ProgramEnd {
    /// The exit status of a shell that ran it.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => signal.saturating_add(128),
        }
    }
}

/// A signal that a program is asked to end by, numbered as Linux does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// The terminal is gone.
    Hangup = 1,
    /// Ctrl-C.
    Interrupt = 2,
    /// Ctrl-\.
    Quit = 3,
    /// The polite request.
    Terminate = 15,
}

impl Signal {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Hangup, Self::Interrupt, Self::Quit, Self::Terminate];
}

/// Bytes that are no piece of a program's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ExecError {
    /// A kind that this direction does not have.
    #[error("kind {0} is no piece of a program's stream in this direction")]
    Kind(u8),
    /// A length that the kind does not have.
    #[error("a piece of kind {kind} has no {length} bytes")]
    Length {
        /// Its kind.
        kind: u8,
        /// Its length.
        length: usize,
    },
    /// A signal that nobody may send.
    #[error("{0} is no signal that a program is sent")]
    Signal(u8),
    /// Something after the end.
    #[error("a piece comes after the end of the program")]
    AfterEnd,
}

/// A piece of one direction.
pub trait Piece: Sized {
    /// Its kind and its bytes, at most [`MAX_PIECE`].
    fn parts(&self) -> (u8, Bytes);

    /// From its kind and its bytes.
    ///
    /// # Errors
    /// [`ExecError`].
    fn from_parts(kind: u8, bytes: Bytes) -> Result<Self, ExecError>;

    /// Whether nothing comes behind it.
    fn is_last(&self) -> bool;
}

/// As it is on the stream. Bytes of an input or output beyond [`MAX_PIECE`] make further pieces.
#[must_use]
pub fn encode(piece: &impl Piece) -> Bytes {
    let (kind, bytes) = piece.parts();
    let mut encoded = BytesMut::with_capacity(HEADER + bytes.len());
    let mut rest = &bytes[..];
    loop {
        let (now, later) = rest.split_at(rest.len().min(MAX_PIECE));
        encoded.put_u8(kind);
        encoded.put_u16(u16::try_from(now.len()).unwrap_or(u16::MAX));
        encoded.extend_from_slice(now);
        rest = later;
        if rest.is_empty() {
            return encoded.freeze();
        }
    }
}

/// Takes the pieces of one direction out of a stream's bytes, however they are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    begun: BytesMut,
    is_over: bool,
}

impl Decoder {
    /// Takes bytes of the stream; [`pop`](Self::pop) gives what is whole.
    pub fn push(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
    }

    /// The next piece; none until more bytes come.
    ///
    /// # Errors
    /// [`ExecError`], after which the stream makes no sense any more.
    pub fn pop<P: Piece>(&mut self) -> Result<Option<P>, ExecError> {
        let Some(&[kind, high, low]) = self.begun.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if self.is_over {
            return Err(ExecError::AfterEnd);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.begun.len() < HEADER + length {
            return Ok(None);
        }
        self.begun.advance(HEADER);
        let piece = P::from_parts(kind, self.begun.split_to(length).freeze())?;
        self.is_over = piece.is_last();
        Ok(Some(piece))
    }

    /// Whether the bytes so far end within a piece.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !self.begun.is_empty()
    }
}

const INPUT: u8 = 1;
const INPUT_END: u8 = 2;
const RESIZE: u8 = 3;
const SIGNAL: u8 = 4;

impl Piece for ToProgram {
    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Input(bytes) => (INPUT, bytes.clone()),
            Self::InputEnd => (INPUT_END, Bytes::new()),
            Self::Resize(TerminalSize { columns, rows }) => {
                let size = [columns.to_be_bytes(), rows.to_be_bytes()].concat();
                (RESIZE, size.into())
            }
            Self::Signal(signal) => (SIGNAL, vec![*signal as u8].into()),
        }
    }

    fn from_parts(kind: u8, bytes: Bytes) -> Result<Self, ExecError> {
        match (kind, &bytes[..]) {
            (INPUT, _) => Ok(Self::Input(bytes)),
            (INPUT_END, []) => Ok(Self::InputEnd),
            (RESIZE, &[c1, c2, r1, r2]) => Ok(Self::Resize(TerminalSize {
                columns: u16::from_be_bytes([c1, c2]),
                rows: u16::from_be_bytes([r1, r2]),
            })),
            (SIGNAL, &[number]) => Signal::ALL
                .into_iter()
                .find(|signal| *signal as u8 == number)
                .map(Self::Signal)
                .ok_or(ExecError::Signal(number)),
            (INPUT_END | RESIZE | SIGNAL, bytes) => Err(ExecError::Length {
                kind,
                length: bytes.len(),
            }),
            _ => Err(ExecError::Kind(kind)),
        }
    }

    fn is_last(&self) -> bool {
        false
    }
}

const OUTPUT: u8 = 129;
const ERRORS: u8 = 130;
const EXITED: u8 = 131;
const KILLED: u8 = 132;

impl Piece for FromProgram {
    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Output(bytes) => (OUTPUT, bytes.clone()),
            Self::Errors(bytes) => (ERRORS, bytes.clone()),
            Self::Ended(ProgramEnd::Exited(status)) => (EXITED, vec![*status].into()),
            Self::Ended(ProgramEnd::Killed(signal)) => (KILLED, vec![*signal].into()),
        }
    }

    fn from_parts(kind: u8, bytes: Bytes) -> Result<Self, ExecError> {
        match (kind, &bytes[..]) {
            (OUTPUT, _) => Ok(Self::Output(bytes)),
            (ERRORS, _) => Ok(Self::Errors(bytes)),
            (EXITED, &[status]) => Ok(Self::Ended(ProgramEnd::Exited(status))),
            (KILLED, &[signal]) => Ok(Self::Ended(ProgramEnd::Killed(signal))),
            (EXITED | KILLED, bytes) => Err(ExecError::Length {
                kind,
                length: bytes.len(),
            }),
            _ => Err(ExecError::Kind(kind)),
        }
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<P: Piece>(chunks: &[&[u8]]) -> Result<(Vec<P>, bool), ExecError> {
        let (mut decoder, mut pieces) = (Decoder::default(), Vec::new());
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(piece) = decoder.pop()? {
                pieces.push(piece);
            }
        }
        Ok((pieces, decoder.is_within()))
    }

    fn to_program() -> Vec<ToProgram> {
        let mut pieces = vec![
            ToProgram::Input(Bytes::from_static(b"ls\n")),
            ToProgram::Resize(TerminalSize {
                columns: 300,
                rows: 7,
            }),
            ToProgram::Input(Bytes::new()),
            ToProgram::InputEnd,
        ];
        pieces.extend(Signal::ALL.map(ToProgram::Signal));
        pieces
    }

    fn from_program(end: ProgramEnd) -> Vec<FromProgram> {
        vec![
            FromProgram::Errors(Bytes::from_static(b"what?")),
            FromProgram::Output(Bytes::from_static(b"\x00\xff")),
            FromProgram::Ended(end),
        ]
    }

    #[track_caller]
    fn check_every_cut<P: Piece + Clone + PartialEq + std::fmt::Debug>(sent: &[P]) {
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        for cut in 0..=bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let whole = Ok((sent.to_vec(), false));
            assert_eq!(decode(&[first, second]), whole, "cut at {cut}");
        }
        assert!(decode::<P>(&[&bytes[..bytes.len() - 1]]).unwrap().1);
    }

    #[test]
    fn pieces_arrive_whole_however_the_stream_is_cut() {
        check_every_cut(&to_program());
        check_every_cut(&from_program(ProgramEnd::Exited(3)));
        check_every_cut(&from_program(ProgramEnd::Killed(9)));
    }

    #[test]
    fn much_is_several_pieces() {
        let much = Bytes::from(vec![7; 2 * MAX_PIECE + 1]);
        let (pieces, _) = decode(&[&encode(&ToProgram::Input(much))]).unwrap();
        let lengths = pieces.iter().map(|piece| match piece {
            ToProgram::Input(bytes) => bytes.len(),
            other => panic!("{other:?}"),
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [MAX_PIECE, MAX_PIECE, 1]);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (bytes, error) in [
            (&[0, 0, 0][..], ExecError::Kind(0)),
            (&[OUTPUT, 0, 0], ExecError::Kind(OUTPUT)),
            (
                &[INPUT_END, 0, 1, 0],
                ExecError::Length {
                    kind: INPUT_END,
                    length: 1,
                },
            ),
            (
                &[RESIZE, 0, 2, 0, 80],
                ExecError::Length {
                    kind: RESIZE,
                    length: 2,
                },
            ),
            (&[SIGNAL, 0, 1, 9], ExecError::Signal(9)),
        ] {
            assert_eq!(decode::<ToProgram>(&[bytes]), Err(error));
        }
        let mut late = from_program(ProgramEnd::Exited(0));
        late.push(FromProgram::Output(Bytes::new()));
        let late: Vec<u8> = late.iter().flat_map(encode).collect();
        assert_eq!(decode::<FromProgram>(&[&late]), Err(ExecError::AfterEnd));
    }

    #[test]
    fn an_end_is_what_a_shell_makes_of_it() {
        assert_eq!(ProgramEnd::Exited(3).exit_code(), 3);
        assert_eq!(ProgramEnd::Killed(15).exit_code(), 143);
        assert_eq!(ProgramEnd::Killed(200).exit_code(), 255);
    }

    proptest! {
        #[test]
        fn any_bytes_are_pieces_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let halves = bytes.split_at(bytes.len() / 2);
            let cut = decode::<FromProgram>(&[halves.0, halves.1]);
            prop_assert_eq!(cut, decode(&[&bytes]));
            let cut = decode::<ToProgram>(&[halves.0, halves.1]);
            prop_assert_eq!(cut, decode(&[&bytes]));
        }
    }
}

//! What is inside a stream of the tunnel once it is open: datagrams, and the pieces of a program's
//! input and output. Read alike however the stream is cut, and what was read can be sent again.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    datagram::{self, BadLength, Item, MAX_DATAGRAM},
    exec::{self, ExecError, FromProgram, MAX_PIECE, Piece, ToProgram},
};

use super::pieces::pieces;

/// A byte that says how the stream is cut, then the stream.
pub fn check_datagrams(input: &[u8]) {
    let Some((&cut, stream)) = input.split_first() else {
        return;
    };
    let whole = read_datagrams(std::iter::once(stream));
    assert_eq!(read_datagrams(pieces(stream, cut)), whole, "in pieces");
    let (items, end) = whole;
    let mut again = BytesMut::new();
    for item in &items {
        match item {
            Item::Datagram(bytes) => {
                assert!(bytes.len() <= MAX_DATAGRAM);
                datagram::put(bytes, &mut again).expect("it came as one");
            }
            Item::Refused => datagram::put_refused(&mut again),
        }
    }
    assert!(stream.starts_with(&again), "sent again");
    // Nothing is left out between what was read and what was not.
    assert!(end != Ok(false) || again.len() == stream.len());
}

/// The items of a stream, and whether it ends within one, or why it makes no sense.
fn read_datagrams<'a>(
    stream: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Item>, Result<bool, BadLength>) {
    let mut decoder = datagram::Decoder::default();
    let mut items = Vec::new();
    for piece in stream {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => return (items, Err(error)),
            }
        }
        assert!(piece.is_empty(), "all of it is taken");
    }
    (items, Ok(decoder.is_within()))
}

/// The same, of what both ends of an `Exec` send.
pub fn check_exec(input: &[u8]) {
    let Some((&cut, stream)) = input.split_first() else {
        return;
    };
    check_pieces::<ToProgram>(stream, cut);
    check_pieces::<FromProgram>(stream, cut);
}

fn check_pieces<P: Piece + PartialEq + Debug>(stream: &[u8], cut: u8) {
    let whole = read_pieces::<P>(std::iter::once(stream));
    assert_eq!(read_pieces::<P>(pieces(stream, cut)), whole, "in pieces");
    let (read, end) = whole;
    for (index, piece) in read.iter().enumerate() {
        assert!(piece.parts().1.len() <= MAX_PIECE);
        assert!(!piece.is_last() || index + 1 == read.len(), "after the end");
    }
    let again: Vec<u8> = read.iter().flat_map(exec::encode).collect();
    assert!(stream.starts_with(&again), "sent again");
    assert!(end != Ok(false) || again.len() == stream.len());
}

/// The pieces of a stream, and whether it ends within one, or why it makes no sense.
fn read_pieces<'a, P: Piece>(
    stream: impl Iterator<Item = &'a [u8]>,
) -> (Vec<P>, Result<bool, ExecError>) {
    let mut decoder = exec::Decoder::default();
    let mut read = Vec::new();
    for piece in stream {
        decoder.push(piece);
        loop {
            match decoder.pop() {
                Ok(Some(piece)) => read.push(piece),
                Ok(None) => break,
                Err(error) => return (read, Err(error)),
            }
        }
    }
    (read, Ok(decoder.is_within()))
}

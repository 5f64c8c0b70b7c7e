//! Hellos: read alike however they arrive, and what was read can be said again.

use bytes::BytesMut;
use lkc_protocol::hello::{Hello, HelloError, MAX_LENGTH, Role};

use super::pieces::pieces;

/// A byte that says how the stream is cut, then the stream.
pub fn check(input: &[u8]) {
    let Some((&cut, stream)) = input.split_first() else {
        return;
    };
    let whole = read(std::iter::once(stream));
    assert_eq!(read(pieces(stream, cut)), whole, "in pieces");
    let Some(Ok((hello, rest))) = whole else {
        return;
    };
    assert!(stream.len() - rest.len() <= 2 + MAX_LENGTH);
    for role in [Role::Host, Role::Guest] {
        if let Err(error) = hello.check(role) {
            assert!(!error.to_string().is_empty());
        }
    }
    let again = read(std::iter::once(&hello.encode()[..]));
    assert_eq!(again, Some(Ok((hello, Vec::new()))), "said again");
}

/// The first hello and what is behind it, none when more bytes are needed.
fn read<'a>(
    stream: impl Iterator<Item = &'a [u8]>,
) -> Option<Result<(Hello, Vec<u8>), HelloError>> {
    let mut input = BytesMut::new();
    let mut read = None;
    for piece in stream {
        input.extend_from_slice(piece);
        if read.is_none() {
            read = Hello::decode(&mut input).transpose();
        }
    }
    read.map(|read| read.map(|hello| (hello, input.to_vec())))
}

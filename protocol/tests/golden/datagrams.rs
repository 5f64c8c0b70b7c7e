//! Datagrams as they follow a dial over UDP.

use bytes::{Bytes, BytesMut};
use lkc_protocol::datagram::{self, Decoder, Item};

use crate::vector::{self, Vector};

const ABOUT: &str = "Datagrams: `abc`, one of no bytes, a notice of a refusal, one of 300 bytes";

fn items() -> Vec<Item> {
    vec![
        Item::Datagram(Bytes::from_static(b"abc")),
        Item::Datagram(Bytes::new()),
        Item::Refused,
        Item::Datagram(Bytes::from(vec![0x5a; 300])),
    ]
}

pub(crate) fn vectors() -> Vec<Vector> {
    let mut bytes = BytesMut::new();
    for item in items() {
        match item {
            Item::Datagram(datagram) => datagram::put(&datagram, &mut bytes).unwrap(),
            Item::Refused => datagram::put_refused(&mut bytes),
        }
    }
    vec![Vector::new("datagrams", ABOUT, bytes)]
}

#[test]
fn committed_datagrams_are_read_as_they_were_sent() {
    let (mut decoder, mut bytes) = (Decoder::default(), vector::read("datagrams"));
    let mut read = Vec::new();
    while let Some(item) = decoder.next(&mut bytes).unwrap() {
        read.push(item);
    }
    assert_eq!(read, items());
    assert!(!decoder.is_within());
}

//! What goes before the frames: the prefaces and the hellos.

use bytes::{BufMut, BytesMut};
use lkc_protocol::{
    hello::{Hello, Role},
    preface::{self, Nonce, PrefaceFinder},
};

use crate::{
    frames::hello,
    vector::{self, Vector},
};

const NONCE: Nonce = *b"sixteen of chaos";

pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors = vec![
        Vector::new(
            "preface-host",
            "Preface of a host that speaks handshake version 1, nonce `sixteen of chaos`",
            preface::from_host(NONCE).to_vec(),
        ),
        Vector::new(
            "preface-guest",
            "Preface of a guest that speaks handshake version 1, nonce `sixteen of chaos`",
            preface::from_guest(NONCE).to_vec(),
        ),
        Vector::new(
            "hello-of-a-later-version",
            "Hello of a guest with capability 1000, a larger frame and two unknown fields",
            later_hello(),
        ),
    ];
    for (name, about, hello) in hellos() {
        vectors.push(Vector::new(name, about, hello.encode()));
    }
    vectors
}

#[test]
fn committed_prefaces_are_found_by_the_other_end_only() {
    for (name, mut right, mut wrong) in [
        (
            "preface-host",
            PrefaceFinder::for_guest(),
            PrefaceFinder::for_host(NONCE),
        ),
        (
            "preface-guest",
            PrefaceFinder::for_host(NONCE),
            PrefaceFinder::for_guest(),
        ),
    ] {
        let bytes = vector::read(name);
        let mut input = BytesMut::from(&bytes[..]);
        assert_eq!(right.find(&mut input), Ok(Some((NONCE, 1))), "{name}");
        assert!(input.is_empty(), "{name}");
        let mut input = BytesMut::from(&bytes[..]);
        assert_eq!(wrong.find(&mut input), Ok(None), "{name}");
    }
}

#[test]
fn committed_hellos_are_read_as_the_values_they_were_made_from() {
    for (name, _, hello) in hellos() {
        let bytes = vector::read(name);
        let mut input = BytesMut::from(&bytes[..]);
        assert_eq!(Hello::decode(&mut input), Ok(Some(hello.clone())), "{name}");
        assert!(input.is_empty(), "{name}");
        assert_eq!(hello.encode(), bytes, "{name}");
    }
    let mut input = BytesMut::from(&vector::read("hello-of-a-later-version")[..]);
    let later = Hello::decode(&mut input).unwrap().unwrap();
    assert!(input.is_empty());
    assert_eq!(later.check(Role::Host), Ok(()));
    insta::assert_debug_snapshot!(later, @r#"
    Hello {
        capability: 1000,
        oldest_capability: 1,
        role: Guest,
        plain: true,
        max_frame: 16777216,
        max_streams: 16384,
        boot_id: [
            97,
            32,
            98,
            111,
            111,
            116,
            32,
            111,
            102,
            32,
            97,
            32,
            110,
            111,
            100,
            101,
        ],
        version: "9.4.0",
        node: "k3s-dev",
    }
    "#);
}

fn hellos() -> [(&'static str, &'static str, Hello); 4] {
    let edge = Hello {
        capability: u32::MAX,
        oldest_capability: 0,
        plain: false,
        max_frame: u32::MAX,
        max_streams: 1,
        boot_id: [0; 16],
        version: String::new(),
        node: String::new(),
        ..hello(Role::Host)
    };
    let long = Hello {
        version: "v".repeat(255),
        node: "n".repeat(255),
        ..hello(Role::Guest)
    };
    [
        (
            "hello-host",
            "Hello of a host, plain allowed",
            hello(Role::Host),
        ),
        (
            "hello-guest",
            "Hello of a guest, plain allowed",
            hello(Role::Guest),
        ),
        (
            "hello-edges",
            "Hello of a host: empty texts, extreme numbers, no plain",
            edge,
        ),
        (
            "hello-longest-texts",
            "Hello of a guest: both texts at their 255 bytes",
            long,
        ),
    ]
}

fn later_hello() -> BytesMut {
    let later = Hello {
        capability: 1000,
        max_frame: 16 * 1024 * 1024,
        version: "9.4.0".to_owned(),
        ..hello(Role::Guest)
    };
    let known = later.encode();
    let fields = [0, 9, 0, 3, b'x', b'y', b'z', 0xff, 0xff, 0, 0];
    let mut bytes = BytesMut::new();
    bytes.put_u16(u16::try_from(known.len() - 2 + fields.len()).unwrap());
    bytes.extend_from_slice(&known[2..]);
    bytes.extend_from_slice(&fields);
    bytes
}

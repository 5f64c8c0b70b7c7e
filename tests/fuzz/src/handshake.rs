//! The handshake: bytes that are none, and two ends with a wire between them that cuts and changes
//! what it carries.

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use lkc_protocol::{
    handshake::{Established, Handshake},
    hello::{Hello, Role},
    identity::Identity,
    preface,
    version::{CAPABILITY, OLDEST_CAPABILITY},
};

use super::pieces::pieces;

/// Bytes that one end may keep of what is no handshake: the longest TLS record and its header.
const MOST_OUTBOUND: usize = 32 * 1024;

/// A byte that says which end and whether it would go on in plain, one that says how the stream is
/// cut, then what comes behind the other end's preface.
pub fn check_bytes(input: &[u8]) {
    let [flags, cut, stream @ ..] = input else {
        return;
    };
    let plain = flags & 1 != 0;
    let (mut end, greeting) = if flags & 2 != 0 {
        let mut host = shake_host(plain);
        let sent = host.take_outbound();
        let nonce = sent[16..].try_into().expect("a preface with its nonce");
        (host, preface::from_guest(nonce))
    } else {
        (shake_guest(plain), preface::from_host([7; 16]))
    };
    let step = end.step();
    assert!(matches!(end.handle_bytes(&greeting), Ok(false)), "{step}");
    let mut outbound = end.take_outbound().len();
    for piece in pieces(stream, *cut) {
        let handled = end.handle_bytes(piece);
        outbound += end.take_outbound().len();
        assert!(outbound < MOST_OUTBOUND, "{outbound} bytes for a stranger");
        match handled {
            Ok(established) => assert!(!established, "a stranger was let in"),
            Err(error) => {
                assert!(error.to_string().len() < 1000, "{error}");
                return;
            }
        }
    }
    let _ = end.explain_end();
}

/// Two ends that know each other's key.
pub fn check_pair(input: &[u8]) {
    if let Ok(wire) = Wire::arbitrary_take_rest(Unstructured::new(input)) {
        Pair::new(&wire).run();
    }
}

#[derive(Debug, Arbitrary)]
struct Wire {
    host_plain: bool,
    guest_plain: bool,
    to_guest: Way,
    to_host: Way,
}

/// One direction of the wire.
#[derive(Debug, Arbitrary)]
struct Way {
    cut: u8,
    /// What the sender says once it is established.
    says: Vec<u8>,
    change: Option<Change>,
}

/// Something that the wire does to the bytes from an offset on.
#[derive(Debug, Arbitrary)]
struct Change {
    at: u16,
    kind: Kind,
}

#[derive(Debug, Arbitrary)]
enum Kind {
    Flip { mask: u8 },
    Remove { count: u8 },
    Insert { bytes: Vec<u8> },
    Repeat { count: u8 },
}

struct Pair<'w> {
    wire: &'w Wire,
    host: End,
    guest: End,
}

struct End {
    state: State,
    outbound: Vec<u8>,
    says: Vec<u8>,
    heard: BytesMut,
    /// Bytes sent so far.
    sent: usize,
}

enum State {
    Shaking(Box<Handshake>),
    Established(Box<Established>),
    Failed,
}

impl<'w> Pair<'w> {
    fn new(wire: &'w Wire) -> Self {
        Self {
            wire,
            host: End::new(shake_host(wire.host_plain), &wire.to_guest.says),
            guest: End::new(shake_guest(wire.guest_plain), &wire.to_host.says),
        }
    }

    fn run(mut self) {
        loop {
            let (from_host, from_guest) = (self.host.say(), self.guest.say());
            if from_host.is_empty() && from_guest.is_empty() {
                break;
            }
            let to_guest = self.wire.to_guest.carry(&mut self.host.sent, from_host);
            let to_host = self.wire.to_host.carry(&mut self.guest.sent, from_guest);
            pieces(&to_guest, self.wire.to_guest.cut).for_each(|piece| self.guest.hear(piece));
            pieces(&to_host, self.wire.to_host.cut).for_each(|piece| self.host.hear(piece));
        }
        let plain = self.wire.host_plain && self.wire.guest_plain;
        let changed = |way: &Way, sent: usize| {
            way.change
                .as_ref()
                .is_some_and(|change| usize::from(change.at) < sent)
        };
        let untouched = !changed(&self.wire.to_guest, self.host.sent)
            && !changed(&self.wire.to_host, self.guest.sent);
        for (end, other) in [(&self.host, &self.guest), (&self.guest, &self.host)] {
            let established = match &end.state {
                State::Established(established) => Some(established),
                State::Shaking(_) | State::Failed => None,
            };
            if let Some(established) = established {
                assert_eq!(established.channel.is_encrypted(), !plain);
            }
            if untouched {
                assert!(established.is_some(), "an honest wire");
                assert_eq!(&end.heard[..], &other.says[..], "an honest wire");
            } else if !plain {
                assert!(
                    other.says.starts_with(&end.heard),
                    "changed bytes were heard"
                );
            }
        }
    }
}

impl Way {
    /// What arrives of `bytes`, the first of which is number `position` of this direction.
    fn carry(&self, position: &mut usize, mut bytes: Vec<u8>) -> Vec<u8> {
        let start = *position;
        *position += bytes.len();
        let Some(change) = &self.change else {
            return bytes;
        };
        let at = usize::from(change.at);
        if !(start..*position).contains(&at) {
            return bytes;
        }
        let at = at - start;
        let end = |count: u8| (at + usize::from(count)).min(bytes.len());
        match &change.kind {
            Kind::Flip { mask } => bytes[at] ^= mask,
            Kind::Remove { count } => {
                bytes.drain(at..end(*count));
            }
            Kind::Insert { bytes: other } => {
                bytes.splice(at..at, other.iter().copied());
            }
            Kind::Repeat { count } => {
                let again = bytes[at..end(*count)].to_vec();
                bytes.splice(at..at, again);
            }
        }
        bytes
    }
}

impl End {
    fn new(handshake: Handshake, says: &[u8]) -> Self {
        Self {
            state: State::Shaking(Box::new(handshake)),
            outbound: Vec::new(),
            says: says.to_vec(),
            heard: BytesMut::new(),
            sent: 0,
        }
    }

    fn say(&mut self) -> Vec<u8> {
        if let State::Shaking(handshake) = &mut self.state {
            self.outbound.extend(handshake.take_outbound());
        }
        std::mem::take(&mut self.outbound)
    }

    fn hear(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Failed => {}
            State::Established(established) => {
                let mut sealed = BytesMut::from(bytes);
                if established
                    .channel
                    .open(&mut sealed, &mut self.heard)
                    .is_err()
                {
                    self.state = State::Failed;
                }
            }
            State::Shaking(handshake) => {
                let handled = handshake.handle_bytes(bytes);
                self.outbound.extend(handshake.take_outbound());
                match handled {
                    Ok(false) => {}
                    Ok(true) => self.establish(),
                    Err(_) => self.state = State::Failed,
                }
            }
        }
    }

    fn establish(&mut self) {
        let State::Shaking(handshake) = std::mem::replace(&mut self.state, State::Failed) else {
            return;
        };
        let Ok(mut established) = handshake.into_established() else {
            panic!("it said that it is established");
        };
        self.heard.extend_from_slice(&established.clear);
        let leftover = std::mem::take(&mut established.leftover);
        established.channel.seal(&self.says, &mut self.outbound);
        self.state = State::Established(Box::new(established));
        self.hear(&leftover);
    }
}

fn identities() -> &'static [Identity; 2] {
    static IDENTITIES: OnceLock<[Identity; 2]> = OnceLock::new();
    IDENTITIES
        .get_or_init(|| [(), ()].map(|()| Identity::generate().expect("random numbers for a key")))
}

fn shake_host(plain: bool) -> Handshake {
    let [host, guest] = identities();
    Handshake::host(host, guest.public_key(), hello(Role::Host, plain)).expect("a sound identity")
}

fn shake_guest(plain: bool) -> Handshake {
    let [host, guest] = identities();
    Handshake::guest(guest, &[host.public_key()], hello(Role::Guest, plain))
        .expect("a sound identity")
}

fn hello(role: Role, plain: bool) -> Hello {
    Hello {
        capability: CAPABILITY,
        oldest_capability: OLDEST_CAPABILITY,
        role,
        plain,
        max_frame: 65536,
        max_streams: 100,
        boot_id: [1; 16],
        version: "0.1.0".to_owned(),
        node: "k3s-dev".to_owned(),
    }
}

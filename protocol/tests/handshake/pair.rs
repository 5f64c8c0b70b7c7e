//! Two ends of a handshake and the wire between them, which may do anything to the bytes.

use std::sync::OnceLock;

use bytes::BytesMut;
use lkc_protocol::{
    handshake::{Established, Handshake, HandshakeError},
    hello::{Hello, Role},
    identity::{Identity, PublicKey},
};

/// The identities of all tests: what is tested does not depend on which keys they are.
pub(crate) struct Keys {
    pub(crate) host: Identity,
    pub(crate) guest: Identity,
    pub(crate) stranger: Identity,
}

pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        host: Identity::generate().unwrap(),
        guest: Identity::generate().unwrap(),
        stranger: Identity::generate().unwrap(),
    })
}

pub(crate) fn hello(role: Role, plain: bool) -> Hello {
    Hello {
        capability: 1,
        oldest_capability: 1,
        role,
        plain,
        max_frame: 1024 * 1024,
        max_streams: 16_384,
        boot_id: [if role == Role::Host { 1 } else { 2 }; 16],
        version: "0.1.0".to_owned(),
        node: if role == Role::Host {
            "laptop"
        } else {
            "k3s-dev"
        }
        .to_owned(),
    }
}

pub(crate) fn host(plain: bool) -> End {
    host_with(hello(Role::Host, plain), keys().guest.public_key())
}

pub(crate) fn host_with(hello: Hello, pin: PublicKey) -> End {
    End::new(Handshake::host(&keys().host, pin, hello).unwrap())
}

pub(crate) fn guest(plain: bool) -> End {
    guest_with(hello(Role::Guest, plain), keys().host.public_key())
}

pub(crate) fn guest_with(hello: Hello, pin: PublicKey) -> End {
    End::new(Handshake::guest(&keys().guest, &[pin], hello).unwrap())
}

/// One end: it shakes hands, then it is established or has failed.
pub(crate) struct End {
    pub(crate) state: State,
    outbound: Vec<u8>,
    /// What came in once it was established.
    behind: BytesMut,
}

pub(crate) enum State {
    Shaking(Box<Handshake>),
    Established(Box<Established>),
    Failed(HandshakeError),
}

impl End {
    fn new(handshake: Handshake) -> Self {
        Self {
            state: State::Shaking(Box::new(handshake)),
            outbound: Vec::new(),
            behind: BytesMut::new(),
        }
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        if let State::Shaking(handshake) = &mut self.state {
            self.outbound.extend(handshake.take_outbound());
        }
        std::mem::take(&mut self.outbound)
    }

    pub(crate) fn give(&mut self, bytes: &[u8]) {
        let State::Shaking(handshake) = &mut self.state else {
            self.behind.extend_from_slice(bytes);
            return;
        };
        let result = handshake.handle_bytes(bytes);
        self.outbound.extend(handshake.take_outbound());
        match result {
            Ok(false) => {}
            Ok(true) => self.establish(),
            Err(error) => self.state = State::Failed(error),
        }
    }

    fn establish(&mut self) {
        let failed = State::Failed(HandshakeError::Unbound);
        if let State::Shaking(handshake) = std::mem::replace(&mut self.state, failed) {
            let mut established = handshake.into_established().unwrap();
            self.behind = std::mem::take(&mut established.leftover);
            self.state = State::Established(Box::new(established));
        }
    }

    pub(crate) fn established(&mut self) -> Option<&mut Established> {
        match &mut self.state {
            State::Established(established) => Some(established),
            State::Shaking(_) | State::Failed(_) => None,
        }
    }

    pub(crate) fn failure(&self) -> Option<&HandshakeError> {
        match &self.state {
            State::Failed(error) => Some(error),
            State::Shaking(_) | State::Established(_) => None,
        }
    }

    /// Seals bytes with the channel that the handshake led to.
    pub(crate) fn seal(&mut self, clear: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        let established = self.established().unwrap();
        established.channel.seal(clear, &mut sealed);
        sealed
    }

    /// Opens everything that came in behind the handshake.
    pub(crate) fn open(&mut self) -> Option<Vec<u8>> {
        let mut sealed = std::mem::take(&mut self.behind);
        let mut clear = BytesMut::new();
        let opened = self
            .established()?
            .channel
            .open(&mut sealed, &mut clear)
            .is_ok();
        opened.then(|| clear.to_vec())
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToGuest,
    ToHost,
}

pub(crate) const BOTH_WAYS: [Way; 2] = [Way::ToGuest, Way::ToHost];

/// Carries bytes until neither end has anything left to say. `wire` gets the way, where in that
/// direction the bytes begin, and the bytes, and gives what arrives.
pub(crate) fn shake(
    host: &mut End,
    guest: &mut End,
    mut wire: impl FnMut(Way, usize, Vec<u8>) -> Vec<u8>,
) -> (usize, usize) {
    let (mut to_guest, mut to_host) = (0, 0);
    loop {
        let from_host = host.take();
        let from_guest = guest.take();
        if from_host.is_empty() && from_guest.is_empty() {
            return (to_guest, to_host);
        }
        for (way, position, bytes, end) in [
            (Way::ToGuest, &mut to_guest, from_host, &mut *guest),
            (Way::ToHost, &mut to_host, from_guest, &mut *host),
        ] {
            if bytes.is_empty() {
                continue;
            }
            let start = *position;
            *position += bytes.len();
            end.give(&wire(way, start, bytes));
        }
    }
}

/// Checks that two ends agree on who they are and can talk; panics when they do not.
pub(crate) fn assert_agreed(host: &mut End, guest: &mut End, plain: bool) {
    let keys = keys();
    let at_host = host.established().unwrap();
    assert_eq!(at_host.peer_key, keys.guest.public_key());
    assert_eq!(at_host.channel.is_encrypted(), !plain);
    let at_guest = guest.established().unwrap();
    assert_eq!(at_guest.peer_key, keys.host.public_key());
    assert_eq!(at_guest.channel.is_encrypted(), !plain);
    let sealed = host.seal(b"from the host");
    guest.give(&sealed);
    assert_eq!(guest.open().unwrap(), b"from the host");
    let sealed = guest.seal(b"from the guest");
    host.give(&sealed);
    assert_eq!(host.open().unwrap(), b"from the guest");
}

/// Where to strike in a direction of `total` bytes: at every byte of a handshake that ends in
/// plain. One that stays encrypted is the same without the proof, so every fifth is enough there.
pub(crate) fn offsets(plain: bool, total: usize) -> impl Iterator<Item = usize> {
    (0..total).rev().step_by(if plain { 1 } else { 5 })
}

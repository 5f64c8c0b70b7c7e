//! From a fresh carrier to an authenticated one: preface, TLS 1.3 with pinned raw public keys,
//! hello. Sans-I/O: bytes in, bytes out, an [`Established`] at the end. `PROTOCOL.md §2 to §5`.
//!
//! TLS authenticates both ends on every carrier and never looks at a clock. On a carrier that only
//! the kernel and the hypervisor can touch, ends that both offer it go on in plain afterwards; the
//! first 32 plain bytes of each direction are then derived from the TLS session's secrets, so that
//! a plain stream that continues another handshake than ours is noticed.

mod channel;
mod pin;

use std::{fmt, sync::Arc};

use bytes::{Buf, BytesMut};
use rustls::{ClientConnection, Connection, ServerConnection};
use thiserror::Error;

pub use channel::{Channel, ChannelError};

use crate::{
    enrolment::Binding,
    hello::{Hello, HelloError, Role},
    identity::{Identity, PublicKey},
    preface::{self, Nonce, PrefaceError, PrefaceFinder},
};
use pin::{Pins, Seen};

/// Bytes of a TLS record's header.
const RECORD_HEADER: usize = 5;

/// Longest TLS record body (RFC 8446 §5.2).
const MAX_RECORD: usize = 16384 + 256;

/// Bytes of proof in front of a plain continuation.
const PROOF: usize = 32;

const PROOF_LABEL: &[u8] = b"EXPORTER-lkc-plain-continuation";

const BINDING_LABEL: &[u8] = b"EXPORTER-lkc-binding";

const HANDOVER_LABEL: &[u8] = b"EXPORTER-lkc-handover";

/// How far a handshake got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waiting for the other end's preface.
    Preface,
    /// In the TLS handshake.
    Tls,
    /// Waiting for the other end's hello.
    Hello,
    /// Done.
    Established,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Preface => "preface",
            Self::Tls => "TLS handshake",
            Self::Hello => "hello",
            Self::Established => "link",
        })
    }
}

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The preface.
    #[error(transparent)]
    Preface(#[from] PrefaceError),
    /// The other end has another key than the pinned one.
    #[error("the other end has the key {}, expected {}", found.fingerprint(), expected.iter().map(PublicKey::fingerprint).collect::<Vec<_>>().join(" or "))]
    WrongKey {
        /// The key it has.
        found: PublicKey,
        /// The keys that are accepted.
        expected: Vec<PublicKey>,
    },
    /// The other end does not accept our key.
    #[error("the other end does not accept our key {}", ours.fingerprint())]
    KeyRefused {
        /// Our key.
        ours: PublicKey,
    },
    /// TLS.
    #[error("TLS failed: {0}")]
    Tls(#[from] rustls::Error),
    /// A TLS record that is none.
    #[error("something other than TLS came: {0}")]
    NotTls(String),
    /// The hello.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The plain continuation does not belong to this TLS session.
    #[error("the plain stream does not continue the authenticated session")]
    Unbound,
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
}

/// A handshake in progress.
#[derive(Debug)]
pub struct Handshake {
    ours: Hello,
    our_key: PublicKey,
    pins: Pins,
    seen: Arc<Seen>,
    finder: PrefaceFinder,
    nonce: Nonce,
    tls: Connection,
    step: Step,
    hello_sent: bool,
    inbound: BytesMut,
    clear: BytesMut,
    outbound: Vec<u8>,
    pending_plain: Option<Hello>,
}

/// What only the two ends of one link know, for each to prove itself beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HandoverProofs {
    /// Said by the host.
    pub host: [u8; PROOF],
    /// Said by the guest.
    pub guest: [u8; PROOF],
}

impl fmt::Debug for HandoverProofs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HandoverProofs")
            .finish_non_exhaustive()
    }
}

/// What a handshake leads to.
#[derive(Debug)]
pub struct Established {
    /// What the other end said about itself.
    pub peer: Hello,
    /// The key that it proved.
    pub peer_key: PublicKey,
    /// Seals and opens the bytes from here on.
    pub channel: Channel,
    /// Bytes that came in behind the handshake, still sealed.
    pub leftover: BytesMut,
    /// Bytes that came in the same record as the hello, opened already.
    pub clear: BytesMut,
    /// What the two ends of a plain link prove themselves with on the pair of a handover.
    pub handover: Option<HandoverProofs>,
    /// What only the two ends of this session know.
    pub binding: Binding,
}

impl Handshake {
    /// The host's end, which expects exactly `peer`.
    ///
    /// # Errors
    /// `NoRandomness`, or `Tls` when the identity cannot be used.
    pub fn host(identity: &Identity, peer: PublicKey, ours: Hello) -> Result<Self, HandshakeError> {
        Self::host_of(identity, Pins::Keys(vec![peer]), ours)
    }

    /// The host's end towards a guest whose key it does not know. Whoever answers has shown a key and
    /// proved nothing else: what it says is to be believed once something vouches for that key, as
    /// [`enrolment`](crate::enrolment) does.
    ///
    /// # Errors
    /// As [`host`](Self::host).
    pub fn host_of_unknown(identity: &Identity, ours: Hello) -> Result<Self, HandshakeError> {
        Self::host_of(identity, Pins::Any, ours)
    }

    fn host_of(identity: &Identity, pins: Pins, ours: Hello) -> Result<Self, HandshakeError> {
        let mut nonce = Nonce::default();
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut nonce)
            .map_err(|_| HandshakeError::NoRandomness)?;
        let seen = Arc::new(Seen::default());
        let config = pin::client_config(identity, pins.clone(), Arc::clone(&seen))?;
        let tls = ClientConnection::new(config, pin::server_name())?.into();
        let finder = PrefaceFinder::for_host(nonce);
        let mut handshake = Self::new(identity, pins, ours, seen, finder, nonce, tls);
        handshake
            .outbound
            .extend_from_slice(&preface::from_host(nonce));
        Ok(handshake)
    }

    /// The guest's end, which lets in the holders of `authorized` keys.
    ///
    /// # Errors
    /// `Tls` when the identity cannot be used.
    pub fn guest(
        identity: &Identity,
        authorized: &[PublicKey],
        ours: Hello,
    ) -> Result<Self, HandshakeError> {
        let seen = Arc::new(Seen::default());
        let pins = Pins::Keys(authorized.to_vec());
        let config = pin::server_config(identity, pins.clone(), Arc::clone(&seen))?;
        let tls = ServerConnection::new(config)?.into();
        let finder = PrefaceFinder::for_guest();
        Ok(Self::new(
            identity,
            pins,
            ours,
            seen,
            finder,
            Nonce::default(),
            tls,
        ))
    }

    fn new(
        identity: &Identity,
        pins: Pins,
        ours: Hello,
        seen: Arc<Seen>,
        finder: PrefaceFinder,
        nonce: Nonce,
        mut tls: Connection,
    ) -> Self {
        tls.set_buffer_limit(None);
        Self {
            ours,
            our_key: identity.public_key(),
            pins,
            seen,
            finder,
            nonce,
            tls,
            step: Step::Preface,
            hello_sent: false,
            inbound: BytesMut::new(),
            clear: BytesMut::new(),
            outbound: Vec::new(),
            pending_plain: None,
        }
    }

    /// How far it got.
    #[must_use]
    pub const fn step(&self) -> Step {
        self.step
    }

    /// What was skipped in front of the preface, escaped; empty when nothing was.
    #[must_use]
    pub fn noise(&self) -> String {
        self.finder.noise()
    }

    /// Takes the bytes to send.
    pub fn take_outbound(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outbound)
    }

    /// Does not go on in plain after all. Only in time before our hello is sent, with the end of
    /// the TLS handshake.
    pub const fn stay_encrypted(&mut self) {
        if !self.hello_sent {
            self.ours.plain = false;
        }
    }

    /// Says why the carrier's end at this point means what it means: a TLS 1.3 client learns only
    /// afterwards that its key was not accepted.
    #[must_use]
    pub fn explain_end(&self) -> Option<HandshakeError> {
        (self.step == Step::Hello && self.ours.role == Role::Host)
            .then_some(HandshakeError::KeyRefused { ours: self.our_key })
    }

    /// Takes bytes from the carrier. Bytes to send may be there afterwards even when this fails,
    /// for the other end to learn why.
    ///
    /// # Errors
    /// Any [`HandshakeError`]; the handshake is over then.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<bool, HandshakeError> {
        self.inbound.extend_from_slice(bytes);
        let result = self.advance();
        if !matches!(self.step, Step::Preface) {
            self.collect_tls_output();
        }
        result?;
        Ok(self.step == Step::Established)
    }

    /// The result, once [`handle_bytes`](Self::handle_bytes) has said that it is there and the
    /// outbound bytes were taken.
    ///
    /// # Errors
    /// Gives the handshake back when it is not done.
    pub fn into_established(mut self) -> Result<Established, Box<Self>> {
        let Some(peer) = self
            .pending_plain
            .take()
            .filter(|_| self.step == Step::Established)
        else {
            return Err(Box::new(self));
        };
        let Some(peer_key) = self.seen.key() else {
            return Err(Box::new(self));
        };
        let plain = self.ours.plain && peer.plain;
        let handover = plain.then(|| self.handover_proofs()).flatten();
        let binding = Binding::default();
        let Ok(binding) = self
            .tls
            .export_keying_material(binding, BINDING_LABEL, None)
        else {
            return Err(Box::new(self));
        };
        let channel = if plain {
            Channel::Plain
        } else {
            Channel::tls(self.tls)
        };
        Ok(Established {
            peer,
            peer_key,
            channel,
            leftover: self.inbound,
            clear: self.clear,
            handover,
            binding,
        })
    }

    fn advance(&mut self) -> Result<(), HandshakeError> {
        if self.step == Step::Preface {
            let Some((nonce, _version)) = self.finder.find(&mut self.inbound)? else {
                return Ok(());
            };
            if self.ours.role == Role::Guest {
                self.nonce = nonce;
                self.outbound.extend_from_slice(&preface::from_guest(nonce));
            }
            self.step = Step::Tls;
        }
        while self.pending_plain.is_none() {
            if let Some(peer) = Hello::decode(&mut self.clear)? {
                peer.check(self.ours.role)?;
                self.accept_hello(peer)?;
                break;
            }
            if !self.feed_record()? {
                return Ok(());
            }
            if self.step == Step::Tls && !self.tls.is_handshaking() {
                self.step = Step::Hello;
                self.send_hello()?;
            }
        }
        if self.step != Step::Established {
            self.check_proof()?;
        }
        Ok(())
    }

    /// Gives TLS exactly one record, so that bytes behind the last one stay ours.
    fn feed_record(&mut self) -> Result<bool, HandshakeError> {
        let Some(header) = self.inbound.first_chunk::<RECORD_HEADER>() else {
            return Ok(false);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if !(20..=24).contains(&header[0]) || header[1] != 3 || length > MAX_RECORD {
            let sample = &self.inbound[..self.inbound.len().min(32)];
            return Err(HandshakeError::NotTls(sample.escape_ascii().to_string()));
        }
        if self.inbound.len() < RECORD_HEADER + length {
            return Ok(false);
        }
        let record = self.inbound.split_to(RECORD_HEADER + length);
        let mut rest = &record[..];
        while !rest.is_empty() {
            let taken = self
                .tls
                .read_tls(&mut rest)
                .map_err(|error| HandshakeError::Tls(rustls::Error::General(error.to_string())))?;
            if taken == 0 {
                break;
            }
            let state = self
                .tls
                .process_new_packets()
                .map_err(|error| self.explain(error))?;
            let count = state.plaintext_bytes_to_read();
            let start = self.clear.len();
            self.clear.resize(start + count, 0);
            let read = std::io::Read::read(&mut self.tls.reader(), &mut self.clear[start..]);
            self.clear.truncate(start + read.unwrap_or(0));
        }
        Ok(true)
    }

    fn explain(&self, error: rustls::Error) -> HandshakeError {
        if let Some(found) = self.seen.rejected() {
            return HandshakeError::WrongKey {
                found,
                expected: self.pins.keys().to_vec(),
            };
        }
        // Other alerts tell of bytes that were changed on the way, or of a rule.
        let denied = rustls::Error::AlertReceived(rustls::AlertDescription::AccessDenied);
        if error == denied && self.ours.role == Role::Host {
            return HandshakeError::KeyRefused { ours: self.our_key };
        }
        HandshakeError::Tls(error)
    }

    fn send_hello(&mut self) -> Result<(), HandshakeError> {
        if !self.hello_sent {
            self.hello_sent = true;
            std::io::Write::write_all(&mut self.tls.writer(), &self.ours.encode())
                .map_err(|error| HandshakeError::Tls(rustls::Error::General(error.to_string())))?;
        }
        Ok(())
    }

    fn accept_hello(&mut self, peer: Hello) -> Result<(), HandshakeError> {
        let plain = self.ours.plain && peer.plain;
        self.pending_plain = Some(peer);
        if plain {
            if !self.clear.is_empty() {
                return Err(HandshakeError::Unbound);
            }
            self.collect_tls_output();
            let proof = self.proof(self.ours.role)?;
            self.outbound.extend_from_slice(&proof);
        } else {
            self.step = Step::Established;
        }
        Ok(())
    }

    fn check_proof(&mut self) -> Result<(), HandshakeError> {
        let Some(peer) = &self.pending_plain else {
            return Ok(());
        };
        let Some(found) = self.inbound.first_chunk::<PROOF>() else {
            return Ok(());
        };
        let expected = self.proof(peer.role)?;
        // A wrong guess ends the session, so how long the comparison takes tells nothing of use.
        if *found != expected {
            return Err(HandshakeError::Unbound);
        }
        self.inbound.advance(PROOF);
        self.step = Step::Established;
        Ok(())
    }

    fn handover_proofs(&self) -> Option<HandoverProofs> {
        let proof = |context: &[u8]| {
            self.tls
                .export_keying_material([0; PROOF], HANDOVER_LABEL, Some(context))
                .ok()
        };
        Some(HandoverProofs {
            host: proof(b"host")?,
            guest: proof(b"guest")?,
        })
    }

    fn proof(&self, sender: Role) -> Result<[u8; PROOF], HandshakeError> {
        let context: &[u8] = match sender {
            Role::Host => b"host",
            Role::Guest => b"guest",
        };
        Ok(self
            .tls
            .export_keying_material([0; PROOF], PROOF_LABEL, Some(context))?)
    }

    fn collect_tls_output(&mut self) {
        while self.tls.wants_write() {
            // Writing to a Vec cannot fail.
            if self.tls.write_tls(&mut self.outbound).is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::version::{CAPABILITY, OLDEST_CAPABILITY};

    fn hello(role: Role, plain: bool) -> Hello {
        Hello {
            capability: CAPABILITY,
            oldest_capability: OLDEST_CAPABILITY,
            role,
            plain,
            max_frame: 65536,
            max_streams: 10,
            boot_id: [0; 16],
            version: "0.1.0".to_owned(),
            node: "test".to_owned(),
        }
    }

    /// A guest that sends its hello and more in one record.
    fn eager_guest(plain: bool) -> Result<Handshake, HandshakeError> {
        let (ours, theirs) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let mut host = Handshake::host(&ours, theirs.public_key(), hello(Role::Host, plain))?;
        let mut guest = Handshake::guest(&theirs, &[ours.public_key()], hello(Role::Guest, plain))?;
        guest.hello_sent = true;
        // Bytewise, to stop between the host's last TLS record and its hello.
        'handshake: loop {
            for byte in host.take_outbound() {
                guest.handle_bytes(&[byte])?;
                if guest.step() == Step::Hello {
                    break 'handshake;
                }
            }
            host.handle_bytes(&guest.take_outbound())?;
        }
        let record = [&hello(Role::Guest, plain).encode()[..], b"frames"].concat();
        guest.tls.writer().write_all(&record).unwrap();
        guest.collect_tls_output();
        host.handle_bytes(&guest.take_outbound())?;
        Ok(host)
    }

    #[test]
    fn bytes_in_the_record_of_the_hello_are_not_lost() {
        let established = eager_guest(false).unwrap().into_established().unwrap();
        assert_eq!(&established.clear[..], b"frames");
    }

    #[test]
    fn a_plain_continuation_does_not_begin_inside_tls() {
        assert!(matches!(eager_guest(true), Err(HandshakeError::Unbound)));
    }

    #[test]
    fn behind_a_forged_record_nothing_goes_out_but_the_alert() {
        let established = eager_guest(false).unwrap().into_established().unwrap();
        let mut channel = established.channel;
        let mut good = Vec::new();
        channel.seal(&[7; 1000], &mut good);
        assert!(good.len() > 1000, "{}", good.len());
        let mut forged = BytesMut::from(&[23, 3, 3, 0, 32][..]);
        forged.extend_from_slice(&[0; 32]);
        let opened = channel.open(&mut forged, &mut BytesMut::new());
        assert!(opened.is_err());
        let mut alert = Vec::new();
        channel.seal(&[7; 1000], &mut alert);
        // A record of two bytes, its kind and its tag.
        assert_eq!(alert.len(), 5 + 2 + 1 + 16);
    }
}

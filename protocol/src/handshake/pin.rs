//! TLS configurations that accept pinned raw public keys (RFC 7250) and nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    time_provider::TimeProvider,
    version::TLS13,
};

use crate::identity::{Identity, PublicKey};

/// Names the protocol inside TLS, so that a server of something else is told apart.
const ALPN: &[u8] = b"lkc/1";

/// The keys that an end takes.
#[derive(Debug, Clone)]
pub(super) enum Pins {
    /// These.
    Keys(Vec<PublicKey>),
    /// Whichever it is: something else has to vouch for it before it is believed.
    Any,
}

impl Pins {
    fn accept(&self, key: &PublicKey) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(key),
            Self::Any => true,
        }
    }

    /// The keys, if they are known.
    pub(super) fn keys(&self) -> &[PublicKey] {
        match self {
            Self::Keys(keys) => keys,
            Self::Any => &[],
        }
    }
}

/// Which key the other end has shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    last: Mutex<Option<(PublicKey, bool)>>,
}

impl Seen {
    /// The accepted key.
    pub(super) fn key(&self) -> Option<PublicKey> {
        self.last()
            .filter(|(_, accepted)| *accepted)
            .map(|(key, _)| key)
    }

    /// The key that is not among the pins.
    pub(super) fn rejected(&self) -> Option<PublicKey> {
        self.last()
            .filter(|(_, accepted)| !*accepted)
            .map(|(key, _)| key)
    }

    fn last(&self) -> Option<(PublicKey, bool)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, key: PublicKey, accepted: bool) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, accepted));
    }
}

pub(super) fn client_config(
    identity: &Identity,
    peer: Pins,
    seen: Arc<Seen>,
) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let pin = Arc::new(Pin::new(peer, seen, &provider));
    let key = certified_key(identity, &provider)?;
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(NoClock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

pub(super) fn server_config(
    identity: &Identity,
    authorized: Pins,
    seen: Arc<Seen>,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let pin = Arc::new(Pin::new(authorized, seen, &provider));
    let key = certified_key(identity, &provider)?;
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(NoClock))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(pin)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// TLS wants a name; with pinned keys it means nothing.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(core::net::Ipv4Addr::UNSPECIFIED.into())
}

fn certified_key(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Error> {
    let key = provider
        .key_provider
        .load_private_key(PrivateKeyDer::Pkcs8(identity.pkcs8()))?;
    let spki = CertificateDer::from(identity.public_key().to_spki());
    Ok(Arc::new(CertifiedKey::new(vec![spki], key)))
}

/// Pinned keys have no validity period, and a guest's clock may lag by hours.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

#[derive(Debug)]
struct Pin {
    pins: Pins,
    seen: Arc<Seen>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pin {
    fn new(pins: Pins, seen: Arc<Seen>, provider: &CryptoProvider) -> Self {
        Self {
            pins,
            seen,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        let refused = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let Some(key) = PublicKey::from_spki(shown) else {
            return Err(refused);
        };
        let accepted = self.pins.accept(&key);
        self.seen.record(key, accepted);
        if accepted { Ok(()) } else { Err(refused) }
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signature, &self.algorithms)
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pin {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

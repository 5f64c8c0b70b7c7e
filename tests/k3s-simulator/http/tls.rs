//! TLS as the real server does it: any client certificate is taken in the handshake, and one that
//! our client CA did not sign is a 401 afterwards, not a broken connection.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::certificates::{self, Pki};

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("the serving certificate or the client CA is not valid PEM")]
    Pem,
    #[error("the serving certificate cannot be used")]
    Certificate(#[source] rustls::Error),
    #[error("the client CA cannot be used")]
    ClientAuthority(#[source] rustls::server::VerifierBuilderError),
}

/// Tells the certificates of our clients from others.
#[derive(Debug)]
pub(crate) struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Clients {
    pub(crate) fn is_trusted(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let Some((leaf, intermediates)) = chain.and_then(<[_]>::split_first) else {
            return false;
        };
        self.verifier
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .is_ok()
    }
}

pub(crate) fn configure(pki: &Pki) -> Result<(Arc<ServerConfig>, Arc<Clients>), TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let authority =
        CertificateDer::from_pem_slice(pki.client_ca_pem.as_bytes()).map_err(|_| TlsError::Pem)?;
    roots.add(authority).map_err(TlsError::Certificate)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(TlsError::ClientAuthority)?;
    let clients = Arc::new(Clients {
        verifier: verifier.clone(),
    });
    let (chain, key) = certificates::chain_and_key(&pki.serving).ok_or(TlsError::Pem)?;
    let mut config =
        server_config(provider, verifier, chain, key).map_err(TlsError::Certificate)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), clients))
}

fn server_config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: rustls::pki_types::PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(AnyClient { inner: verifier }))
        .with_single_cert(chain, key)
}

/// Checks that the client holds the key of whatever certificate it shows.
#[derive(Debug)]
struct AnyClient {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

//! One connection of a probe: connect, shake hands, and say which layer failed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
    version::TLS13,
};
use thiserror::Error;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::super::forwarder::{Caller, Layer, OwnConnection, WayIn};
use crate::{error::Kind, kubeconfig::ServerIdentity, sanitize};

/// How long our own listener may take to note why it reset a connection.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// What a probe found instead of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ProbeError {
    /// Our own listener cannot be reached, or does not take the connection.
    #[error("host: {address} {why}")]
    Listener { address: SocketAddr, why: String },
    /// Somebody else than our listener answered.
    #[error("host: another process answers on {address}")]
    AnotherProcess { address: SocketAddr },
    /// The connection did not get through to an answer.
    #[error("{layer}: {why}")]
    Way { layer: Layer, why: String },
    /// Something answered that another authority vouches for, or nobody.
    #[error("certificate: what answers is not this cluster: {why}")]
    AnotherAuthority { why: String },
    /// The cluster answered with a certificate that is not valid now.
    #[error("certificate: the API's certificate {why}; a clock that is wrong may be the cause")]
    Validity { why: &'static str },
    /// The authority that the guest named cannot be checked against.
    #[error("certificate: the cluster's certificate authority cannot be used: {why}")]
    Authority { why: String },
}

impl ProbeError {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::AnotherProcess { .. } => Kind::Conflict,
            Self::AnotherAuthority { .. } | Self::Validity { .. } => Kind::Authentication,
            Self::Authority { .. } => Kind::BadInput,
            Self::Listener { .. } | Self::Way { .. } => Kind::Unreachable,
        }
    }

    pub(super) fn hint(&self, cluster: &str) -> String {
        match self {
            Self::Listener { .. } => {
                format!("`lkc-host forward {cluster}` shows the listeners")
            }
            Self::AnotherProcess { address } => {
                let port = address.port();
                format!(
                    "end the process that listens on port {port}, or set another index in lkc.toml"
                )
            }
            Self::Way { .. } => {
                format!("`lkc-host status {cluster}` shows how far the guest is")
            }
            Self::AnotherAuthority { .. } => format!(
                "look at what the forward api leads to in the guest; `lkc-host restart {cluster}` starts k3s anew"
            ),
            Self::Validity { .. } => {
                "compare the clocks of host and guest: `date -u` in both".to_owned()
            }
            Self::Authority { .. } => format!("`lkc-host logs {cluster}` shows what k3s does"),
        }
    }
}

/// What every connection of a prober needs.
pub(super) struct Check {
    connector: TlsConnector,
}

impl Check {
    /// Recognises whoever has a certificate of `identity`'s authorities.
    pub(super) fn new(identity: &ServerIdentity) -> Result<Self, ProbeError> {
        let unusable = |error: rustls::Error| ProbeError::Authority {
            why: sanitize::line(&error.to_string()),
        };
        let mut roots = RootCertStore::empty();
        for authority in identity.authorities() {
            roots
                .add(CertificateDer::from(authority.as_slice()))
                .map_err(unusable)?;
        }
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Every probe has to see the certificate.
        config.resumption = Resumption::disabled();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector })
    }

    /// Connects to a listener of ours at `address` and shakes hands. Returns how long that took.
    pub(super) async fn connect(
        &self,
        way_in: &WayIn,
        address: SocketAddr,
        deadline: Duration,
    ) -> Result<Duration, ProbeError> {
        let unreachable = |error: io::Error| ProbeError::Listener {
            address,
            why: format!("cannot be connected to: {error}"),
        };
        let socket = socket_to(address).map_err(unreachable)?;
        let mut own = way_in
            .own
            .expect(Caller::At(socket.local_addr().map_err(unreachable)?));
        let began = Instant::now();
        let attempt = async {
            let tcp = socket.connect(address).await.map_err(Attempt::Connect)?;
            self.shake_hands(tcp).await.map_err(Attempt::Handshake)
        };
        match timeout(deadline, attempt).await {
            Ok(Ok(())) if own.was_taken() => Ok(began.elapsed()),
            // The right certificate from behind somebody else's back is a detour we do not know.
            Ok(Ok(())) => Err(ProbeError::AnotherProcess { address }),
            Ok(Err(Attempt::Connect(error))) => Err(unreachable(error)),
            Ok(Err(Attempt::Handshake(error))) => Err(blame(&error, &mut own, address).await),
            Err(_) => Err(blame_silence(&own, address, deadline)),
        }
    }

    async fn shake_hands(&self, tcp: TcpStream) -> io::Result<()> {
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let mut tls = self.connector.connect(name, tcp).await?;
        // Its certificate has been seen; how the connection ends says nothing more.
        let _ = tls.shutdown().await;
        Ok(())
    }
}

enum Attempt {
    Connect(io::Error),
    Handshake(io::Error),
}

/// A socket of an address of its own, so that the listener can tell that it is ours.
pub(super) fn socket_to(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The listener is on this host, so its address is one to come from too.
    socket.bind(SocketAddr::new(address.ip(), 0))?;
    Ok(socket)
}

/// What a handshake that failed says.
async fn blame(error: &io::Error, own: &mut OwnConnection, address: SocketAddr) -> ProbeError {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if !own.was_taken() {
        return match tls {
            Some(_) => ProbeError::AnotherProcess { address },
            None => ProbeError::Listener {
                address,
                why: format!("does not take connections: {error}"),
            },
        };
    }
    match tls {
        Some(rustls::Error::InvalidCertificate(invalid)) => blame_certificate(invalid),
        Some(other) => ProbeError::Way {
            layer: Layer::Target,
            why: format!(
                "what answers does not speak TLS as an API does: {}",
                sanitize::line(&other.to_string())
            ),
        },
        None => {
            let _ = timeout(AFTERWARDS, own.ended()).await;
            let (layer, why) = own.counters().last_failure().unwrap_or_else(|| {
                (
                    Layer::Target,
                    format!("the connection ended in the handshake: {error}"),
                )
            });
            ProbeError::Way { layer, why }
        }
    }
}

fn blame_certificate(invalid: &CertificateError) -> ProbeError {
    match invalid {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ProbeError::Validity { why: "has expired" }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ProbeError::Validity {
                why: "is not valid yet",
            }
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            ProbeError::AnotherAuthority {
                why: "another certificate authority vouches for it".to_owned(),
            }
        }
        other => ProbeError::AnotherAuthority {
            why: sanitize::line(&other.to_string()),
        },
    }
}

/// What it says that no answer came at all.
fn blame_silence(own: &OwnConnection, address: SocketAddr, deadline: Duration) -> ProbeError {
    let within = format!("within {} ms", deadline.as_millis());
    if !own.was_taken() {
        let why = format!("does not take connections {within}");
        return ProbeError::Listener { address, why };
    }
    let counters = own.counters();
    let (layer, why) = if counters.is_parked() {
        (
            Layer::Carrier,
            "parked: there is no link to the guest".to_owned(),
        )
    } else if counters.has_sent() {
        (
            Layer::Target,
            format!("it does not answer the TLS handshake {within}"),
        )
    } else {
        (
            Layer::Agent,
            format!("it does not answer the dial {within}"),
        )
    };
    ProbeError::Way { layer, why }
}

//! Probes through a real forward and a real link, with servers of many kinds at the end.

use std::{net::SocketAddr, sync::Arc};

use lkc_protocol::message::KubeconfigValues;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    version::TLS13,
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    super::forwarder::tests::{Bench, Guest},
    *,
};
use crate::error::Kind;

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// For probes that have to run out of time.
const SHORT: Duration = Duration::from_millis(100);

/// A certificate authority of a cluster.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    fn identity(&self) -> ServerIdentity {
        let values = KubeconfigValues {
            api_port: 6443,
            certificate_authority: self.pem.clone(),
            client_certificate: None,
            client_key: None,
            token: None,
            username: None,
            password: None,
        };
        ServerIdentity::from_values(&values).unwrap()
    }

    fn check(&self) -> Check {
        Check::new(&self.identity()).unwrap()
    }

    /// A server of this authority, for 127.0.0.1 and valid for long.
    async fn serves(&self, servers: &mut JoinSet<()>) -> SocketAddr {
        self.serves_with(servers, "127.0.0.1", (2020, 2120)).await
    }

    async fn serves_with(
        &self,
        servers: &mut JoinSet<()>,
        name: &str,
        (from, to): (i32, i32),
    ) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        servers.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // Whoever does not trust us ends the handshake.
                let _ = acceptor.accept(tcp).await;
            }
        });
        address
    }
}

/// What a probe of a forward finds that leads to `target`.
async fn found(check: &Check, guest: Guest, deadline: Duration) -> Result<Duration, ProbeError> {
    let mut bench = Bench::new();
    bench.link(guest).await;
    let found = probe(check, bench.forwarder.way_in(), deadline);
    let found = timeout(LIMIT, found).await.expect("the probe hangs");
    let status = bench.status();
    assert_eq!((status.total, status.failed, status.refused), (0, 0, 0));
    assert_eq!(status.last_error, None, "a probe counts as a user");
    bench.close().await;
    found
}

#[tokio::test]
async fn the_cluster_itself_is_recognised() {
    let (authority, mut servers) = (Authority::new(), JoinSet::new());
    let api = authority.serves(&mut servers).await;
    let latency = found(&authority.check(), Guest::LeadsTo(api), LIMIT).await;
    assert!(latency.unwrap() > Duration::ZERO);
}

#[tokio::test]
async fn another_cluster_is_not_taken_for_this_one() {
    let (this, other, mut servers) = (Authority::new(), Authority::new(), JoinSet::new());
    let api = other.serves(&mut servers).await;
    let error = found(&this.check(), Guest::LeadsTo(api), LIMIT).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!(
        error.to_string(),
        "certificate: what answers is not this cluster: another certificate authority vouches for it"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_enough() {
    let (authority, mut servers) = (Authority::new(), JoinSet::new());
    let api = authority
        .serves_with(&mut servers, "192.100.0.10", (2020, 2120))
        .await;
    let error = found(&authority.check(), Guest::LeadsTo(api), LIMIT).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, ProbeError::AnotherAuthority { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_certificate_out_of_its_time_points_to_the_clocks() {
    let (authority, mut servers) = (Authority::new(), JoinSet::new());
    for (years, says) in [
        ((2000, 2001), "has expired"),
        ((2119, 2120), "is not valid yet"),
    ] {
        let api = authority
            .serves_with(&mut servers, "127.0.0.1", years)
            .await;
        let error = found(&authority.check(), Guest::LeadsTo(api), LIMIT).await;
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "certificate: the API's certificate {says}; a clock that is wrong may be the cause"
            )
        );
        assert_eq!(error.kind(), Kind::Authentication);
    }
}

#[tokio::test]
async fn what_is_no_api_is_told_apart_from_what_does_not_answer() {
    let authority = Authority::new();
    let check = authority.check();
    let error = found(&check, Guest::Echoes, LIMIT).await.unwrap_err();
    let says = "target: what answers does not speak TLS as an API does: ";
    assert!(error.to_string().starts_with(says), "{error}");
    let error = found(&check, Guest::Refuses, LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "target: connection refused");
    assert_eq!(error.kind(), Kind::Unreachable);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap();
    let error = found(&check, Guest::LeadsTo(silent_address), SHORT).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "target: it does not answer the TLS handshake within 100 ms"
    );
}

#[tokio::test]
async fn without_a_link_the_carrier_is_to_blame() {
    let bench = Bench::new();
    let check = Authority::new().check();
    let error = probe(&check, bench.forwarder.way_in(), SHORT).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "carrier: parked: there is no link to the guest"
    );
    bench.close().await;
}

#[tokio::test]
async fn another_process_on_our_port_is_found_even_with_the_right_certificate() {
    let (this, other, mut servers) = (Authority::new(), Authority::new(), JoinSet::new());
    let bench = Bench::new();
    for authority in [&other, &this] {
        let address = authority.serves(&mut servers).await;
        let way_in = WayIn {
            places: vec![Place::Address(address)],
            ..bench.forwarder.way_in().clone()
        };
        let error = probe(&this.check(), &way_in, LIMIT).await.unwrap_err();
        assert_eq!(error, ProbeError::AnotherProcess { address });
        assert_eq!(error.kind(), Kind::Conflict);
    }
    bench.close().await;
}

#[tokio::test]
async fn a_listener_that_is_gone_is_the_hosts_fault() {
    let bench = Bench::new();
    let way_in = bench.forwarder.way_in().clone();
    bench.close().await;
    let check = Authority::new().check();
    let error = probe(&check, &way_in, LIMIT).await.unwrap_err();
    let Place::Address(address) = way_in.places[0] else {
        panic!("{way_in:?}");
    };
    let says = format!("host: {address} cannot be connected to: ");
    assert!(error.to_string().starts_with(&says), "{error}");
}

#[tokio::test]
async fn a_listener_that_takes_nobody_is_told() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let bench = Bench::new();
    let way_in = WayIn {
        places: vec![Place::Address(address)],
        ..bench.forwarder.way_in().clone()
    };
    let error = probe(&Authority::new().check(), &way_in, SHORT).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        format!("host: {address} does not take connections within 100 ms")
    );
    bench.close().await;
}

#[tokio::test]
async fn probes_are_reported_with_what_to_do() {
    let error = ProbeError::AnotherProcess {
        address: "127.0.0.1:6443".parse().unwrap(),
    };
    let Probed { status, failure } = probed(Err(error), "k3s-dev");
    assert!(!status.ok && status.checked_unix_ms > 0);
    let failure = failure.unwrap();
    assert_eq!(failure.kind, Kind::Conflict);
    assert_eq!(
        failure.message,
        "the API of cluster k3s-dev does not answer on this host: host: another process answers on 127.0.0.1:6443"
    );
    assert_eq!(failure.hints.len(), 1);
    let Probed { status, failure } = probed(Ok(Duration::from_millis(3)), "k3s-dev");
    assert_eq!(
        (status.ok, status.latency_ms, failure),
        (true, Some(3), None)
    );
}

#[test]
fn failures_are_tried_again_soon_and_then_more_rarely() {
    let pauses: Vec<_> = (0..9).map(|failures| pause(failures, 0)).collect();
    let seconds: Vec<_> = pauses.iter().map(Duration::as_secs_f32).collect();
    assert_eq!(seconds, [30.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
    for random in 0..200 {
        let spread = pause(0, random);
        assert!(spread <= PERIOD && spread > PERIOD * 9 / 10 - Duration::from_millis(1));
    }
    assert_eq!(pause(u32::MAX, 0), PERIOD);
}

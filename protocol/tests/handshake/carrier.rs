//! The same through a link's own way of shaking hands, with its deadlines, under virtual time.

use std::{sync::Arc, time::Duration};

use lkc_protocol::{
    handshake::Step,
    identity::Identity,
    link::{self, ConnectError, Driver, Encrypt, Incoming, Link, LinkOptions},
    session::Limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    time::Instant,
};

use crate::pair::{BOTH_WAYS, Way, offsets};

/// Three steps have a deadline of their own.
const LONGEST: Duration = Duration::from_secs(15);

type End = Result<(Link, Incoming, Driver<DuplexStream>), ConnectError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterCut {
    /// The carrier ends for both.
    Ends,
    /// It stays open and nothing more comes.
    Hangs,
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_is_cut_gives_both_ends_a_clean_error_in_time() {
    let ends = Ends::new();
    for encrypt in [Encrypt::Auto, Encrypt::Always] {
        let (host, guest, lengths) = ends.shake(encrypt, encrypt, None).await;
        assert!(host.is_ok() && guest.is_ok());
        for (way, total) in BOTH_WAYS.into_iter().zip(lengths) {
            for (cut, after) in offsets(encrypt == Encrypt::Auto, total).flat_map(|cut| {
                // A hang costs the same code at every offset; a prime step meets every record.
                let hangs = (cut % 13 == 0).then_some((cut, AfterCut::Hangs));
                [Some((cut, AfterCut::Ends)), hangs].into_iter().flatten()
            }) {
                let start = Instant::now();
                let (host, guest, _) = ends.shake(encrypt, encrypt, Some((way, cut, after))).await;
                let what = format!("{encrypt:?}, {way:?} cut at {cut}, {after:?}");
                assert!(start.elapsed() <= LONGEST, "{what}: {:?}", start.elapsed());
                let receiver = if way == Way::ToGuest { guest } else { host };
                match receiver {
                    Ok(_) => panic!("{what}: established"),
                    Err(ConnectError::Timeout { .. }) => {
                        assert_eq!(after, AfterCut::Hangs, "{what}");
                    }
                    Err(ConnectError::Carrier { .. } | ConnectError::Handshake { .. }) => {}
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_end_that_insists_on_encryption_gets_it() {
    let ends = Ends::new();
    for (host_wants, guest_wants) in [
        (Encrypt::Always, Encrypt::Auto),
        (Encrypt::Auto, Encrypt::Always),
    ] {
        let (host, guest, _) = ends.shake(host_wants, guest_wants, None).await;
        assert!(host.unwrap().0.is_encrypted() && guest.unwrap().0.is_encrypted());
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_does_not_keep_a_step_alive() {
    let ends = Ends::new();
    let (near, mut far) = duplex(4096);
    let drip = async move {
        // Nothing else runs here but the clock: each byte comes well before a deadline would.
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        loop {
            clock.tick().await;
            if far.write_all(b"x").await.is_err() {
                break;
            }
        }
    };
    let start = Instant::now();
    let options = ends.options(&ends.guest, Encrypt::Auto);
    let authorized = [ends.host.public_key()];
    let accept = link::accept(near, &authorized, &options);
    let (accepted, ()) = tokio::join!(accept, drip);
    let error = accepted.unwrap_err();
    assert!(matches!(
        &error,
        ConnectError::Timeout { step: Step::Preface, noise, .. } if noise.starts_with("xxxx")
    ));
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

struct Ends {
    host: Arc<Identity>,
    guest: Arc<Identity>,
}

impl Ends {
    fn new() -> Self {
        Self {
            host: Arc::new(Identity::generate().unwrap()),
            guest: Arc::new(Identity::generate().unwrap()),
        }
    }

    fn options(&self, identity: &Arc<Identity>, encrypt: Encrypt) -> LinkOptions {
        LinkOptions {
            identity: Arc::clone(identity),
            version: "0.1.0".to_owned(),
            node: "k3s-dev".to_owned(),
            boot_id: [1; 16],
            encrypt,
            locality: link::Locality::Local,
            limits: Limits::default(),
        }
    }

    /// Shakes hands over a carrier that may be cut; both results and the bytes of each way.
    async fn shake(
        &self,
        host_wants: Encrypt,
        guest_wants: Encrypt,
        cut: Option<(Way, usize, AfterCut)>,
    ) -> (End, End, [usize; 2]) {
        let (host_side, host_wire) = duplex(4096);
        let (guest_side, guest_wire) = duplex(4096);
        let host_options = self.options(&self.host, host_wants);
        let guest_options = self.options(&self.guest, guest_wants);
        let authorized = [self.host.public_key()];
        let ends = async {
            tokio::join!(
                link::connect(host_side, self.guest.public_key(), &host_options),
                link::accept(guest_side, &authorized, &guest_options),
            )
        };
        let mut carried = [0, 0];
        let ((host, guest), ()) = {
            let wire = carry(host_wire, guest_wire, cut, &mut carried);
            tokio::pin!(wire);
            let mut ends = std::pin::pin!(ends);
            // The wire ends at a cut that ends the carrier; otherwise when both ends are done.
            tokio::select! {
                results = &mut ends => (results, ()),
                () = &mut wire => (ends.await, ()),
            }
        };
        (host, guest, carried)
    }
}

async fn carry(
    host: DuplexStream,
    guest: DuplexStream,
    cut: Option<(Way, usize, AfterCut)>,
    carried: &mut [usize; 2],
) {
    let (host_reader, host_writer) = split(host);
    let (guest_reader, guest_writer) = split(guest);
    let cut_of = |way| cut.filter(|(cut_way, ..)| *cut_way == way);
    let [to_guest, to_host] = carried;
    tokio::select! {
        () = pump(host_reader, guest_writer, cut_of(Way::ToGuest), to_guest) => {}
        () = pump(guest_reader, host_writer, cut_of(Way::ToHost), to_host) => {}
    }
}

async fn pump(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    cut: Option<(Way, usize, AfterCut)>,
    carried: &mut usize,
) {
    let mut buffer = [0; 4096];
    loop {
        if let Some((_, at, after)) = cut
            && *carried == at
        {
            match after {
                AfterCut::Ends => return,
                AfterCut::Hangs => std::future::pending().await,
            }
        }
        let room = cut.map_or(buffer.len(), |(_, at, _)| (at - *carried).min(4096));
        match from.read(&mut buffer[..room]).await {
            Ok(0) | Err(_) => std::future::pending().await,
            Ok(count) => {
                *carried += count;
                if to.write_all(&buffer[..count]).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

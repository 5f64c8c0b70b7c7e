//! Something happens while bytes run both ways.

use std::{io, time::Duration};

use lkc_tests::carriers::{
    Fault, Way,
    traffic::{self, Server},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::timeout,
};

use crate::{Arrangement, handshake::Length};

/// Bytes each way: several windows.
const SIZE: usize = 1024 * 1024;

/// Bytes behind the handshake with which a stream is opened, and some more.
const OPENING: u64 = 2000;

/// Places of a transfer where something happens, each way.
const PLACES: u64 = 5;

/// Until both ends of every direction have ended. A peer that has fallen silent is found within
/// ten seconds.
const DEADLINE: Duration = Duration::from_secs(15);

/// What an end has read.
struct Received {
    bytes: Vec<u8>,
    /// Whether it was told that this is all.
    is_whole: bool,
}

impl Received {
    /// Nothing but what was sent, all of it if it ended well. Says whether it did.
    fn check(&self, sent: &[u8], what: &str) -> bool {
        assert!(sent.starts_with(&self.bytes), "{what}: other bytes came");
        if self.is_whole {
            assert_eq!(self.bytes.len(), sent.len(), "{what}: an end too early");
        }
        self.is_whole
    }
}

/// Without faults.
pub(crate) async fn completes(arrangement: &Arrangement) {
    let (to_guest, to_host) = transfer(arrangement, "without faults").await;
    assert!(to_guest.check(&there(), "to the guest") && to_host.check(&back(), "to the host"));
}

/// Cuts the carrier.
pub(crate) async fn cut(arrangement: &Arrangement, length: Length) {
    for (way, after) in places(length) {
        arrangement.relay.set(Fault::Cut(way, after));
        let place = format!("cut {way:?} behind {after} bytes");
        let (to_guest, to_host) = transfer(arrangement, &place).await;
        let guest_has_all = to_guest.check(&there(), &place);
        let host_has_all = to_host.check(&back(), &place);
        let cut_way_is_whole = if way == Way::There {
            guest_has_all
        } else {
            host_has_all
        };
        assert!(!cut_way_is_whole, "{place}: no error");
        assert_eq!(arrangement.relay.fired(), 1, "{place}");
    }
    arrangement.relay.set(Fault::None);
}

/// Changes a bit.
pub(crate) async fn flip(arrangement: &Arrangement, length: Length) {
    for (way, at) in places(length) {
        arrangement.relay.set(Fault::Flip(way, at));
        let place = format!("another bit {way:?} at {at} bytes");
        let (to_guest, to_host) = transfer(arrangement, &place).await;
        assert_eq!(arrangement.relay.fired(), 1, "{place}");
        if arrangement.is_plain {
            // Nothing checks the bytes: it is in them, or ended the link.
            for (received, sent) in [(to_guest, there()), (to_host, back())] {
                let differ = differing(&received.bytes, &sent);
                assert!(differ <= 1, "{place}: {differ} bytes differ");
                assert!(!received.is_whole || received.bytes.len() == sent.len());
            }
        } else {
            let guest_has_all = to_guest.check(&there(), &place);
            let host_has_all = to_host.check(&back(), &place);
            assert!(!(guest_has_all && host_has_all), "{place}: no error");
        }
    }
    arrangement.relay.set(Fault::None);
}

/// Every piece comes late.
pub(crate) async fn delay(arrangement: &Arrangement) {
    arrangement
        .relay
        .set(Fault::Drip(4099, Duration::from_millis(1)));
    completes(arrangement).await;
    assert!(arrangement.relay.fired() > 200);
    arrangement.relay.set(Fault::None);
}

/// Nothing comes any more, and nothing ends.
pub(crate) async fn fall_silent(arrangement: &Arrangement, length: Length) {
    let (way, after) = places(length)[1];
    arrangement.relay.set(Fault::Hold(way, after));
    let place = format!("silence {way:?} from {after} bytes on");
    let (to_guest, to_host) = transfer(arrangement, &place).await;
    assert!(!to_guest.check(&there(), &place), "{place}: no error");
    to_host.check(&back(), &place);
    arrangement.relay.set(Fault::None);
}

fn places(length: Length) -> Vec<(Way, u64)> {
    let places = length.ways().into_iter().flat_map(|(way, handshake)| {
        // Odd, so that they fall anywhere in a frame.
        let place =
            move |number| handshake + OPENING + number * (SIZE as u64 / PLACES) + number * 7;
        (0..PLACES).map(move |number| (way, place(number)))
    });
    places.collect()
}

fn there() -> Vec<u8> {
    traffic::content(1, SIZE)
}

fn back() -> Vec<u8> {
    traffic::content(2, SIZE)
}

/// Bytes both ways at once over a new link: what came to the guest, and to the host.
async fn transfer(arrangement: &Arrangement, place: &str) -> (Received, Received) {
    let connected = arrangement.guest.until_connected(&arrangement.route).await;
    let server = Server::start().await;
    let (stream, socket) = server.dial(&connected.link).await;
    let (there, back) = (there(), back());
    let host = both(split(stream), &there);
    let guest = both(split(socket), &back);
    let ends = timeout(DEADLINE, async { tokio::join!(guest, host) }).await;
    let ((written, mut to_guest), (_, to_host)) =
        ends.unwrap_or_else(|_| panic!("{place}: it hangs"));
    to_guest.is_whole &= !took_the_reset(written);
    connected.link.close();
    connected.lost().await;
    (to_guest, to_host)
}

/// Whether the write of a socket has failed by a reset. The kernel tells of one once, so that an end
/// which is read after that is none. Of a connection that had ended before it was reset it says
/// `BrokenPipe`.
fn took_the_reset(written: io::Result<()>) -> bool {
    written.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

/// Writes all of `bytes`, says that this was all, and reads to the end. What became of the writing, and
/// what was read.
async fn both(
    (mut reader, mut writer): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> (io::Result<()>, Received) {
    let writing = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await
    };
    let reading = async {
        let (mut received, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => break (received, true),
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(_) => break (received, false),
            }
        }
    };
    let (written, (bytes, is_whole)) = tokio::join!(writing, reading);
    (written, Received { bytes, is_whole })
}

fn differing(received: &[u8], sent: &[u8]) -> usize {
    let pairs = received.iter().zip(sent);
    pairs.filter(|(one, other)| one != other).count()
}

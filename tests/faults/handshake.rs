//! Something happens while a link is made.

use std::{
    io,
    pin::pin,
    time::{Duration, Instant},
};

use futures::future::join_all;
use lkc_tests::carriers::{
    Fault, Way,
    guest::Connected,
    traffic::{self, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::yield_now,
    time::timeout,
};

use crate::Arrangement;

/// The daemon gives up an attempt after this time, whatever happens.
const DEADLINE: Duration = Duration::from_secs(12);

/// What an attempt says that waited in vain. Whoever is cut off has no reason to wait.
const WAITED: &str = "no answer within";

/// In plain, bytes at the end of what was measured that are no handshake's: those of taking leave.
const LEAVE: u64 = 64;

/// Bytes of a handshake and of taking leave, there and back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) there: u64,
    pub(crate) back: u64,
}

impl Length {
    pub(crate) const fn ways(self) -> [(Way, u64); 2] {
        [(Way::There, self.there), (Way::Back, self.back)]
    }
}

/// A handshake without faults.
pub(crate) async fn measure(arrangement: &Arrangement) -> Length {
    let connected = arrangement.guest.until_connected(&arrangement.route).await;
    assert_eq!(connected.link.is_encrypted(), !arrangement.is_plain);
    connected.close().await;
    let (there, back) = arrangement.relay.passed();
    Length { there, back }
}

/// Cuts the carrier behind every `step`th byte of both ways.
pub(crate) async fn cut(arrangement: &Arrangement, length: Length, step: usize) {
    for (way, total) in length.ways() {
        for after in (0..total).step_by(step) {
            let place = format!("cut {way:?} behind {after} of {total} bytes");
            arrangement.relay.set(Fault::Cut(way, after));
            match attempt(arrangement, &place).await {
                // It stood for a moment; whoever uses it is told, if he has not taken leave.
                Ok(connected) => {
                    connected.link.close();
                    connected.lost().await;
                }
                Err(error) => assert!(!error.contains(WAITED), "{place}: {error}"),
            }
        }
    }
    arrangement.relay.set(Fault::None);
}

/// The same on a line, which the next attempt finds as this one has left it.
pub(crate) async fn cut_on_a_line(arrangement: &Arrangement, length: Length, step: usize) {
    for (way, total) in length.ways() {
        for after in (0..total).step_by(step) {
            let place = format!("cut {way:?} behind {after} of {total} bytes");
            arrangement.relay.set(Fault::Cut(way, after));
            if let Ok(connected) = attempt(arrangement, &place).await {
                connected.link.close();
                connected.lost().await;
            }
            arrangement.relay.set(Fault::None);
            let connected = arrangement.guest.until_connected(&arrangement.route).await;
            exchange(&connected).await.unwrap();
            connected.close().await;
        }
    }
}

/// Changes a bit of every `step`th byte of both ways.
pub(crate) async fn flip(arrangement: &Arrangement, length: Length, step: usize) {
    for (way, total) in length.ways() {
        let total = if arrangement.is_plain {
            total - LEAVE
        } else {
            total
        };
        for at in (0..total).skip(step / 2).step_by(step) {
            let place = format!("another bit {way:?} at {at} of {total} bytes");
            arrangement.relay.set(Fault::Flip(way, at));
            if let Ok(connected) = attempt(arrangement, &place).await {
                // Some bytes mean nothing. A link that stands is a good one or none.
                let _ = exchange(&connected).await;
                connected.link.close();
                connected.lost().await;
            }
            assert_eq!(arrangement.relay.fired(), 1, "{place}");
        }
    }
    arrangement.relay.set(Fault::None);
}

/// A handshake in pieces that come late is none the worse.
pub(crate) async fn delay(arrangement: &Arrangement) {
    arrangement
        .relay
        .set(Fault::Drip(11, Duration::from_millis(1)));
    let connected = arrangement.guest.until_connected(&arrangement.route).await;
    exchange(&connected).await.unwrap();
    connected.close().await;
    assert!(arrangement.relay.fired() > 20);
    arrangement.relay.set(Fault::None);
}

/// Nothing comes any more, and nothing ends, from some places of the handshake on.
pub(crate) async fn fall_silent(arrangement: &Arrangement, length: Length) {
    let mut waiting = Vec::new();
    for (way, total) in length.ways() {
        for third in 0..3 {
            let after = total * third / 3;
            let place = format!("silence {way:?} from {after} of {total} bytes on");
            let before = arrangement.relay.accepted();
            arrangement.relay.set(Fault::Hold(way, after));
            let mut waits = Box::pin(async move {
                let attempt = attempt(arrangement, &place).await;
                assert!(attempt.is_err(), "{place}");
            });
            // It is under way; so that the time of all is that of one.
            let accepted = async {
                while arrangement.relay.accepted() == before {
                    yield_now().await;
                }
            };
            tokio::select! {
                () = &mut waits => panic!("it did not wait"),
                () = accepted => {}
            }
            waiting.push(waits);
        }
    }
    join_all(waiting).await;
    arrangement.relay.set(Fault::None);
}

/// One attempt, as the daemon makes it.
async fn attempt(arrangement: &Arrangement, place: &str) -> Result<Connected, String> {
    let began = Instant::now();
    let connecting = pin!(arrangement.guest.connect(&arrangement.route));
    let result = timeout(DEADLINE, connecting)
        .await
        .unwrap_or_else(|_| Err("given up".to_owned()));
    let took = began.elapsed();
    assert!(
        took < DEADLINE + Duration::from_secs(1),
        "{place}: {took:?}"
    );
    result
}

/// A few bytes both ways. What comes is what was sent.
async fn exchange(connected: &Connected) -> io::Result<()> {
    let server = Server::start().await;
    let (mut stream, mut socket) = server.try_dial(&connected.link).await?;
    let (sent, mut came) = (traffic::content(3, 100), vec![0; 100]);
    stream.write_all(&sent).await?;
    socket.read_exact(&mut came).await?;
    assert!(came == sent, "other bytes came");
    socket.write_all(&sent).await?;
    stream.read_exact(&mut came).await?;
    assert!(came == sent, "other bytes came back");
    Ok(())
}

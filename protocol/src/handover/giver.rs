//! The guest's end: hands connected sockets over.

use std::{
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{net::TcpStream, sync::OnceCell};

use super::{Proof, pair::PairEnd};
use crate::{
    error::{Refusal, RefusalCode},
    link::Link,
    message::HandedOver,
};

/// What was offered to a host that is not authenticated yet.
#[derive(Debug)]
pub struct Offered(pub(super) PairEnd);

impl Offered {
    /// Gives it to the host at the other end of `link`. None where the link hands nothing over.
    #[must_use]
    pub fn bind(self, link: &Link) -> Option<Giver> {
        let proofs = link.handover_proofs()?;
        // A host that has lost its end will never ask.
        self.0.send(&proofs.guest, None).ok()?;
        Some(Giver {
            pair: self.0,
            host_proof: proofs.host,
            host_proved: OnceCell::new(),
            next: AtomicU64::new(0),
        })
    }
}

/// Hands sockets to the host of one link.
#[derive(Debug)]
pub struct Giver {
    pair: PairEnd,
    host_proof: Proof,
    host_proved: OnceCell<()>,
    next: AtomicU64,
}

impl Giver {
    /// Hands `socket`, connected to `address`, over. It is the host's alone afterwards.
    ///
    /// # Errors
    /// `Unsupported` for a host that does not hold the other end, `Busy` when it holds as many
    /// sockets as fit: it may ask for a stream instead.
    pub fn give(&self, socket: &TcpStream, address: String) -> Result<HandedOver, Refusal> {
        self.check_host()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sent = self.pair.send(&number.to_be_bytes(), Some(socket.as_fd()));
        sent.map_err(|error| {
            let text = format!("cannot hand the connection over: {error}");
            Refusal::new(RefusalCode::Busy, text)
        })?;
        Ok(HandedOver { number, address })
    }

    /// The host sends its proof before its first request, so it is there or will never be.
    fn check_host(&self) -> Result<(), Refusal> {
        if self.host_proved.initialized() {
            return Ok(());
        }
        match self.pair.receive() {
            Ok(datagram) if datagram.bytes() == self.host_proof => {
                // Another request may have been quicker, with the same result.
                let _ = self.host_proved.set(());
                Ok(())
            }
            // Another request has read the proof.
            Err(_) if self.host_proved.initialized() => Ok(()),
            _ => Err(Refusal::new(
                RefusalCode::Unsupported,
                "this link hands no connections over",
            )),
        }
    }
}

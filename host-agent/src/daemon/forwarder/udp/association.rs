//! One client's conversation with the target of a UDP forward.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    datagram::{self, Decoder, Item},
    error::ResetCode,
    link::{Stream, StreamError, WriteHalf},
};
use tokio::{net::UdpSocket, sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        connection::Connection,
        counters::{ForwardCounters, Layer},
    },
    Table, lock,
};

/// How long the datagrams of a client are dropped after its target could not be dialled, so that a
/// flood to nowhere does not become a flood of dials.
const HOLD_DOWN: Duration = Duration::from_secs(1);

/// Bytes of datagrams that are handed to the stream at once.
const BATCH: usize = 64 * 1024;

pub(super) struct Association {
    pub(super) number: u64,
    pub(super) client: SocketAddr,
    pub(super) socket: Arc<UdpSocket>,
    pub(super) datagrams: mpsc::Receiver<Bytes>,
    pub(super) table: Weak<Table>,
    pub(super) connection: Connection,
}

impl Association {
    /// Serves the client until it is silent for long, or `ended` for another reason.
    pub(super) async fn serve(mut self, ended: CancellationToken) {
        let counters = Arc::clone(&self.connection.counters);
        counters.total.fetch_add(1, Ordering::Relaxed);
        let _open = ForwardCounters::hold(&counters.open);
        ended.run_until_cancelled(self.converse()).await;
        // What came for it from now on is for its successor.
        if let Some(table) = self.table.upgrade() {
            lock(&table).remove(self.client, self.number);
        }
        self.drop_waiting();
    }

    async fn converse(&mut self) {
        match self.connection.dial_udp().await {
            Ok(stream) => {
                self.connection.counters.reached();
                let Err(error) = self.pass_on(&stream).await;
                let layer = match error {
                    StreamError::LinkDown => Layer::Carrier,
                    _ => Layer::Agent,
                };
                self.connection.counters.failed(layer, &error.to_string());
            }
            Err(refused) => {
                self.connection.note(&refused);
                sleep(HOLD_DOWN).await;
            }
        }
    }

    fn drop_waiting(&mut self) {
        let mut count = 0;
        while self.datagrams.try_recv().is_ok() {
            count += 1;
        }
        self.connection.counters.dropped(count);
    }

    /// Passes datagrams on in both directions until the stream ends.
    async fn pass_on(&mut self, stream: &Stream) -> Result<std::convert::Infallible, StreamError> {
        let (reader, writer) = stream.halves();
        let mut decoder = Decoder::default();
        loop {
            tokio::select! {
                Some(datagram) = self.datagrams.recv() => self.send(&datagram, writer)?,
                received = reader.read() => match received? {
                    Some(bytes) => self.receive(bytes, &mut decoder).await?,
                    None => return Err(StreamError::Finished),
                },
            }
        }
    }

    /// Sends a datagram and what waits behind it, or drops them.
    fn send(&mut self, first: &Bytes, writer: WriteHalf<'_>) -> Result<(), StreamError> {
        let mut batch = BytesMut::with_capacity(first.len() + 2);
        let (mut count, mut bytes) = (0, 0);
        let mut next = Some(first.clone());
        while let Some(datagram) = next {
            match datagram::put(&datagram, &mut batch) {
                Ok(()) => (count, bytes) = (count + 1, bytes + datagram.len()),
                Err(error) => {
                    tracing::debug!(forward = %self.connection.spec.name, "dropped: {error}");
                    self.connection.counters.dropped(1);
                }
            }
            next = (batch.len() < BATCH)
                .then(|| self.datagrams.try_recv().ok())
                .flatten();
        }
        let counters = &self.connection.counters;
        if writer.try_write(batch.freeze())? {
            counters
                .bytes
                .sent
                .fetch_add(bytes as u64, Ordering::Relaxed);
        } else {
            counters.dropped(count);
        }
        Ok(())
    }

    async fn receive(&self, mut bytes: Bytes, decoder: &mut Decoder) -> Result<(), StreamError> {
        let counters = &self.connection.counters;
        if let Some(table) = self.table.upgrade() {
            lock(&table).touch(self.client, self.number, Instant::now());
        }
        loop {
            match decoder.next(&mut bytes) {
                Ok(None) => return Ok(()),
                Ok(Some(Item::Refused)) => {
                    let target = self.connection.spec.target();
                    counters.refused(Layer::Target, &format!("{target}: connection refused"));
                }
                Ok(Some(Item::Datagram(datagram))) => {
                    match self.socket.send_to(&datagram, self.client).await {
                        Ok(length) => {
                            let received = &counters.bytes.received;
                            received.fetch_add(length as u64, Ordering::Relaxed);
                        }
                        Err(error) => {
                            tracing::debug!(client = %self.client, %error, "dropped");
                            counters.dropped(1);
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the guest does not send datagrams");
                    return Err(StreamError::Reset(ResetCode::Malformed));
                }
            }
        }
    }
}

//! The host's side of a machine: links to its agent.

use std::{io::Read as _, sync::Arc, time::Duration};

use lkc_protocol::{
    link::{self, Encrypt, Link, LinkEnd, LinkOptions, Locality, RequestError, Stream},
    message::{
        Body as _, Change, NetworkStatus, NetworkStatusAnswer, Request, Rung, RungStatus, Snapshot,
        Watch,
    },
    session::Limits,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};

use crate::machine::{Machine, PATIENCE, dial};

/// A link that stands, and the task that moves its bytes.
pub(crate) struct Host {
    link: Link,
    driver: JoinHandle<LinkEnd>,
}

impl Host {
    /// A link that does not depend on the network, as over vsock.
    pub(crate) async fn local(machine: &Machine) -> Self {
        let connect = async {
            loop {
                let attempt = async {
                    let stream = UnixStream::connect(machine.socket()).await.ok()?;
                    Self::over(machine, stream, Locality::Local).await.ok()
                };
                if let Some(host) = attempt.await {
                    return host;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, connect)
            .await
            .unwrap_or_else(|_| panic!("no link\n{}", machine.story()))
    }

    /// A link over the machine's network; an error when there is none within two seconds.
    pub(crate) async fn remote(machine: &Machine, address: &str) -> Result<Self, String> {
        let (namespace, address) = (machine.outside(), address.to_owned());
        let dialling = move || dial(&namespace, &address, 5000, Duration::from_secs(2));
        let stream = tokio::task::spawn_blocking(dialling).await.unwrap();
        let stream = stream.map_err(|error| error.to_string())?;
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        Self::over(machine, stream, Locality::Remote).await
    }

    async fn over<C>(machine: &Machine, carrier: C, locality: Locality) -> Result<Self, String>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = LinkOptions {
            identity: Arc::new(
                lkc_protocol::identity::Identity::from_pem(&machine.host.to_pem()).unwrap(),
            ),
            version: "0.1.0".to_owned(),
            node: "guest-os".to_owned(),
            boot_id: [1; 16],
            encrypt: Encrypt::Auto,
            locality,
            limits: Limits::default(),
        };
        let connecting = link::connect(carrier, machine.key, &options);
        let connected = timeout(Duration::from_secs(5), connecting).await;
        let (link, _incoming, driver) = connected
            .map_err(|_| "slow".to_owned())?
            .map_err(|error| error.to_string())?;
        let driver = tokio::spawn(driver.run());
        Ok(Self { link, driver })
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask<R: Request>(&self, request: &R) -> Result<R::Answer, String> {
        let asking = async { self.link.request(request).await };
        match timeout(PATIENCE, asking).await {
            Ok(Ok((answer, _stream))) => Ok(answer),
            Ok(Err(RequestError::Refused(refusal))) => Err(refusal.to_string()),
            Ok(Err(error)) => Err(format!("link: {error}")),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Watches the ladder until a rung is as it should be.
    pub(crate) async fn until(
        &self,
        rung: Rung,
        holds: impl Fn(&RungStatus) -> bool,
    ) -> RungStatus {
        let mut last = None;
        let watching = async {
            let (_, mut stream) = self.link.request(&Watch {}).await.unwrap();
            loop {
                let message = stream.receive_raw().await.unwrap().unwrap();
                let rungs = if message.number == Snapshot::NUMBER {
                    message.decode::<Snapshot>().unwrap().rungs
                } else {
                    message.decode::<Change>().unwrap().rungs
                };
                for status in rungs.into_iter().filter(|status| status.rung == rung) {
                    if holds(&status) {
                        return status;
                    }
                    last = Some(status);
                }
            }
        };
        match timeout(PATIENCE, watching).await {
            Ok(status) => status,
            Err(_) => panic!("{last:?}"),
        }
    }

    /// Asks, and keeps the stream that follows the answer.
    pub(crate) async fn begin<R: Request>(&self, request: &R) -> Stream {
        let asking = timeout(PATIENCE, self.link.request(request)).await;
        asking.expect("no answer").unwrap().1
    }

    /// How the network stands.
    pub(crate) async fn status(&self) -> NetworkStatusAnswer {
        self.ask(&NetworkStatus {}).await.unwrap()
    }

    /// Takes leave.
    pub(crate) async fn close(self) {
        self.link.close();
        let _ = timeout(PATIENCE, self.driver).await;
    }
}

/// What a probe gives to whoever reaches it, `192.100.0.10:5001`.
pub(crate) fn proof(machine: &Machine, probe: &str) -> Result<Vec<u8>, String> {
    let (address, port) = probe.rsplit_once(':').unwrap();
    let address = address.trim_matches(['[', ']']);
    let dialled = machine.dial(address, port.parse().unwrap(), Duration::from_secs(2));
    let mut proof = Vec::new();
    let read = dialled.and_then(|mut stream| stream.read_to_end(&mut proof));
    read.map_err(|error| error.to_string())?;
    Ok(proof)
}

//! What is said to systemd-networkd and systemd-resolved over D-Bus.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};
use zbus::message::Message;
use zbus::zvariant::DynamicType;
use zbus::{Connection, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

/// The bus of the system.
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// How long an answer may take. networkd answers a reload once it has begun to configure.
const ANSWER: Duration = Duration::from_secs(10);

const NETWORKD: Name = Name {
    service: "org.freedesktop.network1",
    path: "/org/freedesktop/network1",
    interface: "org.freedesktop.network1.Manager",
};
const RESOLVED: Name = Name {
    service: "org.freedesktop.resolve1",
    path: "/org/freedesktop/resolve1",
    interface: "org.freedesktop.resolve1.Manager",
};
const BUS: Name = Name {
    service: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
const SYSTEMD: Name = Name {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const LINK: &str = "org.freedesktop.network1.Link";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

struct Name {
    service: &'static str,
    path: &'static str,
    interface: &'static str,
}

/// systemd or one of its network daemons could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No connection to the bus.
    #[error("cannot connect to the system bus")]
    Connect(#[source] zbus::Error),
    /// A call failed.
    #[error("systemd does not {what}")]
    Call {
        /// What was asked.
        what: &'static str,
        /// What came back.
        #[source]
        source: zbus::Error,
    },
    /// Nothing came back.
    #[error("systemd does not {what} within {} s", ANSWER.as_secs())]
    Slow {
        /// What was asked.
        what: &'static str,
    },
}

/// A connection to the bus of a machine whose network systemd-networkd manages.
#[derive(Debug)]
pub(in super::super) struct Bus {
    connection: Connection,
}

impl Bus {
    /// Connects; none where networkd does not run, or not in this network namespace: in a container
    /// the bus may be that of its host.
    ///
    /// # Errors
    /// There is a bus, and it cannot be used.
    pub(in super::super) async fn find() -> Result<Option<Self>, BusError> {
        let Some(bus) = Self::connect().await? else {
            return Ok(None);
        };
        if bus.is_there(NETWORKD.service).await? && bus.is_ours().await {
            return Ok(Some(bus));
        }
        bus.close().await;
        Ok(None)
    }

    /// Connects to whatever bus there is.
    ///
    /// # Errors
    /// It cannot be used.
    pub(in super::super) async fn connect() -> Result<Option<Self>, BusError> {
        if !Path::new(SOCKET).exists() {
            return Ok(None);
        }
        let building = zbus::connection::Builder::address(format!("unix:path={SOCKET}").as_str())
            .method_timeout(ANSWER);
        let connecting = timeout(ANSWER, building.build());
        let what = "let us on the bus";
        let connection = connecting.await.map_err(|_| BusError::Slow { what })?;
        Ok(Some(Self {
            connection: connection.map_err(BusError::Connect)?,
        }))
    }

    /// Has systemd run `program` with `arguments` once, in so much time from now. Nothing of it is
    /// left once it has run.
    pub(in super::super) async fn start_timer(
        &self,
        unit: &str,
        after: Duration,
        program: &str,
        arguments: &[&str],
    ) -> Result<(), BusError> {
        let microseconds = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let mut command = vec![program];
        command.extend(arguments);
        let timer = vec![
            (
                "Description",
                Variant::new("Takes back what no lkc host confirms"),
            ),
            (
                "TimersMonotonic",
                Variant::new(vec![("OnActiveSec", microseconds)]),
            ),
            ("AccuracyUSec", Variant::new(100_000_u64)),
            ("RemainAfterElapse", Variant::new(false)),
        ];
        let service = vec![
            (
                "Description",
                Variant::new("Takes back what no lkc host confirms"),
            ),
            ("Type", Variant::new("oneshot")),
            ("CollectMode", Variant::new("inactive-or-failed")),
            ("ExecStart", Variant::new(vec![(program, command, false)])),
        ];
        let (timer_unit, service_unit) = (format!("{unit}.timer"), format!("{unit}.service"));
        let body = (timer_unit, "fail", timer, vec![(service_unit, service)]);
        let what = "start a timer";
        self.call(&SYSTEMD, "StartTransientUnit", &body, what)
            .await
            .map(drop)
    }

    /// Has systemd stop a unit; one that is gone is stopped.
    pub(in super::super) async fn stop_unit(&self, unit: &str) -> Result<(), BusError> {
        let stopped = self
            .call(&SYSTEMD, "StopUnit", &(unit, "replace"), "stop a timer")
            .await;
        match stopped {
            Err(BusError::Call {
                source: zbus::Error::MethodError(name, ..),
                ..
            }) if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Ends the connection.
    pub(in super::super) async fn close(self) {
        // It is of no more use, whatever the other end says.
        let _ = self.connection.close().await;
    }

    /// Has networkd read its files, and configure the links for which they have changed.
    pub(in super::super) async fn reload(&self) -> Result<(), BusError> {
        let what = "read its files again";
        self.call(&NETWORKD, "Reload", &(), what).await.map(drop)
    }

    /// Has networkd configure a link anew.
    pub(super) async fn reconfigure(&self, index: u32) -> Result<(), BusError> {
        let what = "configure the link";
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        self.call(&NETWORKD, "ReconfigureLink", &(index,), what)
            .await
            .map(drop)
    }

    /// How far networkd is with a link: `configured`, `configuring`, `failed`, `unmanaged`, …
    pub(in super::super) async fn setup_state(&self, index: u32) -> Result<String, BusError> {
        let what = "tell the state of the link";
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let answer = self
            .call(&NETWORKD, "GetLinkByIndex", &(index,), what)
            .await?;
        let failed = |source| BusError::Call { what, source };
        let (_, path): (String, OwnedObjectPath) = answer.body().deserialize().map_err(failed)?;
        let value = self
            .property(NETWORKD.service, path.as_str(), LINK, "AdministrativeState")
            .await
            .map_err(failed)?;
        String::try_from(value).map_err(failed)
    }

    /// The DNS servers that systemd-resolved has for a link; none where it does not run.
    pub(super) async fn dns(&self, index: u32) -> Result<Option<Vec<IpAddr>>, BusError> {
        if !self.is_there(RESOLVED.service).await? {
            return Ok(None);
        }
        let failed = |source| BusError::Call {
            what: "tell the DNS servers",
            source,
        };
        let value = self
            .property(RESOLVED.service, RESOLVED.path, RESOLVED.interface, "DNS")
            .await
            .map_err(failed)?;
        let all = Vec::<(i32, i32, Vec<u8>)>::try_from(value);
        let all = all.map_err(failed)?;
        let ours = all
            .iter()
            .filter(|(of, _, _)| u32::try_from(*of) == Ok(index));
        Ok(Some(ours.filter_map(|(_, _, ip)| address(ip)).collect()))
    }

    /// Word of both daemons that something of theirs has changed.
    pub(super) async fn news(&self) -> Result<News, BusError> {
        let failed = |source| BusError::Call {
            what: "tell its changes",
            source,
        };
        let rule = |service: &str| {
            format!(
                "type='signal',sender='{service}',interface='{PROPERTIES}',member='PropertiesChanged'"
            )
        };
        let of = async |service: &str| {
            MessageStream::for_match_rule(rule(service).as_str(), &self.connection, None).await
        };
        Ok(News {
            networkd: of(NETWORKD.service).await.map_err(failed)?,
            resolved: of(RESOLVED.service).await.map_err(failed)?,
        })
    }

    /// Whether somebody has a name of the bus.
    async fn is_there(&self, service: &str) -> Result<bool, BusError> {
        let what = "say whether it is there";
        let answer = self.call(&BUS, "NameHasOwner", &(service,), what).await?;
        answer
            .body()
            .deserialize()
            .map_err(|source| BusError::Call { what, source })
    }

    /// Whether networkd is in the network namespace of this process.
    async fn is_ours(&self) -> bool {
        let told = self
            .property(
                NETWORKD.service,
                NETWORKD.path,
                NETWORKD.interface,
                "NamespaceId",
            )
            .await;
        let told = told.ok().and_then(|value| u64::try_from(value).ok());
        let own = std::fs::metadata("/proc/thread-self/ns/net").map(|file| file.ino());
        told.is_some() && told == own.ok()
    }

    async fn property(
        &self,
        service: &str,
        path: &str,
        interface: &str,
        name: &str,
    ) -> zbus::Result<OwnedVariant> {
        let answer = self
            .connection
            .call_method(
                Some(service),
                path,
                Some(PROPERTIES),
                "Get",
                &(interface, name),
            )
            .await?;
        answer.body().deserialize()
    }

    async fn call<B>(
        &self,
        name: &Name,
        method: &str,
        body: &B,
        what: &'static str,
    ) -> Result<Message, BusError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let call = self.connection.call_method(
            Some(name.service),
            name.path,
            Some(name.interface),
            method,
            body,
        );
        match timeout(ANSWER, call).await {
            Ok(answer) => answer.map_err(|source| BusError::Call { what, source }),
            Err(_) => Err(BusError::Slow { what }),
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Signals of networkd and resolved. Many come for one change; each only says to look again.
pub(super) struct News {
    networkd: MessageStream,
    resolved: MessageStream,
}

impl News {
    /// Waits for the next; false at the deadline and when the bus has gone.
    pub(super) async fn changed(&mut self, deadline: Instant) -> bool {
        let first = async {
            tokio::select! {
                message = self.networkd.next() => message.is_some(),
                message = self.resolved.next() => message.is_some(),
            }
        };
        let first = tokio::time::timeout_at(deadline, first).await;
        while let Some(Some(_)) = self.networkd.next().now_or_never() {}
        while let Some(Some(_)) = self.resolved.next().now_or_never() {}
        first.unwrap_or(false)
    }
}

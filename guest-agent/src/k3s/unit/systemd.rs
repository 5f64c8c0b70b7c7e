//! systemd, asked over D-Bus: where a unit stands, word of every change, and jobs.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;
use zbus::message::Message;
use zbus::zvariant::DynamicType;
use zbus::{Connection, MessageStream, OwnedObjectPath, OwnedVariant};

use super::Unit;
use super::action::Job;
use super::status::Status;

/// The bus of the system.
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// How long an answer may take; systemd answers in milliseconds unless the machine is in trouble.
const DEADLINE: Duration = Duration::from_secs(10);

const SERVICE: &str = "org.freedesktop.systemd1";
const ROOT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const OF_UNITS: &str = "org.freedesktop.systemd1.Unit";
const OF_SERVICES: &str = "org.freedesktop.systemd1.Service";

/// Properties of one interface, by name.
pub(super) type Properties = HashMap<String, OwnedVariant>;

/// Why systemd gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// There is no bus.
    #[error("systemd cannot be asked: there is no {SOCKET}; install D-Bus in the guest")]
    NoBus,
    /// The bus lets nobody in.
    #[error("cannot connect to the system bus")]
    Connect(#[source] zbus::Error),
    /// It says that it does not.
    #[error("systemd does not {what} {unit}")]
    Call {
        /// What was asked of it.
        what: &'static str,
        /// The unit.
        unit: String,
        /// Its own words.
        #[source]
        source: zbus::Error,
    },
    /// It takes too long.
    #[error("systemd gives no answer within {} s", DEADLINE.as_secs())]
    Slow,
    /// It says something else.
    #[error("systemd says nothing of {unit}")]
    Odd {
        /// The unit.
        unit: String,
    },
}

/// What systemd says without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Something about the unit is not as it was.
    Changed,
    /// A job of the unit is over, with this result: `done`, `dependency`.
    JobOver(String),
}

/// Whoever knows where the unit stands and can change it.
pub(super) trait Systemd: Send {
    /// Where it stands.
    fn status(&mut self) -> impl Future<Output = Result<Status, SystemdError>> + Send;

    /// Begins a job; how it ends comes as a word.
    fn begin(&mut self, job: Job) -> impl Future<Output = Result<(), SystemdError>> + Send;

    /// Waits for the next word; safe to be dropped. Without a connection there is none.
    fn word(&mut self) -> impl Future<Output = Word> + Send;
}

/// The unit on the bus of the system. It connects when it is asked, and anew after an error.
pub(super) struct Bus {
    unit: String,
    connected: Option<Connected>,
}

struct Connected {
    connection: Connection,
    changes: MessageStream,
    jobs: MessageStream,
    reloads: MessageStream,
}

impl Bus {
    pub(super) fn new(unit: &Unit) -> Self {
        Self {
            unit: unit.to_string(),
            connected: None,
        }
    }

    async fn connection(&mut self) -> Result<Connection, SystemdError> {
        if let Some(connected) = &mut self.connected {
            // Whoever asks hears of what they say; too many that wait would hold the answer up.
            connected.forget_changes();
            return Ok(connected.connection.clone());
        }
        if !Path::new(SOCKET).exists() {
            return Err(SystemdError::NoBus);
        }
        let connecting = timeout(DEADLINE, Connected::new(&self.unit));
        let connected = connecting.await.map_err(|_| SystemdError::Slow)??;
        let connection = connected.connection.clone();
        self.connected = Some(connected);
        Ok(connection)
    }

    /// After an error of the connection the next question begins with a new one.
    fn judged<T>(&mut self, answer: Result<T, SystemdError>) -> Result<T, SystemdError> {
        let refused = |error: &SystemdError| matches!(error, SystemdError::Call { source, .. } if matches!(source, zbus::Error::MethodError(..)));
        if answer.as_ref().is_err_and(|error| !refused(error)) {
            self.connected = None;
        }
        answer
    }

    async fn properties(&mut self) -> Result<(Properties, Properties), SystemdError> {
        let connection = self.connection().await?;
        let what = "tell the state of";
        let failed = |source| SystemdError::Call {
            what,
            unit: self.unit.clone(),
            source,
        };
        let call = Call {
            connection: &connection,
            unit: &self.unit,
            what,
        };
        // Its object is there for as long as somebody needs the unit: it is asked for each time.
        let answer = call.manager("LoadUnit", &(&self.unit,)).await?;
        let path: OwnedObjectPath = answer.body().deserialize().map_err(failed)?;
        let mut all = Vec::new();
        for interface in [OF_UNITS, OF_SERVICES] {
            let answer = call
                .method(path.as_str(), PROPERTIES, "GetAll", &(interface,))
                .await?;
            all.push(answer.body().deserialize().map_err(failed)?);
        }
        match <[Properties; 2]>::try_from(all) {
            Ok([unit, service]) => Ok((unit, service)),
            Err(_) => Err(SystemdError::Odd {
                unit: self.unit.clone(),
            }),
        }
    }
}

impl Systemd for Bus {
    async fn status(&mut self) -> Result<Status, SystemdError> {
        let asked = self.properties().await;
        let (unit, service) = self.judged(asked)?;
        Status::of(&unit, &service).ok_or_else(|| SystemdError::Odd {
            unit: self.unit.clone(),
        })
    }

    async fn begin(&mut self, job: Job) -> Result<(), SystemdError> {
        let connection = self.connection().await?;
        let call = Call {
            connection: &connection,
            unit: &self.unit,
            what: job.in_words(),
        };
        let name = self.unit.as_str();
        let asked = match job {
            Job::Start => call.manager("StartUnit", &(name, "replace")).await,
            Job::Restart => call.manager("TryRestartUnit", &(name, "replace")).await,
            Job::Stop => call.manager("StopUnit", &(name, "replace")).await,
            Job::Forget => call.manager("ResetFailedUnit", &(name,)).await,
            Job::Kill => {
                let signal = nix::sys::signal::Signal::SIGKILL as i32;
                call.manager("KillUnit", &(name, "all", signal)).await
            }
        };
        self.judged(asked.map(drop))
    }

    async fn word(&mut self) -> Word {
        let Some(connected) = &mut self.connected else {
            return std::future::pending().await;
        };
        match connected.word().await {
            Some(word) => word,
            None => {
                // Whoever looks now connects anew.
                self.connected = None;
                Word::Changed
            }
        }
    }
}

impl Connected {
    async fn new(unit: &str) -> Result<Self, SystemdError> {
        let address = format!("unix:path={SOCKET}");
        let building = zbus::connection::Builder::address(address.as_str());
        let connection = building.method_timeout(DEADLINE).build().await;
        let connection = connection.map_err(SystemdError::Connect)?;
        let failed = |source| SystemdError::Call {
            what: "tell the changes of",
            unit: unit.to_owned(),
            source,
        };
        let of = async |rule: String| {
            let rule = format!("type='signal',sender='{SERVICE}',{rule}");
            MessageStream::for_match_rule(rule.as_str(), &connection, None).await
        };
        let path = format!("{ROOT}/unit/{}", escaped(unit));
        let changes = format!("path='{path}',interface='{PROPERTIES}',member='PropertiesChanged'");
        let jobs = format!("interface='{MANAGER}',member='JobRemoved',arg2='{unit}'");
        let reloads = format!("interface='{MANAGER}',member='Reloading'");
        let connected = Self {
            changes: of(changes).await.map_err(failed)?,
            jobs: of(jobs).await.map_err(failed)?,
            reloads: of(reloads).await.map_err(failed)?,
            connection: connection.clone(),
        };
        let call = Call {
            connection: &connection,
            unit,
            what: "tell the changes of",
        };
        // Without a subscriber it says nothing to anybody.
        call.manager("Subscribe", &()).await?;
        Ok(connected)
    }

    /// None when the connection is over.
    async fn word(&mut self) -> Option<Word> {
        tokio::select! {
            message = self.jobs.next() => return Some(job_result(&message?.ok()?)),
            message = self.changes.next() => drop(message?.ok()?),
            message = self.reloads.next() => drop(message?.ok()?),
        }
        // One change brings several.
        self.forget_changes();
        Some(Word::Changed)
    }

    fn forget_changes(&mut self) {
        for stream in [&mut self.changes, &mut self.reloads] {
            while let Some(Some(Ok(_))) = stream.next().now_or_never() {}
        }
    }
}

fn job_result(message: &Message) -> Word {
    let body = message.body();
    let removed: zbus::Result<(u32, OwnedObjectPath, String, String)> = body.deserialize();
    match removed {
        Ok((_, _, _, result)) => Word::JobOver(result),
        Err(_) => Word::Changed,
    }
}

struct Call<'a> {
    connection: &'a Connection,
    unit: &'a str,
    what: &'static str,
}

impl Call<'_> {
    async fn manager<B>(&self, method: &str, body: &B) -> Result<Message, SystemdError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        self.method(ROOT, MANAGER, method, body).await
    }

    async fn method<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, SystemdError>
    where
        B: serde::Serialize + DynamicType + Sync,
    {
        let calling =
            self.connection
                .call_method(Some(SERVICE), path, Some(interface), method, body);
        let answer = timeout(DEADLINE, calling).await;
        let answer = answer.map_err(|_| SystemdError::Slow)?;
        answer.map_err(|source| SystemdError::Call {
            what: self.what,
            unit: self.unit.to_owned(),
            source,
        })
    }
}

/// The name of a unit's object: systemd writes every byte but letters and digits as `_xx`, and a
/// digit at the beginning too.
fn escaped(unit: &str) -> String {
    let mut text = String::new();
    for (at, byte) in unit.bytes().enumerate() {
        let plain = byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit());
        if plain {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("_{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_units() {
        for (unit, object) in [
            ("k3s.service", "k3s_2eservice"),
            ("k3s-agent.service", "k3s_2dagent_2eservice"),
            ("3@a\\x2d.service", "_33_40a_5cx2d_2eservice"),
        ] {
            assert_eq!(escaped(unit), object);
        }
    }
}

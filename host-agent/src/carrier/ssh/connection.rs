//! One SSH connection: keys exchanged, host checked, logged in, good for one channel.

use std::{borrow::Cow, path::Path, sync::Arc, time::Duration};

use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, Preferred, SshId, cipher,
    client::{self, Handle, Msg},
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

use super::{
    authenticate::authenticate,
    cut::{Bytes, cuttable},
    error::SshError,
    host_key::{Expected, HostKeyPolicy},
    server::{Server, ServerError, Story},
    settings::{Hop, Settings},
    stream::SshStream,
};

/// What we call ourselves to servers.
const CLIENT_ID: &str = concat!("SSH-2.0-lkc_", env!("CARGO_PKG_VERSION"));

/// Bytes that a server may send before it hears that they arrived. With 16 MiB OpenSSH's sshd sends
/// at a quarter of the speed that it has with 2.
const WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// After which silence the server is asked for a sign of life.
const ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// How many such questions may stay unanswered. The interval after the last one counts as well:
/// nine seconds from the last sign of life to the end.
const ALIVE_COUNT: usize = 2;

/// A connection that is logged in. It is cut when this is dropped.
pub(super) struct Connection {
    handle: Handle<Server>,
    story: Story,
    hop: Hop,
    banners: Vec<String>,
    _cut: DropGuard,
}

/// How long the steps of a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) seconds: u64,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self {
            at: Instant::now() + time,
            seconds: time.as_secs(),
        }
    }

    /// This, or `time` from now if that is earlier.
    pub(super) fn at_most(self, time: Option<Duration>) -> Self {
        match time {
            Some(time) if Instant::now() + time < self.at => Self::after(time),
            _ => self,
        }
    }

    pub(super) async fn bound<T>(
        self,
        hop: &Hop,
        doing: &'static str,
        step: impl Future<Output = T>,
    ) -> Result<T, SshError> {
        timeout_at(self.at, step).await.map_err(|_| SshError::Slow {
            hop: hop.clone(),
            doing,
            seconds: self.seconds,
        })
    }
}

/// What was asked of a server and did not come about.
pub(super) enum Refused {
    /// It forbids such channels, or does not know them.
    Forbidden(String),
    /// It could not connect.
    Failed(String),
    /// The connection is gone.
    Gone(russh::Error),
}

impl Connection {
    /// Makes a connection over `bytes` to the hop of `settings`. `banners` are those of the hops
    /// before it.
    ///
    /// # Errors
    /// See [`SshError`].
    pub(super) async fn establish(
        bytes: Bytes,
        settings: &Settings,
        policy: &HostKeyPolicy,
        banners: Vec<String>,
        deadline: Deadline,
    ) -> Result<Self, SshError> {
        let hop = settings.hop.clone();
        let host_key = |source| SshError::HostKey {
            hop: hop.clone(),
            written: settings.written.clone(),
            source: Box::new(source),
        };
        let expected = Expected::read(settings, policy).map_err(host_key)?;
        let config = Arc::new(config(settings, &expected));
        let story = Story::default();
        let server = Server {
            expected,
            story: story.clone(),
        };
        let (transport, cut) = cuttable(bytes);
        let connecting = client::connect_stream(config, transport, server);
        let greeting = deadline.at_most(settings.connect_timeout);
        let handle = greeting
            .bound(&hop, "exchange keys", connecting)
            .await?
            .map_err(|error| match error {
                ServerError::HostKey(source) => host_key(source),
                ServerError::Protocol(russh::Error::NoCommonAlgo {
                    kind: russh::AlgorithmKind::Key,
                    theirs,
                    ..
                }) => SshError::NoCheckedKey {
                    hop: hop.clone(),
                    theirs: theirs
                        .iter()
                        .map(|name| crate::sanitize::line(name))
                        .collect(),
                },
                ServerError::Protocol(source) => SshError::Protocol {
                    hop: hop.clone(),
                    doing: "exchange keys",
                    source: Box::new(source),
                },
            })?;
        let mut connection = Self {
            handle,
            story,
            hop,
            banners,
            _cut: cut,
        };
        let logging_in = authenticate(&mut connection.handle, settings, &connection.story);
        let outcome = deadline
            .bound(&connection.hop, "log us in", logging_in)
            .await?;
        if let Some(banner) = connection.story.banner() {
            tracing::info!(hop = %connection.hop, "banner: {banner}");
            connection.banners.push(banner);
        }
        match outcome {
            Ok(()) => Ok(connection),
            Err(source) => Err(SshError::Login {
                hop: connection.hop,
                source,
            }),
        }
    }

    /// Leads on to a TCP port that the server reaches.
    ///
    /// # Errors
    /// See [`SshError`].
    pub(super) async fn into_tcp(
        self,
        host: &str,
        port: u16,
        deadline: Deadline,
    ) -> Result<SshStream, SshError> {
        let opening = self
            .handle
            .channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0);
        let to = format!("{host}:{port}");
        let opened = deadline.bound(&self.hop, "lead on", opening).await?;
        self.led_on(opened, to)
    }

    /// Leads on to a unix socket of the server's.
    ///
    /// # Errors
    /// See [`SshError`].
    pub(super) async fn into_socket(
        self,
        socket: &Path,
        deadline: Deadline,
    ) -> Result<SshStream, SshError> {
        let opened = self.socket(socket, deadline).await?;
        let to = socket.display().to_string();
        self.led_on(opened, to)
    }

    /// Opens a channel to a unix socket of the server's.
    pub(super) async fn socket(
        &self,
        socket: &Path,
        deadline: Deadline,
    ) -> Result<Result<Channel<Msg>, russh::Error>, SshError> {
        let path = socket.to_string_lossy();
        let opening = self.handle.channel_open_direct_streamlocal(path);
        deadline
            .bound(&self.hop, "open the agent's socket", opening)
            .await
    }

    /// Runs `command` by the login shell of the account; its input and output are the stream.
    ///
    /// # Errors
    /// See [`SshError`]. A command that is not there is told by the stream.
    pub(super) async fn into_command(
        self,
        command: &str,
        deadline: Deadline,
    ) -> Result<SshStream, SshError> {
        let opened = deadline
            .bound(&self.hop, "run a command", self.command(command))
            .await?;
        match opened {
            Ok(channel) => Ok(SshStream::new(channel, self)),
            Err(refused) => Err(match refused {
                Refused::Forbidden(why) | Refused::Failed(why) => SshError::NoCommand {
                    hop: self.hop,
                    command: command.to_owned(),
                    why,
                },
                Refused::Gone(source) => SshError::Protocol {
                    hop: self.hop,
                    doing: "run a command",
                    source: Box::new(source),
                },
            }),
        }
    }

    async fn command(&self, command: &str) -> Result<Channel<Msg>, Refused> {
        let opened = self.handle.channel_open_session().await;
        let mut channel = opened.map_err(|error| self.refused(error))?;
        channel.exec(true, command).await.map_err(Refused::Gone)?;
        // The answer comes before anything that the command prints.
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(channel),
                Some(ChannelMsg::Failure) => {
                    return Err(Refused::Forbidden("it does not allow commands".to_owned()));
                }
                Some(_) => {}
                None => return Err(Refused::Gone(russh::Error::Disconnect)),
            }
        }
    }

    /// What a channel that was not opened means.
    pub(super) fn refused(&self, error: russh::Error) -> Refused {
        let russh::Error::ChannelOpenFailure(reason) = error else {
            return Refused::Gone(error);
        };
        let why = self
            .story
            .refusal()
            .unwrap_or_else(|| crate::sanitize::line(reason.description()));
        match reason {
            ChannelOpenFailure::AdministrativelyProhibited
            | ChannelOpenFailure::UnknownChannelType => Refused::Forbidden(why),
            ChannelOpenFailure::ConnectFailed
            | ChannelOpenFailure::ResourceShortage
            | ChannelOpenFailure::Other { .. } => Refused::Failed(why),
        }
    }

    fn led_on(
        self,
        opened: Result<Channel<Msg>, russh::Error>,
        to: String,
    ) -> Result<SshStream, SshError> {
        let error = match opened {
            Ok(channel) => return Ok(SshStream::new(channel, self)),
            Err(error) => error,
        };
        let (why, forbidden) = match self.refused(error) {
            Refused::Forbidden(why) => (why, true),
            Refused::Failed(why) => (why, false),
            Refused::Gone(source) => {
                return Err(SshError::Protocol {
                    hop: self.hop,
                    doing: "lead on",
                    source: Box::new(source),
                });
            }
        };
        Err(SshError::NoWay {
            hop: self.hop,
            to,
            why,
            forbidden,
        })
    }

    pub(super) const fn hop(&self) -> &Hop {
        &self.hop
    }

    pub(super) const fn story(&self) -> &Story {
        &self.story
    }

    pub(super) fn banners(&self) -> &[String] {
        &self.banners
    }
}

fn config(settings: &Settings, expected: &Expected) -> client::Config {
    let (interval, count) = alive(settings.alive_interval);
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(CLIENT_ID)),
        window_size: WINDOW_BYTES,
        preferred: Preferred {
            key: expected.algorithms().into(),
            cipher: ciphers().into(),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(interval),
        keepalive_max: count,
        // Ends a write that the transport does not take, during which nobody asks.
        inactivity_timeout: Some(ALIVE_INTERVAL * 3),
        nodelay: true,
        ..client::Config::default()
    }
}

/// The user's interval if it finds a dead server as early as ours does.
fn alive(wanted: Option<Duration>) -> (Duration, usize) {
    match wanted {
        Some(wanted) if wanted < ALIVE_INTERVAL => (wanted, ALIVE_COUNT),
        _ => (ALIVE_INTERVAL, ALIVE_COUNT),
    }
}

/// AES first where the processor has it: it is the faster one there, and by far the slower one
/// elsewhere.
fn ciphers() -> Vec<cipher::Name> {
    let mut names = vec![
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    if !has_aes() {
        names[..3].rotate_right(1);
    }
    names
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

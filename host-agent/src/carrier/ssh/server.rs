//! What a server says during a connection, gathered for whoever has to explain its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::{
    Channel, ChannelId, ChannelOpenFailure, Disconnect, Sig,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::PublicKeyOrCertificate,
};
use thiserror::Error;
use tokio::sync::Notify;

use super::host_key::{Expected, HostKey, HostKeyError};
use crate::sanitize;

/// Most bytes kept of a banner and of what a command complains. The end of it is kept.
const MAX_TEXT: usize = 2048;

/// What a server has said so far. All of it is the server's word, made safe to show.
#[derive(Debug, Clone, Default)]
pub(super) struct Story(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    said: Mutex<Said>,
    /// Notified when the channel or the connection has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Said {
    banner: String,
    complaint: String,
    farewell: Option<String>,
    refusal: Option<String>,
    /// What was tried before.
    before: Option<String>,
    exit: Option<String>,
    ended: bool,
}

impl Story {
    /// What the server shows to everybody before somebody logs in, on one line.
    pub(super) fn banner(&self) -> Option<String> {
        text(&self.lock().banner)
    }

    /// Why the server ended the connection.
    pub(super) fn farewell(&self) -> Option<String> {
        self.lock().farewell.as_deref().and_then(text)
    }

    /// Why the server opened no channel.
    pub(super) fn refusal(&self) -> Option<String> {
        self.lock().refusal.as_deref().and_then(text)
    }

    /// How the command ended and what it complained of, if it did not end well.
    pub(super) fn end(&self) -> Option<String> {
        let said = self.lock();
        let parts = [
            said.before.clone(),
            said.exit.clone(),
            text(&said.complaint),
            said.farewell.as_deref().and_then(text),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(": "))
    }

    /// Adds what was tried before to how it ends.
    pub(super) fn explain(&self, before: String) {
        self.lock().before = Some(before);
    }

    /// Waits until the channel or the connection has ended, and nothing more will be said.
    pub(super) async fn ended(self) {
        loop {
            let notified = self.0.ended.notified();
            if self.lock().ended {
                return;
            }
            notified.await;
        }
    }

    fn end_now(&self) {
        self.lock().ended = true;
        self.0.ended.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(said: &str) -> Option<String> {
    let line = sanitize::line(said.trim());
    (!line.is_empty()).then_some(line)
}

/// Adds the end of `more` to `text`.
fn append(text: &mut String, more: &str) {
    text.push_str(more);
    let mut over = text.len().saturating_sub(MAX_TEXT);
    while !text.is_char_boundary(over) {
        over += 1;
    }
    text.drain(..over);
}

/// Why a connection ended before it was of use.
#[derive(Debug, Error)]
pub(super) enum ServerError {
    /// The library's reason.
    #[error(transparent)]
    Protocol(#[from] russh::Error),
    /// The host is not the one that is meant.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
}

/// The other end of one SSH connection. It may open nothing on this side.
pub(super) struct Server {
    pub(super) expected: Expected,
    pub(super) story: Story,
}

impl Handler for Server {
    type Error = ServerError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, ServerError> {
        if shown.certificate().is_some() {
            return Err(HostKeyError::Certificate.into());
        }
        let key = HostKey::try_from(shown.public_key()).map_err(russh::Error::from)?;
        self.expected.check(&key)?;
        Ok(true)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), ServerError> {
        append(&mut self.story.lock().banner, banner);
        Ok(())
    }

    async fn extended_data(
        &mut self,
        _: ChannelId,
        _: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), ServerError> {
        append(
            &mut self.story.lock().complaint,
            &String::from_utf8_lossy(data),
        );
        Ok(())
    }

    async fn exit_status(
        &mut self,
        _: ChannelId,
        status: u32,
        _: &mut Session,
    ) -> Result<(), ServerError> {
        if status != 0 {
            self.story.lock().exit = Some(format!("the command ended with status {status}"));
        }
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        _: ChannelId,
        signal: Sig,
        _: bool,
        _: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), ServerError> {
        self.story.lock().exit = Some(format!("the command was ended by {signal:?}"));
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), ServerError> {
        let refusal = if description.is_empty() {
            reason.description().to_owned()
        } else {
            description.to_owned()
        };
        self.story.lock().refusal = Some(refusal);
        Ok(())
    }

    async fn channel_close(&mut self, _: ChannelId, _: &mut Session) -> Result<(), ServerError> {
        self.story.end_now();
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<ServerError>,
    ) -> Result<(), ServerError> {
        let farewell = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => match info.reason_code {
                Disconnect::ByApplication if info.message.is_empty() => None,
                _ => Some(info.message.clone()),
            },
            DisconnectReason::Error(ServerError::Protocol(russh::Error::Disconnect)) => {
                Some("the server hung up".to_owned())
            }
            DisconnectReason::Error(error) => Some(error.to_string()),
        };
        {
            let mut said = self.story.lock();
            if said.farewell.is_none() {
                said.farewell = farewell;
            }
        }
        self.story.end_now();
        Ok(())
    }

    // Nothing was asked for: a handle that is dropped refuses.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ServerError> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ServerError> {
        Ok(())
    }
}

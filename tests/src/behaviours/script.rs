//! What the ends of a behaviour do, as data.

/// Something that an end does. What it sees by it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Writes so many bytes.
    Send(usize),
    /// Writes so many bytes, one at a time.
    SendSingly(usize),
    /// Writes so many bytes, and tells the other end when there was no room for the next one, at the
    /// latest when all are written.
    SendTelling(usize),
    /// Writes until there is no room, which nobody makes meanwhile.
    Fill,
    /// Writes until that fails, and tells the other end when there was no room.
    SendUntilFailure,
    /// Writes so many bytes and ends its direction while it reads to the other's end.
    Exchange(usize),
    /// Ends its direction; the other one goes on.
    Finish,
    /// Closes the connection. With bytes unread the kernel makes a reset of it.
    Close,
    /// Resets the connection.
    Reset,
    /// Reads exactly so many bytes.
    Read(usize),
    /// Reads to the end, whatever that is.
    ReadToEnd,
    /// Waits until there is something to read, and leaves it.
    AwaitBytes,
    /// Waits, without reading or writing, until the connection has failed.
    AwaitFailure,
    /// Asks the kernel which failure is pending.
    TakeFailure,
    /// Tells the other end that it may go on.
    Tell,
    /// Waits until the other end has told so.
    Wait,
}

/// A line of the table: a name and what either end does.
#[derive(Debug, Clone)]
pub struct Behaviour {
    name: String,
    client: Vec<Step>,
    /// None where nobody listens.
    server: Option<Vec<Step>>,
}

impl Behaviour {
    pub(super) fn new(name: impl Into<String>, client: &[Step], server: &[Step]) -> Self {
        Self {
            name: name.into(),
            client: client.to_vec(),
            server: Some(server.to_vec()),
        }
    }

    pub(super) fn refused(name: &str, client: &[Step]) -> Self {
        Self {
            name: name.to_owned(),
            client: client.to_vec(),
            server: None,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is about a target where nobody listens.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.server.is_none()
    }

    pub(super) fn client(&self) -> &[Step] {
        &self.client
    }

    pub(super) fn server(&self) -> &[Step] {
        self.server.as_deref().unwrap_or_default()
    }
}

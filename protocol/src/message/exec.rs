//! Running a program in the guest; see [`exec`](crate::exec) for what follows on the stream.

use bincode::{Decode, Encode};

/// Runs a program in the guest: as root where systemd runs the agent, else as the agent's user.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Exec {
    /// The program, looked for in `PATH`, and its arguments; nothing means the user's login shell.
    pub arguments: Vec<String>,
    /// Variables that are set beside the guest's own, as `NAME=VALUE`.
    pub environment: Vec<String>,
    /// Directory to run it in, absolute; the user's home if none.
    pub directory: Option<String>,
    /// The terminal that it gets; without one it has three pipes.
    pub terminal: Option<TerminalSize>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TerminalSize {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

/// The guest takes the program on. That it could not be started is told on the stream, in the way a
/// shell tells it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Executing {}

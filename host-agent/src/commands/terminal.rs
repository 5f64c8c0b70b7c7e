//! The terminal of this command: its size, every key of it for a program, or none of them shown.

use std::io;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Columns and rows taken for a terminal that does not say.
const DEFAULT_SIZE: [u16; 2] = [80, 24];

/// Columns and rows of our terminal.
pub(super) fn size() -> [u16; 2] {
    let found = [tcgetwinsize(io::stdout()), tcgetwinsize(io::stdin())]
        .into_iter()
        .flatten()
        .find(|size| size.ws_col > 0 && size.ws_row > 0);
    found.map_or(DEFAULT_SIZE, |size| [size.ws_col, size.ws_row])
}

/// Our terminal while it leaves everything to the program's. Dropping it sets it back.
pub(super) struct RawTerminal(Termios);

impl RawTerminal {
    /// None where standard input is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Our terminal while it does not show what is typed. Dropping it sets it back.
pub(super) struct HiddenInput(Termios);

impl HiddenInput {
    /// None where standard input is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The end of the line is seen all the same.
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Self(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

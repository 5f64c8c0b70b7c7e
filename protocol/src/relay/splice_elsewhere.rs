//! Where there is no splice(2), everything is copied.

use std::{convert::Infallible, io};

use super::socket::Socket;

/// There is none.
#[derive(Debug)]
pub(super) struct Splice(Infallible);

impl Splice {
    pub(super) const fn take() -> Option<Self> {
        None
    }

    pub(super) const fn held(&self) -> usize {
        match self.0 {}
    }

    pub(super) const fn fill(&mut self, _from: &impl Socket) -> io::Result<usize> {
        match self.0 {}
    }

    pub(super) const fn drain(&mut self, _to: &impl Socket) -> io::Result<usize> {
        match self.0 {}
    }
}
